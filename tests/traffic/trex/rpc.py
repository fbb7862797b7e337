"""The JSON-RPC methods of the emulated TRex server, as strict as a test can wish.

A method or a field that is not in `METHODS` is refused, and so is one that is missing or of
the wrong type; so are ports that somebody else holds. Answers have the real server's form.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.traffic.trex.data_plane import Capture, DataPlane, EmulatedPort, Stream
from tests.traffic.trex.methods import (
    API,
    EXECUTE,
    FILTER,
    FLOW_STATS,
    INSTRUCTIONS,
    INVALID_PARAMS,
    LARGEST,
    METHOD_NOT_FOUND,
    METHODS,
    MODES,
    NUMBER,
    RATE,
    SMALLEST,
    STREAM,
    WITHOUT_API,
    Refused,
    check,
)


@dataclass
class Events:
    """What a session has not fetched yet."""

    sequence: int
    waiting: list[dict[str, Any]]


class Rpc:
    """Answers methods; `notify` wakes the clients that listen for events."""

    def __init__(self, plane: DataPlane, notify: Callable[[], None]) -> None:
        self.plane = plane
        self.version = "v3.08"
        self.mode = "STL"
        self.api = dict(API)
        self.called: list[str] = []
        self.stopped = False
        self._notify = notify
        self._api_handler = secrets.token_hex(4)
        self._events: dict[int, Events] = {}
        self._captures = 0

    def call(self, method: str, params: Mapping[str, Any]) -> Any:
        """Raises Refused."""
        if method not in METHODS:
            raise Refused(METHOD_NOT_FOUND, f"Method {method} not registered")
        self.called.append(method)
        given = dict(params)
        handler = given.pop("api_h", None)
        if method not in WITHOUT_API and handler != self._api_handler:
            raise Refused(EXECUTE, "API verification failed - API handler provided mismatch")
        check(given, METHODS[method])
        if "port_id" in given:
            if not 0 <= given["port_id"] < len(self.plane.ports):
                raise Refused(INVALID_PARAMS, f"Invalid port ID: {given['port_id']}")
            given["port"] = self.plane.ports[given.pop("port_id")]
        if "handler" in given:
            self._verify(given["port"], given.pop("handler"))
        answer = getattr(self, f"_{method}")
        return answer(**given)

    def tick(self) -> None:
        """Let frames flow; tell who ended."""
        for port in self.plane.advance():
            self._job_done(port)

    def publish(self, kind: int, data: Mapping[str, Any]) -> None:
        for events in self._events.values():
            events.waiting.append(
                {"name": "trex-event", "type": kind, "data": data, "seq": events.sequence}
            )
            events.sequence += 1
        self._notify()

    def link(self, number: int, up: bool) -> None:
        """The cable of a port is pulled, or put back."""
        port = self.plane.ports[number]
        port.up = up
        self.publish(8, {"port_id": number, "attr": self._attributes(port)})

    def take(self, number: int, user: str) -> None:
        """Somebody else takes a port by force."""
        self._acquire(self.plane.ports[number], user, 4711, True)

    # --- the server itself ---

    def _api_sync_v2(self, name: str, major: int, minor: int) -> Any:
        ours, theirs = (self.api["major"], self.api["minor"]), (major, minor)
        if name != self.api["name"]:
            raise Refused(
                EXECUTE,
                f"RPC configuration mismatch - server RPC configuration: '{self.api['name']}', "
                f"client RPC configuration: '{name}'",
            )
        if major != self.api["major"] or theirs > ours:
            raise Refused(
                EXECUTE,
                "RPC version mismatch: a newer client version is required\n"
                f"(API type '{name}': - server: '{ours}', client: '{theirs}')",
            )
        return {"api_h": self._api_handler}

    def _get_version(self) -> Any:
        return {
            "version": self.version,
            "mode": self.mode,
            "build_date": "Jan  1 2026",
            "build_time": "00:00:00",
            "built_by": "emulated",
        }

    def _ping(self) -> Any:
        return {"ts": time.monotonic()}

    def _get_async_events(self, session_id: int, user: str = "") -> Any:
        events = self._events.setdefault(session_id, Events(0, []))
        waiting, events.waiting = events.waiting, []
        return {"data": waiting}

    def _publish_now(self, key: int, baseline: bool) -> Any:
        self._notify()
        return {}

    def _get_supported_cmds(self) -> Any:
        return [*METHODS, "get_profile_list"]

    def _get_system_info(self) -> Any:
        return {
            "hostname": "emulated",
            "uptime": "0:00:01",
            "dp_core_count": 1,
            "dp_core_count_per_port": 1,
            "core_type": "emulated",
            "is_multiqueue_mode": False,
            "advanced_per_stream_stats": True,
            "port_count": len(self.plane.ports),
            # As the real one lists them, which promises no order.
            "ports": [self._information(port) for port in reversed(self.plane.ports)],
        }

    def _information(self, port: EmulatedPort) -> dict[str, Any]:
        supported = ("fc", "led", "link", "vxlan", "ieee1588")
        return {
            "index": port.number,
            "driver": "net_memif",
            "pci_addr": f"0000:03:00.{port.number}",
            "numa": -1,
            "hw_mac": f"02:00:00:00:00:0{port.number}",
            "stack": "legacy",
            "description": "emulated",
            "rx": {"caps": ["flow_stats", "latency", "rx_bytes"], "counters": 127},
            **{f"is_{what}_supported": False for what in supported},
            "is_prom_supported": True,
            "is_virtual": True,
            "supp_speeds": [],
            "cores": [0],
        }

    def _get_global_stats(self) -> Any:
        self.tick()
        stats: dict[str, Any] = dict.fromkeys(
            [
                *("m_cpu_util", "m_cpu_util_raw", "m_bw_per_core", "m_rx_cpu_util", "m_rx_bps"),
                *("m_rx_core_pps", "m_platform_factor", "m_tx_bps", "m_tx_pps", "m_rx_pps"),
                *("m_tx_cps", "m_tx_expected_cps", "m_tx_expected_pps", "m_tx_expected_bps"),
                *("m_total_alloc_error", "m_total_queue_full", "m_total_queue_drop"),
                *("m_rx_drop_bps", "m_active_flows", "m_open_flows", "m_socket_util"),
                *("m_total_tx_pkts", "m_total_rx_pkts", "m_total_tx_bytes", "m_total_rx_bytes"),
                *("m_total_clients", "m_total_servers", "m_active_sockets"),
            ],
            0,
        )
        return {**stats, "m_total_queue_drop": self.plane.queue_drops}

    def _get_utilization(self) -> Any:
        return {"cpu": [], "mbuf_stats": {}}

    def _get_tpg_status(self, port: EmulatedPort | None = None, username: str = "") -> Any:
        return {"enabled": False, "data": None}

    def _shutdown(self, user: str, force: bool) -> Any:
        self.stopped = True
        return {}

    # --- ports ---

    def _verify(self, port: EmulatedPort, handler: str) -> None:
        if not port.owner or handler != port.handler:
            raise Refused(EXECUTE, "port is not owned by you or your current executing session")

    def _acquire(self, port: EmulatedPort, user: str, session_id: int, force: bool) -> Any:
        taken = bool(port.owner)
        if taken and not force:
            if port.owner != user:
                raise Refused(EXECUTE, f"port is already taken by '{port.owner}'")
            if port.session != session_id:
                raise Refused(EXECUTE, f"port is already owned by another session of '{user}'")
        else:
            port.owner, port.session, port.handler = user, session_id, secrets.token_hex(4)
        self._events.setdefault(session_id, Events(0, []))
        who = {"who": user, "session_id": session_id, "force": taken and force}
        self.publish(5, {"port_id": port.number, **who})
        return port.handler

    def _release(self, port: EmulatedPort) -> Any:
        self.plane.stop(port)
        who = {"who": port.owner, "session_id": port.session}
        port.owner = port.handler = ""
        self.publish(6, {"port_id": port.number, **who})
        return {}

    def _attributes(self, port: EmulatedPort) -> dict[str, Any]:
        ether = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02", "state": "configured"}
        return {
            "speed": 10,
            "link": {"up": port.up},
            "promiscuous": {"enabled": port.promiscuous},
            "multicast": {"enabled": False},
            "fc": {"mode": -1},
            "vlan": {"tags": []},
            "vxlan_fs": [],
            "rx_filter_mode": "hw",
            "layer_cfg": {
                "ether": ether,
                "ipv4": port.ipv4,
                "ipv6": {"enabled": False},
            },
        }

    def _get_port_status(self, port: EmulatedPort, profile_id: str = "", block: bool = True) -> Any:
        status = {
            "owner": port.owner,
            "state": port.state,
            "service": port.service,
            "service_filtered": False,
            "profile_count": 1,
            "max_stream_id": max(port.streams, default=0),
            "attr": self._attributes(port),
            "rx_info": {
                "queue": {"is_active": False},
                "grat_arp": {"is_active": False},
                "latency": {"is_active": False},
            },
        }
        if profile_id:
            named = {"_": port.state} if port.streams else {}
            status["state_profile"] = named
        return status

    def _get_port_stats(self, port: EmulatedPort) -> Any:
        self.tick()
        counters = {"opackets": port.opackets, "ipackets": port.ipackets}
        rates = ("m_total_tx_bps", "m_total_tx_pps", "m_total_rx_bps", "m_total_rx_pps")
        rest = ("obytes", "ibytes", "ierrors", "oerrors", "m_cpu_util", *rates)
        return {**counters, **dict.fromkeys(rest, 0)}

    def _get_port_xstats_names(self, port: EmulatedPort) -> Any:
        return {"xstats_names": []}

    def _get_port_xstats_values(self, port: EmulatedPort) -> Any:
        return {"xstats_values": []}

    def _set_port_attr(self, port: EmulatedPort, attr: Mapping[str, Any]) -> Any:
        for name, value in attr.items():
            if name != "promiscuous":
                raise Refused(EXECUTE, f"Error applying {name}: operation is not supported")
            check(value, ({"enabled": bool}, {}))
            port.promiscuous = value["enabled"]
        return {}

    def _set_rx_feature(self, port: EmulatedPort, **_: Any) -> Any:
        return {}

    def _stop_capture_port(self, port: EmulatedPort) -> Any:
        return {}

    def _service(
        self, port: EmulatedPort, enabled: bool, filtered: bool = False, mask: int = 0
    ) -> Any:
        if enabled and port.began is not None:
            raise Refused(EXECUTE, "unable to change service mode while port is active")
        port.service = enabled
        return {}

    # --- streams ---

    def _get_all_streams(self, port: EmulatedPort, profile_id: str = "_") -> Any:
        streams = {str(number): stream.definition for number, stream in port.streams.items()}
        return {"profiles": {"_": streams} if streams else {}}

    def _add_stream(
        self, port: EmulatedPort, profile_id: str, stream_id: int, stream: Mapping[str, Any]
    ) -> Any:
        check(stream, STREAM)
        mode = stream["mode"]
        if mode.get("type") not in MODES:
            raise Refused(INVALID_PARAMS, f"bad stream type provided: '{mode.get('type')}'")
        check(mode, MODES[mode["type"]])
        check(mode["rate"], RATE)
        if mode["rate"]["type"] != "pps":
            raise Refused(INVALID_PARAMS, "only rates in pps are emulated")
        if not mode.get("total_pkts", 1) or not mode.get("pkts_per_burst", 1):
            raise Refused(INVALID_PARAMS, f"{mode['type']}: 'total_pkts' cannot be zero.")
        check(stream["flow_stats"], FLOW_STATS)
        if stream["flow_stats"]["enabled"]:
            needed = {"enabled": bool, "stream_id": int, "rule_type": str}
            check(stream["flow_stats"], (needed, FLOW_STATS[1]))
        check(stream["packet"], ({"binary": str, "meta": str}, {}))
        size = len(base64.b64decode(stream["packet"]["binary"], validate=True))
        if not SMALLEST <= size <= LARGEST:
            raise Refused(EXECUTE, f"Bad packet size provided: {size}")
        self._check_program(stream["vm"])
        if stream_id in port.streams:
            raise Refused(EXECUTE, f"stream {stream_id} already exists")
        port.streams[stream_id] = Stream(stream, stream["next_stream_id"])
        return {}

    def _check_program(self, program: Mapping[str, Any]) -> None:
        check(program, ({"instructions": list}, {"cache": int}))
        for instruction in program["instructions"]:
            fields = dict(instruction)
            kind = fields.pop("type", "")
            if kind not in INSTRUCTIONS:
                raise Refused(INVALID_PARAMS, f"unknown instruction '{kind}'")
            check(fields, INSTRUCTIONS[kind])

    def _remove_stream(self, port: EmulatedPort, profile_id: str, stream_id: int) -> Any:
        port.streams.pop(stream_id, None)
        return {}

    def _remove_all_streams(self, port: EmulatedPort, profile_id: str) -> Any:
        if port.began is not None:
            raise Refused(EXECUTE, "port is active, please stop the port before executing command")
        port.streams.clear()
        return {}

    def _start_traffic(
        self,
        port: EmulatedPort,
        profile_id: str,
        mul: Mapping[str, Any],
        duration: float,
        force: bool,
        core_mask: int = 0,
        start_at_ts: float = 0,
    ) -> Any:
        check(mul, ({"type": str, "op": str, "value": NUMBER}, {}))
        if (mul["type"], mul["op"], mul["value"]) != ("raw", "abs", 1):
            raise Refused(INVALID_PARAMS, "only a multiplier of 1 is emulated")
        if not port.streams:
            raise Refused(EXECUTE, "no streams attached to port")
        if port.began is not None:
            raise Refused(EXECUTE, "port is already transmitting")
        self.plane.start(port, duration)
        self.publish(10, {"port_id": port.number, "profile_id": profile_id})
        return {"multiplier": 1.0, "ts": time.monotonic()}

    def _stop_traffic(self, port: EmulatedPort, profile_id: str) -> Any:
        self.plane.stop(port)
        self.publish(11, {"port_id": port.number, "profile_id": profile_id})
        return {}

    def _remove_rx_filters(self, port: EmulatedPort, profile_id: str) -> Any:
        if port.began is not None:
            raise Refused(EXECUTE, "remove_rx_filters: the port is transmitting")
        self.plane.advance()
        port.counting = False
        return {}

    def _job_done(self, port: EmulatedPort) -> None:
        self.publish(14, {"port_id": port.number, "profile_id": "_"})
        self.publish(4, {"port_id": port.number})

    def _get_active_pgids(self) -> Any:
        latency = sorted(self.plane.latency_groups)
        plain = sorted(set(self.plane.versions) - self.plane.latency_groups)
        return {"ids": {"flow_stats": plain, "latency": latency}}

    def _get_pgid_stats(self, pgids: list[int]) -> Any:
        self.tick()
        return self.plane.statistics(pgids)

    # --- frames of service mode ---

    def _push_pkts(
        self,
        port: EmulatedPort,
        pkts: list[Mapping[str, Any]],
        force: bool = False,
        ipg_usec: float = 0,
    ) -> Any:
        frames = []
        fields = {"binary": str, "use_port_dst_mac": bool, "use_port_src_mac": bool}
        for packet in pkts:
            check(packet, (fields, {}))
            if packet["use_port_dst_mac"] or packet["use_port_src_mac"]:
                raise Refused(EXECUTE, "frames with the port's own addresses are not emulated")
            frames.append(base64.b64decode(packet["binary"], validate=True))
        return {"sent": self.plane.push(port.number, frames), "ts": time.monotonic()}

    def _capture(self, command: str, **fields: Any) -> Any:
        match command:
            case "start":
                check(fields, ({"limit": int, "mode": str, "tx": list, "rx": list}, FILTER))
                ports = {self.plane.ports[number].number for number in fields["rx"]}
                if not all(self.plane.ports[number].service for number in ports):
                    raise Refused(EXECUTE, "port must be under service mode to capture")
                self._captures += 1
                self.plane.captures[self._captures] = Capture(frozenset(ports), fields["limit"])
                return {"capture_id": self._captures, "start_ts": time.monotonic()}
            case "status":
                check(fields, ({}, {}))
                return [self._status(number) for number in self.plane.captures]
        if fields.get("capture_id") not in self.plane.captures:
            raise Refused(EXECUTE, f"capture ID {fields.get('capture_id')} does not exist")
        capture = self.plane.captures[fields["capture_id"]]
        if command == "stop":
            check(fields, ({"capture_id": int}, {}))
            capture.active = False
            return {"pkt_count": len(capture.packets), "endpoint": ""}
        if command == "fetch":
            check(fields, ({"capture_id": int, "pkt_limit": int}, {"snaplen": int}))
            taken = capture.packets[: fields["pkt_limit"]]
            del capture.packets[: fields["pkt_limit"]]
            return {"pkts": taken, "pending": len(capture.packets), "start_ts": 0.0}
        if command == "remove":
            check(fields, ({"capture_id": int}, {}))
            del self.plane.captures[fields["capture_id"]]
            return {}
        raise Refused(INVALID_PARAMS, f"unknown command '{command}'")

    def _status(self, number: int) -> dict[str, Any]:
        capture = self.plane.captures[number]
        count = len(capture.packets)
        state = "ACTIVE" if capture.active else "STOPPED"
        return {"id": number, "state": state, "count": count, "bytes": 0, "matched": count}
