"""The streams of the double of the official client; see `client_double`."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

STLStreamDstMAC_PKT = 1


class STLPktBuilder:
    def __init__(self, pkt_buffer: bytes, vm: STLScVmRaw | None) -> None:
        self.binary = base64.b64encode(pkt_buffer).decode()
        self.instructions = vm.instructions if vm else []


class STLScVmRaw:
    def __init__(self, instructions: Sequence[Mapping[str, Any]]) -> None:
        self.instructions = list(instructions)


class STLStream:
    def __init__(
        self,
        packet: STLPktBuilder,
        mode: Mapping[str, Any],
        mac_src_override_by_pkt: bool,
        mac_dst_override_mode: int,
        flow_stats: Mapping[str, Any] | None = None,
        name: str = "",
        next: str = "",
        self_start: bool = True,
        isg: float = 0.0,
        action_count: int = 0,
    ) -> None:
        self.name, self.next = name, next
        self.fields = {
            "enabled": True,
            "self_start": self_start,
            "flags": int(mac_src_override_by_pkt) | mac_dst_override_mode << 1,
            "action_count": action_count,
            "isg": isg,
            "mode": mode,
            "packet": {"binary": packet.binary, "meta": ""},
            "vm": {"instructions": packet.instructions},
            "flow_stats": flow_stats or {"enabled": False},
        }


def _pps(pps: float) -> dict[str, Any]:
    return {"type": "pps", "value": pps}


def STLTXCont(pps: float) -> dict[str, Any]:
    return {"type": "continuous", "rate": _pps(pps)}


def STLTXSingleBurst(total_pkts: int, pps: float) -> dict[str, Any]:
    return {"type": "single_burst", "total_pkts": total_pkts, "rate": _pps(pps)}


def STLTXMultiBurst(pps: float, pkts_per_burst: int, count: int, ibg: float) -> dict[str, Any]:
    bursts = {"pkts_per_burst": pkts_per_burst, "count": count, "ibg": ibg}
    return {"type": "multi_burst", "rate": _pps(pps), **bursts}


def STLFlowStats(pg_id: int) -> dict[str, Any]:
    return {"enabled": True, "stream_id": pg_id, "rule_type": "stats"}


def STLFlowLatencyStats(pg_id: int) -> dict[str, Any]:
    return {"enabled": True, "stream_id": pg_id, "rule_type": "latency"}


def STLVmTupleGen(**fields: Any) -> dict[str, Any]:
    return {"type": "tuple_flow_var", "flags": 0, **fields}


def STLVmFlowVar(name: str, size: int, op: str, min_value: int, max_value: int) -> dict[str, Any]:
    limits = {"init_value": min_value, "min_value": min_value, "max_value": max_value}
    return {"type": "flow_var", "name": name, "size": size, "op": op, "step": 1, **limits}


def STLVmWrFlowVar(fv_name: str, pkt_offset: int) -> dict[str, Any]:
    place = {"pkt_offset": pkt_offset, "add_value": 0, "is_big_endian": True}
    return {"type": "write_flow_var", "name": fv_name, **place}


def STLVmFixIpv4(offset: int) -> dict[str, Any]:
    return {"type": "fix_checksum_ipv4", "pkt_offset": offset}
