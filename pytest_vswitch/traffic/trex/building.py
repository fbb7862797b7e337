"""The official client's objects for what a trial sends; see `streams` for what that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LATENCY_BYTES = 16
"""At the end of a latency frame, which the server writes itself."""
_WRITABLE_BYTES = 512
"""Of a frame the server lets so many be written."""
_SOURCE, _UDP = 12, 20
"""Offsets in an IPv4 header without options: source address, end [bytes]."""


def build(api: Any, told: Mapping[str, Any]) -> list[Any]:
    """The client's streams for one of ours: several, where one leads to the next.

    `api` is the module `trex.stl.api`; `told`, what a stream says of itself.
    """
    return _in_turn(api, told) if "exact" in told else _alike(api, told)


def _alike(api: Any, told: Mapping[str, Any]) -> list[Any]:
    """Frames that differ in nothing but their flow; two streams if the last burst is shorter."""
    common = {"packet": _packet(api, told["frame"], _program(api, told)), **_addresses(api)}
    if told["pg_id"]:
        kind = api.STLFlowLatencyStats if told["latency"] else api.STLFlowStats
        common["flow_stats"] = kind(pg_id=told["pg_id"])
    if told["endless"]:
        return [api.STLStream(mode=api.STLTXCont(pps=told["pps"]), **common)]
    bursts, rest = divmod(told["frames"], told["burst_frames"])
    if told["burst_frames"] == 1 or not bursts:
        mode = api.STLTXSingleBurst(total_pkts=told["frames"], pps=told["pps"])
        return [api.STLStream(mode=mode, **common)]
    mode = api.STLTXMultiBurst(
        pps=told["pps"],
        pkts_per_burst=told["burst_frames"],
        count=bursts,
        ibg=told["pause_us"],
    )
    if not rest:
        return [api.STLStream(mode=mode, **common)]
    short = api.STLTXSingleBurst(total_pkts=rest, pps=told["pps"])
    return [
        api.STLStream(mode=mode, next="last", **common),
        api.STLStream(mode=short, name="last", self_start=False, **common),
    ]


def _in_turn(api: Any, told: Mapping[str, Any]) -> list[Any]:
    """Exact frames: a stream of one frame each, which leads to the next, the last to the first.

    Only the last one of a loop can end it, so that what is more than whole loops comes first.
    """
    exact, each = told["exact"], {"total_pkts": 1, "pps": told["pps"]}
    if len(exact) == 1:
        packet = _packet(api, exact[0], None)
        mode = api.STLTXSingleBurst(**{**each, "total_pkts": told["frames"]})
        return [api.STLStream(packet=packet, mode=mode, **_addresses(api))]
    loops, before = divmod(told["frames"], len(exact))
    count = before + (len(exact) if loops else 0)
    streams = []
    for place in range(count):
        leads: dict[str, Any] = {"next": f"frame {place + 1}"}
        if place == count - 1:
            leads = {"next": f"frame {before}", "action_count": loops} if loops > 1 else {}
        streams.append(
            api.STLStream(
                name=f"frame {place}",
                packet=_packet(api, exact[place % len(exact)], None),
                mode=api.STLTXSingleBurst(**each),
                isg=1e6 / told["pps"],
                self_start=place == 0,
                **leads,
                **_addresses(api),
            )
        )
    return streams


def _packet(api: Any, frame: str, program: Any) -> Any:
    return api.STLPktBuilder(pkt_buffer=bytes.fromhex(frame), vm=program)


def _addresses(api: Any) -> dict[str, Any]:
    """The frame has its addresses; without these, the server writes its own."""
    return {
        "mac_src_override_by_pkt": True,
        "mac_dst_override_mode": api.STLStreamDstMAC_PKT,
    }


def _program(api: Any, told: Mapping[str, Any]) -> Any:
    """What is written into each frame; None for a single flow."""
    steps = _flows(api, told) if told["flows"] > 1 else []
    if told["whole"]:
        steps += _far_byte(api, bytes.fromhex(told["frame"]))
    return api.STLScVmRaw(steps) if steps else None


def _flows(api: Any, told: Mapping[str, Any]) -> list[Any]:
    ip_offset = told["ip_offset"]
    first = int.from_bytes(bytes(map(int, told["first_address"].split("."))), "big")
    return [
        api.STLVmTupleGen(
            name="flow",
            ip_min=first,
            ip_max=first + told["addresses"] - 1,
            port_min=told["first_port"],
            port_max=told["first_port"] + told["ports"] - 1,
            limit_flows=told["flows"],
        ),
        api.STLVmWrFlowVar(fv_name="flow.ip", pkt_offset=ip_offset + _SOURCE),
        api.STLVmFixIpv4(offset=ip_offset),
        api.STLVmWrFlowVar(fv_name="flow.port", pkt_offset=ip_offset + _UDP),
    ]


def _far_byte(api: Any, frame: bytes) -> list[Any]:
    """Write a byte as it is: what is written lies in one buffer with all before it."""
    place = min(len(frame) - _LATENCY_BYTES, _WRITABLE_BYTES) - 1
    value = frame[place]
    return [
        api.STLVmFlowVar(name="far", size=1, op="inc", min_value=value, max_value=value),
        api.STLVmWrFlowVar(fv_name="far", pkt_offset=place),
    ]
