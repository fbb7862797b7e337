"""What the emulated TRex server accepts: every method with its fields, and their types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Fields = tuple[Mapping[str, Any], Mapping[str, Any]]
"""Those that must be there, and those that may be, each with its type."""

METHOD_NOT_FOUND, INVALID_PARAMS, EXECUTE = -32601, -32602, -32000
API = {"name": "STL", "major": 5, "minor": 1}
NUMBER = (int, float)

PROFILE = {"handler": str, "port_id": int, "profile_id": str}
OWNED = {"handler": str, "port_id": int}
METHODS: Mapping[str, Fields] = {
    "api_sync_v2": ({"name": str, "major": int, "minor": int}, {}),
    "get_version": ({}, {}),
    "ping": ({}, {}),
    "get_async_events": ({"session_id": int}, {"user": str}),
    "publish_now": ({"key": int, "baseline": bool}, {}),
    "get_system_info": ({}, {}),
    "get_supported_cmds": ({}, {}),
    "get_global_stats": ({}, {}),
    "get_utilization": ({}, {}),
    "get_port_status": ({"port_id": int}, {"profile_id": str, "block": bool}),
    "get_port_stats": ({"port_id": int}, {}),
    "get_port_xstats_names": ({"port_id": int}, {}),
    "get_port_xstats_values": ({"port_id": int}, {}),
    "get_tpg_status": ({}, {"port_id": int, "username": str}),
    "get_active_pgids": ({}, {}),
    "get_pgid_stats": ({"pgids": list}, {}),
    "acquire": ({"port_id": int, "user": str, "session_id": int, "force": bool}, {}),
    "release": (OWNED, {}),
    "set_port_attr": ({"port_id": int, "attr": dict}, {"handler": str}),
    "set_rx_feature": ({**OWNED, "type": str, "enabled": bool}, {"size": int}),
    "stop_capture_port": (OWNED, {}),
    "service": ({**OWNED, "enabled": bool}, {"filtered": bool, "mask": int}),
    "get_all_streams": ({"port_id": int}, {"profile_id": str}),
    "add_stream": ({**PROFILE, "stream_id": int, "stream": dict}, {}),
    "remove_stream": ({**PROFILE, "stream_id": int}, {}),
    "remove_all_streams": (PROFILE, {}),
    "start_traffic": (
        {**PROFILE, "mul": dict, "duration": NUMBER, "force": bool},
        {"core_mask": int, "start_at_ts": NUMBER},
    ),
    "stop_traffic": (PROFILE, {}),
    "remove_rx_filters": (PROFILE, {}),
    "capture": (
        {"command": str},
        {
            "limit": int,
            "mode": str,
            "tx": list,
            "rx": list,
            "filter": str,
            "snaplen": int,
            "capture_id": int,
            "pkt_limit": int,
            "endpoint": str,
        },
    ),
    "push_pkts": ({"port_id": int, "pkts": list}, {"force": bool, "ipg_usec": NUMBER}),
    "shutdown": ({"user": str, "force": bool}, {}),
}
WITHOUT_API = {"api_sync_v2", "get_version", "ping"}

RATE: Fields = ({"type": str, "value": NUMBER}, {})
MODES: Mapping[str, Fields] = {
    "continuous": ({"type": str, "rate": dict}, {}),
    "single_burst": ({"type": str, "rate": dict, "total_pkts": int}, {}),
    "multi_burst": (
        {"type": str, "rate": dict, "pkts_per_burst": int, "count": int, "ibg": NUMBER},
        {},
    ),
}
STREAM: Fields = (
    {
        "enabled": bool,
        "self_start": bool,
        "flags": int,
        "action_count": int,
        "isg": NUMBER,
        "next_stream_id": int,
        "packet": dict,
        "vm": dict,
        "flow_stats": dict,
        "mode": dict,
    },
    {"start_paused": bool, "core_id": int, "random_seed": int, "name": str, "next": str},
)
FLOW_STATS: Fields = (
    {"enabled": bool},
    {"stream_id": int, "rule_type": str, "vxlan": bool, "ieee_1588": bool},
)
VARIABLE = {"name": str, "size": int, "op": str, "step": int}
INSTRUCTIONS: Mapping[str, Fields] = {
    "fix_checksum_ipv4": ({"pkt_offset": int}, {}),
    "flow_var": (
        {**VARIABLE, "init_value": int, "min_value": int, "max_value": int},
        {"next_var": (str, type(None)), "split_to_cores": bool, "value_list": (list, type(None))},
    ),
    "tuple_flow_var": (
        {
            "name": str,
            "ip_min": int,
            "ip_max": int,
            "port_min": int,
            "port_max": int,
            "limit_flows": int,
            "flags": int,
        },
        {},
    ),
    "write_flow_var": (
        {"name": str, "pkt_offset": int, "add_value": int, "is_big_endian": bool},
        {},
    ),
}
FILTER = {"filter": str, "snaplen": int, "endpoint": str}
SMALLEST, LARGEST = 14, 65535
"""Frames that a stream may have [bytes]."""


class Refused(Exception):
    """What the server answers in place of a result."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def check(value: Mapping[str, Any], fields: Fields) -> None:
    """Raises Refused for a field that is missing, unknown or of another type."""
    needed, allowed = fields
    for name in needed:
        if name not in value:
            raise Refused(INVALID_PARAMS, f"field '{name}' is missing")
    for name, given in value.items():
        kind = needed.get(name) or allowed.get(name)
        if kind is None:
            raise Refused(INVALID_PARAMS, f"field '{name}' is unknown")
        fits = isinstance(given, kind) and (kind is bool or not isinstance(given, bool))
        if not fits:
            raise Refused(INVALID_PARAMS, f"field '{name}' is '{type(given).__name__}'")
