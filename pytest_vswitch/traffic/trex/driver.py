"""Drives TRex ports through the official client's API (`trex.stl.api`, of TRex v3).

What the client raises is told in words for the person at the keyboard.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_vswitch.errors import DutError, HostError, VswitchError
from pytest_vswitch.traffic.generator import DirectionCounts
from pytest_vswitch.traffic.trex.building import build
from pytest_vswitch.traffic.trex.counting import PortCounters, by_ports, direction, without

_ASK_AGAIN_S = 0.2
_SETTLED_S = 0.5
"""Stragglers are waited for until none has come for so long [s] ..."""
_SETTLE_S = 5.0
"""... but no longer than this."""
_FEW = 1000
"""Frames that one capture keeps beyond those that are expected."""


@dataclass(frozen=True, slots=True)
class Where:
    """A server and what is to be used of it."""

    server: str
    sync_port: int
    async_port: int
    user: str
    force: bool
    """Whether ports that somebody else holds are taken."""
    wait_s: float
    """How long the server may take until it answers [s]."""

    @property
    def address(self) -> str:
        return f"{self.server}:{self.sync_port}"


class Driver:
    """One connection to a server; `close` gives the ports back."""

    def __init__(self, api: Any, where: Where, patience: Callable[[], None]) -> None:
        """`patience` is called while waiting, and may raise to end it."""
        self._api = api
        self._where = where
        self._patience = patience
        self._client: Any = None
        self._ports: list[int] = []
        self._directions: list[tuple[int, int]] = []
        self._groups: dict[int, list[Mapping[str, Any]]] = {}
        self._promiscuous: list[int] = []
        self._began_s = 0.0
        self._before = PortCounters()
        self._refusing = False
        self._gone = ""
        self.version = ""

    # --- connection ---

    def connect(self) -> None:
        """Raises HostError when no server answers, or one that this client does not fit."""
        where = self._where
        self._client = self._api.STLClient(
            username=where.user,
            server=where.server,
            sync_port=where.sync_port,
            async_port=where.async_port,
            verbose_level="none",
        )
        told = self._probe(where.wait_s)
        self.version = str(told.get("version", "unknown"))
        if (mode := told.get("mode", "STL")) != "STL":
            raise HostError(
                f"the TRex server at {where.address} runs in mode {mode}: start it with "
                "`t-rex-64 -i`, without --astf"
            )
        try:
            self._client.connect()
        except self._api.STLError as error:
            if re.search(r"mismatch|version|not registered", str(error), re.IGNORECASE):
                raise HostError(
                    f"the TRex client does not fit the server at {where.address} ({self.version}); "
                    f"take the client of that release: {_plain(error)}"
                ) from None
            raise HostError(f"the TRex server at {where.address}: {_plain(error)}") from None

    def ports(self) -> list[dict[str, str]]:
        """Number, PCI address and driver of each port there is."""
        system = self._client.get_server_system_info()
        return [
            {
                "number": str(port["index"]),
                "pci": str(port.get("pci_addr", "")),
                "driver": str(port.get("driver", "")),
                "description": str(port.get("description", "")),
            }
            for port in system["ports"]
        ]

    def acquire(self, ports: Sequence[int]) -> None:
        """Take ports, silence them, and let them hear every frame.

        Raises HostError, which names who holds a port, and DutError for one without link.
        """
        numbers = self._client.get_all_ports()
        if missing := [port for port in ports if port not in numbers]:
            raise HostError(
                f"the TRex server at {self._where.address} has ports {numbers}, not {missing}"
            )
        try:
            self._client.acquire(ports=list(ports), force=self._where.force, sync_streams=False)
        except self._api.STLError as error:
            raise self._held(error) from None
        self._ports = list(ports)
        try:
            self._client.clear_stl_profiles(list(ports))  # whatever was left there
            self._quiet()
            for port in ports:
                there = self._client.ports[port]
                if there.is_prom_supported() and not there.is_prom_enabled():
                    self._client.set_port_attr([port], promiscuous=True)
                    self._promiscuous.append(port)
                if self._client.get_port_attr(port).get("layer_mode") == "IPv4":
                    self._require_resolved(port)
        except self._api.STLError as error:
            raise HostError(f"the TRex server at {self._where.address}: {_plain(error)}") from None

    def close(self) -> None:
        """Give the ports back as they were."""
        if self._client is None or self._gone or not self._client.is_connected():
            return
        try:
            if self._ports:
                self._quiet()
                if self._promiscuous:
                    self._client.set_port_attr(self._promiscuous, promiscuous=False)
            self._client.disconnect()
        except (self._api.STLError, VswitchError):
            pass  # they were taken, or the server is gone: nothing is ours any more

    # --- a trial ---

    def start(
        self,
        directions: Sequence[tuple[int, int]],
        streams: Sequence[Mapping[str, Any]],
        *,
        duration_s: float,
        refusing: bool,
    ) -> None:
        """Begin to send; `directions` are (from, to), by number of the TRex port.

        Streams without an end of their own end after `duration_s`. If `refusing`, a full queue
        of a port is one that the DUT does not empty.
        """
        self._quiet()
        self._refusing = refusing
        self._directions = list(directions)
        self._groups = {}
        for stream in streams:
            self._groups.setdefault(stream["port"], []).append(stream)
        self._require_links()
        try:
            for port, those in self._groups.items():
                made = [part for stream in those for part in build(self._api, stream)]
                self._client.add_streams(made, ports=[port])
            self._before = self._port_counters()
            if self._groups:
                until_s = duration_s if any(s["endless"] for s in streams) else -1
                self._client.start(
                    ports=list(self._groups), mult="1", force=False, duration=until_s
                )
        except self._api.STLError as error:
            raise self._refused(error) from None
        self._began_s = time.monotonic()

    def sending(self) -> bool:
        """Whether a port still sends; raises what became of ports or server meanwhile."""
        self.check()
        return bool(set(self._client.get_active_ports()) & set(self._groups))

    def check(self) -> None:
        """Raise HostError when the server is gone or ports were taken, DutError without link."""
        client, where = self._client, self._where
        alive = client.is_connected() and client.conn.is_alive()
        if not alive and not self._gone and not self._answers():
            self._gone = f"its server at {where.address} does not answer any more"
        if self._gone:
            raise HostError(f"trex generator: {self._gone}")
        mine = client.get_acquired_ports()
        for port in self._ports:
            if port not in mine:
                who = client.ports[port].get_owner() or "somebody else"
                raise HostError(f"trex generator: its port {port} was taken by {who!r}")
        self._require_links()

    def stop(self) -> float:
        """Send no more; returns for how long was sent [s].

        Not by the client's own `stop`: that has the server no longer count what comes back,
        and what is under way now, a ring full of it at least, would be missing for good.
        """
        elapsed_s = time.monotonic() - self._began_s
        for port in self._groups:
            if not (told := self._client.ports[port].stop()):
                raise self._refused(self._api.STLError(told))
        return elapsed_s

    def counts(self, intended: Sequence[int]) -> list[DirectionCounts]:
        """What became of each direction's frames, once no more come back."""
        deadline = time.monotonic() + _SETTLE_S
        counts = self._read(intended)
        changed_s = time.monotonic()
        # By ports, what the server has not passed on yet is not sent yet.
        while any(c.received < c.intended for c in counts) and time.monotonic() < deadline:
            self._patience()
            time.sleep(_ASK_AGAIN_S / 4)
            before, counts = counts, self._read(intended)
            if [(c.sent, c.received) for c in before] != [(c.sent, c.received) for c in counts]:
                changed_s = time.monotonic()
            elif time.monotonic() - changed_s > _SETTLED_S:
                break
        self.check()
        return counts

    def exchange(
        self, frames: Mapping[int, Sequence[bytes]], wait_s: float
    ) -> dict[int, list[bytes]]:
        """Send exact frames and return those that came back, by number of the TRex port."""
        self._quiet()
        client, buffer = self._client, self._api.PacketBuffer
        back: dict[int, list[bytes]] = {port: [] for port in self._ports}
        expected = sum(len(queue) for queue in frames.values())
        try:
            client.set_service_mode(ports=self._ports, enabled=True)
            capture = client.start_capture(rx_ports=self._ports, limit=expected + _FEW)["id"]
            for port, queue in frames.items():
                if queue:
                    client.push_packets([buffer(bytes(f)) for f in queue], ports=[port], force=True)
            deadline = time.monotonic() + wait_s
            while time.monotonic() < deadline:
                if client.get_capture_status()[capture]["count"] >= expected:
                    break
                self._patience()
                time.sleep(_ASK_AGAIN_S / 10)
            captured: list[dict[str, Any]] = []
            client.stop_capture(capture, output=captured)
            client.set_service_mode(ports=self._ports, enabled=False)
        except self._api.STLError as error:
            raise self._refused(error) from None
        for packet in captured:
            back[packet["port"]].append(bytes(packet["binary"]))
        return back

    # --- below ---

    def _probe(self, wait_s: float) -> Mapping[str, Any]:
        deadline = time.monotonic() + wait_s
        while True:
            self._patience()
            try:
                return dict(self._client.probe_server())
            except self._api.STLError as error:
                if time.monotonic() > deadline:
                    raise HostError(
                        f"no TRex server answers at {self._where.address}: {_plain(error)}"
                    ) from None

    def _answers(self) -> bool:
        try:
            self._client.probe_server()
        except self._api.STLError:
            return False
        return bool(self._client.is_connected())

    def _held(self, error: Exception) -> HostError:
        text = _plain(error)
        holder = re.search(r"(?:taken by|session of) '([^']*)'", text)
        port = re.search(r"Port (\d+)", text)
        if holder is None:
            return HostError(f"the TRex server at {self._where.address}: {text}")
        who = f"port {port[1]}" if port else "a port"
        return HostError(
            f"trex generator: {who} of the server at {self._where.address} is held by "
            f"{holder[1]!r}; ask them, or set `trex.force: true` to take it"
        )

    def _require_links(self) -> None:
        down = [port for port in self._ports if not self._client.ports[port].is_up()]
        if down:
            named = " and ".join(map(str, down))
            raise DutError(f"no link at port {named} of the TRex server at {self._where.address}")

    def _require_resolved(self, port: int) -> None:
        if not self._client.ports[port].is_resolved():
            raise HostError(
                f"trex generator: port {port} of the server at {self._where.address} has no "
                "answer to its ARP request for its gateway; see `port_info` of its configuration"
            )

    def _refused(self, error: Exception) -> VswitchError:
        try:
            self.check()
        except VswitchError as reason:
            return reason
        return HostError(f"trex generator: the server refused: {_plain(error)}")

    def _quiet(self) -> None:
        if self._gone:
            raise HostError(f"trex generator: {self._gone}")
        try:
            self._client.stop(ports=self._ports, rx_delay_ms=0)
            self._client.remove_all_streams(ports=self._ports)
            if self._client.get_service_enabled_ports():
                self._client.set_service_mode(ports=self._ports, enabled=False)
        except self._api.STLError as error:
            raise self._refused(error) from None

    def _read(self, intended: Sequence[int]) -> list[DirectionCounts]:
        groups = [stream["pg_id"] for those in self._groups.values() for stream in those]
        grouped = all(groups)
        try:
            stats = self._client.get_pgid_stats(groups) if groups and grouped else {}
            counted = self._port_counters() - self._before
        except self._api.STLError as error:
            raise self._refused(error) from None
        if not grouped:
            frames = [[s["frames"] for s in self._groups.get(tx, ())] for tx, _ in self._directions]
            return by_ports(self._directions, intended, list(map(sum, frames)), counted)
        read = []
        for (tx, rx), due in zip(self._directions, intended, strict=True):
            mine = [stream["pg_id"] for stream in self._groups.get(tx, ())]
            flows = [stats["flow_stats"][group] for group in mine]
            sent = sum(flow["tx_pkts"].get(tx, 0) for flow in flows)
            back = {
                port: sum(flow["rx_pkts"].get(port, 0) for flow in flows) for port in self._ports
            }
            astray = {port: count for port, count in back.items() if port != rx and count}
            if astray and max(astray.values()) > back[rx]:
                where = " and ".join(map(str, astray))
                raise HostError(
                    f"trex generator: frames sent into its port {tx} came back at port {where}, "
                    f"not at port {rx}: wires are crossed, or `trex.ports` is in another order"
                )
            timed = next((s["pg_id"] for s in self._groups.get(tx, ()) if s["latency"]), None)
            sequenced = stats["latency"].get(timed, {}) if timed is not None else {}
            read.append(direction(tx, rx, intended=due, sent=sent, back=back[rx], timed=sequenced))
        return without(counted, read, refused=self._refusing)

    def _port_counters(self) -> PortCounters:
        told = self._client.get_stats(ports=self._ports)
        total = self._client.global_stats.latest_stats.get("m_total_queue_drop", 0)
        left, came = (
            {port: int(told[port].get(name, 0)) for port in self._ports}
            for name in ("opackets", "ipackets")
        )
        return PortCounters(int(total), left, came)


def _plain(error: Exception) -> str:
    """What the client says, on one line, without the colours of a terminal."""
    text = str(getattr(error, "brief", lambda: error)())
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).replace("***", "").split())
