"""Stands in for the official client's `trex.stl.api` where that cannot be had.

The part of it that `pytest_vswitch.traffic.trex.driver` uses, written against the server's
protocol and imported as the official one is (see `release`). Runs with nothing of this project.
"""

from __future__ import annotations

import base64
import json
import random
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import scapy
import zmq

from .trex_stl_streams import (
    STLFlowLatencyStats,
    STLFlowStats,
    STLPktBuilder,
    STLScVmRaw,
    STLStream,
    STLStreamDstMAC_PKT,
    STLTXCont,
    STLTXMultiBurst,
    STLTXSingleBurst,
    STLVmFixIpv4,
    STLVmTupleGen,
    STLVmWrFlowVar,
)

__all__ = [
    "PacketBuffer",
    "STLClient",
    "STLError",
    "STLFlowLatencyStats",
    "STLFlowStats",
    "STLPktBuilder",
    "STLScVmRaw",
    "STLStream",
    "STLStreamDstMAC_PKT",
    "STLTXCont",
    "STLTXMultiBurst",
    "STLTXSingleBurst",
    "STLVmFixIpv4",
    "STLVmTupleGen",
    "STLVmWrFlowVar",
]

API = {"name": "STL", "major": 5, "minor": 1}
TIMEOUT_MS = 3000
MAGIC = (0xABE85CEA).to_bytes(4, "big")
SCAPY = scapy.__file__
"""Which scapy the client sees."""


class STLError(Exception):
    """What the server refused, or that it does not answer."""


class PacketBuffer:
    def __init__(self, buffer: bytes) -> None:
        self.buffer = buffer


class _Link:
    """Requests and replies, one at a time."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._context = zmq.Context()
        self._lock = threading.Lock()
        self._socket: zmq.Socket[bytes] | None = None
        self.api_handler = ""

    def call(self, method: str, **params: Any) -> Any:
        return self.batch([(method, params)])[0]

    def batch(self, calls: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Any]:
        """Every second message is compressed, and single calls go without a list."""
        with_api = {"api_h": self.api_handler} if self.api_handler else {}
        requests = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": {**params, **with_api}}
            for number, (method, params) in enumerate(calls, start=1)
        ]
        text = json.dumps(requests if len(requests) > 1 else requests[0]).encode()
        if len(text) % 2:
            text = MAGIC + len(text).to_bytes(4, "big") + zlib.compress(text)
        reply = json.loads(self._exchange(text))
        replies = reply if isinstance(reply, list) else [reply]
        for answer in replies:
            if "error" in answer:
                raise STLError(answer["error"]["specific_err"])
        return [answer["result"] for answer in replies]

    def _exchange(self, message: bytes) -> bytes:
        with self._lock:
            if self._socket is None:
                self._socket = self._context.socket(zmq.REQ)
                self._socket.setsockopt(zmq.LINGER, 0)
                self._socket.setsockopt(zmq.RCVTIMEO, TIMEOUT_MS)
                self._socket.connect(self._address)
            try:
                self._socket.send(message)
                reply = self._socket.recv()
            except zmq.Again:
                self._socket.close()
                self._socket = None
                raise STLError(
                    f"*** [RPC] - Failed to get server response from {self._address}"
                ) from None
        return zlib.decompress(reply[8:]) if reply[:4] == MAGIC else reply

    def close(self) -> None:
        self._context.destroy(linger=0)


class _Port:
    """What the client knows of a port, as events tell it."""

    def __init__(self, number: int, link: _Link, status: Mapping[str, Any]) -> None:
        self.number = number
        self._link = link
        self.handler = ""
        self.owner = status["owner"]
        self.attributes = status["attr"]
        self.active = status["state"] == "TX"
        self.service = status["service"]
        self.streams = 0

    def is_prom_supported(self) -> bool:
        return True

    def is_prom_enabled(self) -> bool:
        return bool(self.attributes["promiscuous"]["enabled"])

    def is_up(self) -> bool:
        return bool(self.attributes["link"]["up"])

    def is_resolved(self) -> bool:
        return bool(self.attributes["layer_cfg"]["ipv4"]["state"] != "unresolved")

    def get_owner(self) -> str:
        return str(self.owner)

    def stop(self) -> bool:
        """Send no more, and go on counting what comes back."""
        if self.active:
            self._link.call("stop_traffic", profile_id="_", **self.fields())
            self.active = False
        return True

    def fields(self) -> dict[str, Any]:
        return {"port_id": self.number, "handler": self.handler}


class _Connection:
    """Listens for events in a thread of its own; alive while the server answers."""

    def __init__(self, client: STLClient, address: str) -> None:
        self._client = client
        self._address = address
        self._context = zmq.Context()
        self._heard_s = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def is_alive(self) -> bool:
        return time.monotonic() - self._heard_s <= 3

    def _listen(self) -> None:
        socket = self._context.socket(zmq.SUB)
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.connect(self._address)
        while not self._end.is_set():
            if socket.poll(100):
                socket.recv()
            try:
                told = self._client.link.call(
                    "get_async_events", session_id=self._client.session, user="sub"
                )
            except STLError:
                break
            self._heard_s = time.monotonic()
            for event in told["data"]:
                self._client.hear(event["type"], event["data"])
        socket.close(linger=0)

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        self._context.destroy(linger=0)


class _Statistics:
    """The last that the server said."""

    def __init__(self) -> None:
        self.latest_stats: Mapping[str, int] = {}


class STLClient:
    def __init__(
        self, username: str, server: str, sync_port: int, async_port: int, verbose_level: str
    ) -> None:
        del verbose_level
        print("the client prints what it likes")
        self.username = username
        self.session = random.getrandbits(31) or 1
        self.link = _Link(f"tcp://{server}:{sync_port}")
        self.ports: dict[int, _Port] = {}
        self.conn: Any = None
        self._sync = f"tcp://{server}:{sync_port}"
        self._async = f"tcp://{server}:{async_port}"
        self._system: Any = None
        self.global_stats = _Statistics()

    # --- connection ---

    def probe_server(self) -> Any:
        link = _Link(self._sync)
        try:
            return link.call("get_version")
        finally:
            link.close()

    def connect(self) -> None:
        self.link.api_handler = self.link.call("api_sync_v2", **API)["api_h"]
        self._system = self.link.call("get_system_info")
        for port in self._system["ports"]:
            number = port["index"]
            status = self.link.call("get_port_status", port_id=number)
            self.ports[number] = _Port(number, self.link, status)
        self.conn = _Connection(self, self._async)

    def disconnect(self) -> None:
        for port in self._mine():
            self.link.call("release", **port.fields())
        self.conn.close()
        self.conn = None

    def is_connected(self) -> bool:
        return self.conn is not None

    def hear(self, kind: int, data: Mapping[str, Any]) -> None:
        port = self.ports[data["port_id"]]
        if kind == 5 and data["session_id"] != self.session:
            port.handler, port.owner = "", data["who"]
        elif kind in (4, 14):
            port.active = False
        elif kind == 8:
            port.attributes = data["attr"]

    def get_server_system_info(self) -> Any:
        return self._system

    # --- ports ---

    def get_all_ports(self) -> list[int]:
        return list(self.ports)

    def get_acquired_ports(self) -> list[int]:
        return [port.number for port in self._mine()]

    def get_active_ports(self) -> list[int]:
        return [port.number for port in self._mine() if port.active]

    def get_service_enabled_ports(self) -> list[int]:
        return [port.number for port in self._mine() if port.service]

    def get_port_attr(self, port: int) -> dict[str, str]:
        layer = self.ports[port].attributes["layer_cfg"]
        return {"layer_mode": "Ethernet" if layer["ipv4"]["state"] == "none" else "IPv4"}

    def acquire(self, ports: Sequence[int], force: bool, sync_streams: bool) -> None:
        assert not sync_streams
        for number in ports:
            fields = {"user": self.username, "session_id": self.session, "force": force}
            try:
                handler = self.link.call("acquire", port_id=number, **fields)
            except STLError as error:
                raise STLError(f"Port {number} : *** {error}") from None
            self.ports[number].handler = handler

    def set_port_attr(self, ports: Sequence[int], promiscuous: bool) -> None:
        attr = {"promiscuous": {"enabled": promiscuous}}
        for port in self._held(ports):
            self.link.call("set_port_attr", attr=attr, **port.fields())
            port.attributes["promiscuous"]["enabled"] = promiscuous

    def set_service_mode(self, ports: Sequence[int], enabled: bool) -> None:
        for port in self._held(ports):
            self.link.call("service", enabled=enabled, filtered=False, **port.fields())
            port.service = enabled

    # --- traffic ---

    def add_streams(self, streams: Sequence[STLStream], ports: Sequence[int]) -> None:
        for port in self._held(ports):
            numbers = {
                id(stream): port.streams + place for place, stream in enumerate(streams, start=1)
            }
            named = {stream.name: numbers[id(stream)] for stream in streams if stream.name}
            port.streams += len(streams)
            self.link.batch(
                [
                    (
                        "add_stream",
                        {
                            **port.fields(),
                            "profile_id": "_",
                            "stream_id": numbers[id(stream)],
                            "stream": {
                                **stream.fields,
                                "next_stream_id": named[stream.next] if stream.next else -1,
                            },
                        },
                    )
                    for stream in streams
                ]
            )

    def start(self, ports: Sequence[int], mult: str, force: bool, duration: float) -> None:
        assert mult == "1"
        for port in self._held(ports):
            if not port.is_up():
                raise STLError(f"port(s) [{port.number}]: link is down")
            port.active = True
            self.link.call(
                "start_traffic",
                mul={"type": "raw", "op": "abs", "value": 1.0},
                duration=duration,
                force=force,
                profile_id="_",
                **port.fields(),
            )

    def stop(self, ports: Sequence[int], rx_delay_ms: int) -> None:
        """As the official one: what comes back later than `rx_delay_ms` is not counted."""
        for port in self._held(ports):
            port.stop()
        time.sleep(rx_delay_ms / 1000)
        for port in self._held(ports):
            if port.streams:
                self.link.call("remove_rx_filters", profile_id="_", **port.fields())

    def remove_all_streams(self, ports: Sequence[int]) -> None:
        for port in self._held(ports):
            self.link.call("remove_all_streams", profile_id="_", **port.fields())
            port.streams = 0

    def get_stats(self, ports: Sequence[int]) -> dict[str | int, Any]:
        self.global_stats.latest_stats = self.link.call("get_global_stats")
        told: dict[str | int, Any] = {
            number: self.link.call("get_port_stats", port_id=number) for number in ports
        }
        return {"global": {}} | told

    def clear_stl_profiles(self, ports: Sequence[int]) -> None:
        for port in self._held(ports):
            port.active = False
            self.link.call("stop_traffic", profile_id="*", **port.fields())
            self.link.call("remove_all_streams", profile_id="*", **port.fields())

    def get_pgid_stats(self, groups: Sequence[int]) -> Any:
        told = self.link.call("get_pgid_stats", pgids=list(groups))
        words = {"tp": "tx_pkts", "rp": "rx_pkts"}
        errors = {"drp": "dropped", "ooo": "out_of_order", "dup": "dup"}
        return {
            "flow_stats": {
                int(group): {
                    words[word]: {int(port): count for port, count in counts[word].items()}
                    for word in words
                }
                for group, counts in told["flow_stats"].items()
                if group != "g"
            },
            "latency": {
                int(group): {
                    "err_cntrs": {errors[word]: counts["er"][word] for word in errors},
                    "latency": counts["lat"],
                }
                for group, counts in told["latency"].items()
                if group != "g"
            },
        }

    # --- exact frames ---

    def start_capture(self, rx_ports: Sequence[int], limit: int) -> dict[str, int]:
        fields = {"limit": limit, "mode": "fixed", "tx": [], "rx": list(rx_ports), "filter": ""}
        return {"id": self.link.call("capture", command="start", **fields)["capture_id"]}

    def push_packets(
        self, packets: Sequence[PacketBuffer], ports: Sequence[int], force: bool
    ) -> None:
        pushed = [
            {
                "binary": base64.b64encode(packet.buffer).decode(),
                "use_port_dst_mac": False,
                "use_port_src_mac": False,
            }
            for packet in packets
        ]
        for number in ports:
            self.link.call("push_pkts", port_id=number, pkts=pushed, force=force, ipg_usec=0)

    def get_capture_status(self) -> dict[int, Any]:
        return {told["id"]: told for told in self.link.call("capture", command="status")}

    def stop_capture(self, capture: int, output: list[dict[str, Any]]) -> None:
        self.link.call("capture", command="stop", capture_id=capture)
        pending = 1
        while pending:
            fields = {"capture_id": capture, "pkt_limit": 50}
            told = self.link.call("capture", command="fetch", **fields)
            pending = told["pending"]
            output += [{**p, "binary": base64.b64decode(p["binary"])} for p in told["pkts"]]
        self.link.call("capture", command="remove", capture_id=capture)

    def _mine(self) -> list[_Port]:
        return [port for port in self.ports.values() if port.handler]

    def _held(self, ports: Sequence[int]) -> list[_Port]:
        for number in ports:
            if not self.ports[number].handler:
                raise STLError(f"port(s) [{number}]: is not acquired")
        return [self.ports[number] for number in ports]
