"""What a NIC with virtual functions does with frames, written from its documents.

Intel's datasheets: of the 82599 its packet switching between pools (VMOLR, PFUTA, PFVLVF,
PFDTXGSWC.LBE), anti-spoofing (PFVFSPOOF), VLAN insertion (PFVMVIR), DROP_EN (SRRCTL, PFQDE) and
rate limiter (RTTBCNRC); of the 82576 the same (VMOLR, VLVF, DTXSWC, VMVIR); of the X710 its
internal switch, VSIs and transmit scheduler. It knows nothing of what the suites expect. Time is
virtual: whoever sends advances it.

    nic = Nic("X710", functions=2)
    nic.receive(frame)          -> deliveries of a frame that comes in from the wire
    nic.send(0, frame, queue=0) -> deliveries of a frame that VF 0 sends
    nic.take(0)                 -> (queue, frame) of all that waits in the rings of VF 0

A mutant overrides one method. Each decision therefore has a method of its own.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

WIRE, PF = -2, -1
"""Where frames go besides virtual functions, which are 0 and up."""

Model = Literal["82576", "82599", "X710"]
Link = Literal["auto", "enable", "disable"]
"""Of a function: as the wire's, always up, always down."""
BROADCAST = b"\xff" * 6
_TAG = b"\x81\x00"
_OVERHEAD_BYTES = 24
"""FCS, preamble and gap: on the wire beside each frame."""
_FIFO_FRAMES = 2048
_TX_RING_FRAMES = 16
_NOTHING_MBPS = 1e-6
"""Of a class that others leave nothing."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A frame that left the NIC, or reached a ring."""

    to: int
    """`WIRE`, `PF`, or a VF's number."""
    frame: bytes
    queue: int = 0


@dataclass(slots=True)
class Counters:
    """Frames and bytes (without FCS)."""

    rx_packets: int = 0
    rx_bytes: int = 0
    rx_missed: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0
    tx_dropped: int = 0


@dataclass(slots=True)
class Function:
    """A pool (82599) or VSI (X710): what the PF and the VF's driver have set."""

    mac: bytes
    rx: bool = True
    tx: bool = True
    promiscuous: bool = False
    all_multicast: bool = False
    broadcast: bool = True
    untagged: bool = True
    """VMOLR.AUPE."""
    hashed: bool = False
    """VMOLR.ROPE: unicast by the hash table."""
    vlans: set[int] = field(default_factory=set)
    """Filters; without any, every VLAN is received."""
    strip: bool = False
    insert: int = 0
    port_vlan: tuple[int, int] | None = None
    """VMVIR.VLANA: that tag, with its priority, whatever the frame has already."""
    groups: set[bytes] = field(default_factory=set)
    """Multicast addresses that the VF's driver has asked for."""
    link: Link = "auto"
    check_mac: bool = False
    check_vlan: bool = False
    drop: bool = False
    """SRRCTL.DROP_EN: a full ring drops instead of holding up the port's FIFO."""
    ring_frames: int = 256
    ring: deque[tuple[int, bytes]] = field(default_factory=deque)
    queue_mbps: dict[int, float] = field(default_factory=dict)
    max_mbps: float = 0.0
    tc_max_mbps: dict[int, float] = field(default_factory=dict)
    tc_shares: tuple[int, ...] = ()
    strict: int = 0
    """Bitmap of traffic classes that go first."""
    counters: Counters = field(default_factory=Counters)
    link_told_up: bool = True
    """What the PF last told the VF of the link."""


def vlan_of(frame: bytes) -> int | None:
    """The VLAN id of a tagged frame."""
    return int.from_bytes(frame[14:16], "big") & 0xFFF if frame[12:14] == _TAG else None


def priority_of(frame: bytes) -> int:
    """The priority code point of a tagged frame, else 0."""
    return frame[14] >> 5 if frame[12:14] == _TAG else 0


def tagged(frame: bytes, vlan: int, priority: int = 0) -> bytes:
    return frame[:12] + _TAG + (priority << 13 | vlan).to_bytes(2, "big") + frame[12:]


class Nic:
    """One physical port, its PF and its VFs."""

    def __init__(self, model: Model, functions: int, *, line_rate_mbps: float = 10_000.0) -> None:
        self.model = model
        self.line_rate_mbps = line_rate_mbps
        self.pf = Function(mac_of(PF), promiscuous=True)
        self.functions = [Function(mac_of(number)) for number in range(functions)]
        self.loopback = True
        self.all_drop = True
        """QDE of all queues, which is enough; the PF's driver sets it with virtual functions."""
        self.hash_table: set[bytes] = set()
        """Unicast addresses of PFUTA."""
        self.traffic_classes = 1
        self.link_up = True
        self.fifo: deque[bytes] = deque()
        self.now_s = 0.0
        self._waiting: dict[object, tuple[float, float]] = {}
        """By limiter: what waits for it [bit], and when that was so [s]."""

    def function(self, number: int) -> Function:
        return self.pf if number == PF else self.functions[number]

    # --- from the wire ---

    def receive(self, frame: bytes) -> list[Delivery]:
        """A frame comes in; it waits in the FIFO behind those for a full ring."""
        if not self.link_up:
            return []
        if len(self.fifo) >= _FIFO_FRAMES:
            return []
        self.fifo.append(frame)
        return self._drain()

    def take(self, number: int) -> list[tuple[int, bytes]]:
        """Empty the rings of a function: software polls it."""
        ring = self.function(number).ring
        taken = list(ring)
        ring.clear()
        self._drain()
        taken += ring
        ring.clear()
        return taken

    def poke(self) -> None:
        """A setting has changed: what was held up may go on."""
        self._drain()

    def _drain(self) -> list[Delivery]:
        done: list[Delivery] = []
        while self.fifo:
            frame = self.fifo[0]
            targets = self.targets(frame)
            full = [n for n in targets if self.is_full(n)]
            if any(not self.drops(n) for n in full):
                break
            self.fifo.popleft()
            done += self._into(frame, targets)
        return done

    def targets(self, frame: bytes) -> list[int]:
        """Who gets a frame of the wire."""
        admitted = self.pools(frame)
        if not admitted and self.pf.promiscuous:
            return [PF]
        return admitted

    def pools(self, frame: bytes) -> list[int]:
        """The functions whose filters let a frame in, the PF's last."""
        numbers = [n for n in range(len(self.functions)) if self.admits(n, frame)]
        return numbers + [PF] * (frame[:6] == self.pf.mac)

    def admits(self, number: int, frame: bytes) -> bool:
        return (
            self.receives(number)
            and self.admits_address(number, frame[:6])
            and self.admits_vlan(number, vlan_of(frame))
        )

    def receives(self, number: int) -> bool:
        return self.functions[number].rx and self.has_link(number)

    def has_link(self, number: int) -> bool:
        link = self.functions[number].link
        return self.link_up if link == "auto" else link == "enable"

    def admits_address(self, number: int, address: bytes) -> bool:
        if address == BROADCAST:
            return self.admits_broadcast(number)
        if address[0] & 1:
            return self.admits_multicast(number) or self.is_joined(number, address)
        return self.admits_unicast(number, address)

    def admits_broadcast(self, number: int) -> bool:
        return self.functions[number].broadcast

    def admits_multicast(self, number: int) -> bool:
        return self.functions[number].all_multicast

    def is_joined(self, number: int, address: bytes) -> bool:
        return address in self.functions[number].groups

    def admits_unicast(self, number: int, address: bytes) -> bool:
        function = self.functions[number]
        return (
            address == function.mac
            or self.is_promiscuous(number)
            or self.admits_hashed(number, address)
        )

    def is_promiscuous(self, number: int) -> bool:
        return self.functions[number].promiscuous

    def admits_hashed(self, number: int, address: bytes) -> bool:
        return self.functions[number].hashed and address in self.hash_table

    def admits_vlan(self, number: int, vlan: int | None) -> bool:
        if vlan is None:
            return self.admits_untagged(number)
        vlans = self.functions[number].vlans
        return not vlans or vlan in vlans

    def admits_untagged(self, number: int) -> bool:
        return self.functions[number].untagged

    def is_full(self, number: int) -> bool:
        function = self.function(number)
        return number != PF and len(function.ring) >= function.ring_frames

    def drops(self, number: int) -> bool:
        """Whether a full ring of that function drops."""
        return self.drops_all() or self.drops_itself(number)

    def drops_all(self) -> bool:
        return self.all_drop

    def drops_itself(self, number: int) -> bool:
        return self.functions[number].drop

    def _into(self, frame: bytes, targets: list[int]) -> list[Delivery]:
        done = []
        for number in targets:
            function = self.function(number)
            if self.is_full(number):
                function.counters.rx_missed += 1
                continue
            inside = self.stripped(number, frame) if number != PF else frame
            queue = priority_of(frame) % self.traffic_classes
            self.count_received(function, frame)
            if number != PF:
                function.ring.append((queue, inside))
            done.append(Delivery(number, inside, queue))
        return done

    def stripped(self, number: int, frame: bytes) -> bytes:
        if self.functions[number].strip and vlan_of(frame) is not None:
            return frame[:12] + frame[16:]
        return frame

    def count_received(self, function: Function, frame: bytes) -> None:
        function.counters.rx_packets += 1
        function.counters.rx_bytes += len(frame)

    def count_sent(self, function: Function, frame: bytes) -> None:
        function.counters.tx_packets += 1
        function.counters.tx_bytes += len(frame)

    # --- from a function ---

    def send(self, number: int, frame: bytes, *, queue: int = 0) -> list[Delivery]:
        """A function sends; where the frame goes."""
        function = self.function(number)
        if number != PF:
            if not self.transmits(number) or not self.has_link(number):
                return []
            if not self.has_room(number, frame, queue):
                function.counters.tx_dropped += 1
                return []
            if self.is_spoofed(number, frame):
                return []
            frame = self.inserted(number, frame)
        self.count_sent(function, frame)
        return self.switch(number, frame)

    def transmits(self, number: int) -> bool:
        return self.functions[number].tx

    def is_spoofed(self, number: int, frame: bytes) -> bool:
        return self.is_foreign_address(number, frame[6:12]) or self.is_foreign_vlan(
            number, vlan_of(frame)
        )

    def is_foreign_address(self, number: int, source: bytes) -> bool:
        function = self.functions[number]
        return function.check_mac and source != function.mac

    def is_foreign_vlan(self, number: int, vlan: int | None) -> bool:
        """On the 82599 VLANs are checked only where addresses are (PFVFSPOOF)."""
        function = self.functions[number]
        checks = function.check_vlan and (self.model == "X710" or function.check_mac)
        return checks and vlan is not None and vlan not in function.vlans

    def inserted(self, number: int, frame: bytes) -> bytes:
        function = self.functions[number]
        if function.port_vlan is not None:
            return tagged(frame, *function.port_vlan)
        vlan = function.insert
        return tagged(frame, vlan) if vlan and vlan_of(frame) is None else frame

    def switch(self, sender: int, frame: bytes) -> list[Delivery]:
        """To other functions, if loopback is on; a unicast frame that one takes stays inside.

        Nobody gets his own frames, nor does the wire get what is addressed to the sender.
        """
        local = self.pools(frame) if self.loops_back() else []
        exact = [n for n in local if frame[:6] == self.function(n).mac]
        wire = [] if exact and not self.leaks() else [Delivery(WIRE, frame)]
        return self._into(frame, [n for n in local if n != sender]) + wire

    def loops_back(self) -> bool:
        return self.loopback

    def leaks(self) -> bool:
        """Whether frames between functions appear on the wire, too."""
        return False

    # --- the transmit scheduler ---

    def has_room(self, number: int, frame: bytes, queue: int) -> bool:
        """Whether every limiter on the way still has room in its queue for a frame."""
        bits = 8 * (len(frame) + _OVERHEAD_BYTES)
        limiters = self.limiters(number, queue)
        for name, mbps in limiters:
            waiting, since_s = self._waiting.get(name, (0.0, self.now_s))
            left = max(0.0, waiting - (self.now_s - since_s) * mbps * 1e6)
            self._waiting[name] = left, self.now_s
            if left > _TX_RING_FRAMES * bits:
                return False
        for name, _ in limiters:
            self._waiting[name] = self._waiting[name][0] + bits, self.now_s
        return True

    def limiters(self, number: int, queue: int) -> list[tuple[object, float]]:
        """Name and rate [Mbit/s, gap included] of what a queue of a function goes through."""
        function = self.functions[number]
        tc = queue % self.traffic_classes
        found: list[tuple[object, float]] = []
        if mbps := function.queue_mbps.get(queue):
            found.append((("queue", number, queue), mbps))
        if mbps := function.tc_max_mbps.get(tc):
            found.append((("tc", number, tc), mbps))
        if self.traffic_classes > 1:
            mbps = (function.max_mbps or self.line_rate_mbps) * self.share(number, tc)
            found.append((("share", number, tc), max(_NOTHING_MBPS, mbps)))
        elif function.max_mbps:
            found.append((("vf", number), function.max_mbps))
        return found

    def share(self, number: int, tc: int) -> float:
        """What a class gets of its VF's bandwidth when all have more to send than they may."""
        function, classes = self.functions[number], range(self.traffic_classes)
        if first := [n for n in classes if self.is_strict(number, n)]:
            return float(tc == max(first))  # it leaves nothing
        weights = dict(zip(classes, function.tc_shares or (1,) * len(classes), strict=True))
        bandwidth = function.max_mbps or self.line_rate_mbps
        left, given = 1.0, dict.fromkeys(classes, 0.0)
        # What a class with a limit does not use is the others'.
        for n, mbps in function.tc_max_mbps.items():
            if mbps:
                fair = left * weights[n] / sum(weights.values())
                given[n] = min(mbps / bandwidth, fair)
                del weights[n]
                left -= given[n]
        return given[tc] or left * weights[tc] / sum(weights.values())

    def is_strict(self, number: int, tc: int) -> bool:
        return bool(self.functions[number].strict >> tc & 1)

    # --- the link ---

    def set_link(self, up: bool) -> None:
        self.link_up = up
        self.notify(up)

    def notify(self, up: bool) -> None:
        for function in self.functions:
            function.link_told_up = up


def mac_of(number: int) -> bytes:
    """Of the PF, and of a VF as it was made."""
    return bytes([0x02, 0, 0, 0, 0x10, 0 if number == PF else number + 1])
