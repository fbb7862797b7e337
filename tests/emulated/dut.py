"""An emulated NIC and the testpmds that poll it, and the traffic generator at its wire."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_vswitch.traffic import frames as templates
from pytest_vswitch.traffic.generator import DirectionCounts, Offer, require
from pytest_vswitch.traffic.profile import Capabilities
from tests.emulated.nic import PF, WIRE, Counters, Delivery, Function, Model, Nic

if TYPE_CHECKING:
    from pytest_vswitch.topologies.topology import Topology
    from tests.emulated.testpmd import Testpmd

_HOPS = 64
"""A frame that goes on longer goes round in circles."""
_FLOOD_BYTES = 1500
_FLOOD_ROUNDS = 60
_SAMPLE, _FIRST = 300, 100
"""Frames of a trial that are really sent, after the first ones, which fill queues; all others
are taken to be like them."""


class Dut:
    """What its programs share. A mutant overrides one method, of this or of `nic`."""

    def __init__(self, model: Model, *, functions: int = 2) -> None:
        self.nic = Nic(model, functions)
        self.programs: dict[int, Testpmd] = {}
        """By function."""
        self.said: list[str] = []
        """Every line that was typed, into any of them."""
        self.lacks: set[str] = set()
        """How commands begin that the drivers refuse."""
        self.fault: Callable[[int], str] = lambda number: ""
        """How the line of that number goes wrong: it `dies`, `refuses`, or is `silent`."""
        self._macs = {n: function.mac for n, function in enumerate(self.nic.functions)}
        """What the PF would tell the VF's driver now."""
        self._known = dict(self._macs)
        self._cleared: dict[int, Counters] = {}

    # --- what PF drivers do ---

    def set_mac(self, number: int, mac: bytes) -> None:
        """The filter is set when the VF's driver starts again."""
        self._macs[number] = mac

    def start_driver(self, number: int, ring_frames: int) -> None:
        """A VF's driver resets its function, and learns its address."""
        function = self.nic.functions[number]
        self._known[number] = self.told_mac(number)
        self.nic.functions[number] = Function(
            self.filtered_mac(number),
            # testpmd asks for it at each start; the 82599's PF grants it to no VF.
            promiscuous=self.nic.model == "X710",
            ring_frames=ring_frames,
            counters=function.counters,
        )

    def told_mac(self, number: int) -> bytes:
        return self._macs[number]

    def filtered_mac(self, number: int) -> bytes:
        return self._macs[number]

    def known_mac(self, number: int) -> bytes:
        return self.nic.pf.mac if number == PF else self._known[number]

    def set_field(self, function: Function, name: str, on: bool) -> None:
        setattr(function, name, on)

    def set_mode(self, function: Function, name: str, on: bool) -> None:
        setattr(function, name, on)

    def set_loopback(self, on: bool) -> None:
        self.nic.loopback = on

    def set_all_drop(self, on: bool) -> None:
        self.nic.all_drop = on

    def set_insertion(self, function: Function, vlan: int) -> None:
        function.insert = vlan

    def set_rate(self, function: Function, queue: int, mbps: float) -> None:
        function.queue_mbps[queue] = mbps

    def set_bandwidth(self, function: Function, mbps: float) -> None:
        function.max_mbps = mbps

    def set_strict(self, classes: int) -> None:
        for function in self.nic.functions:
            function.strict = classes

    def filter_vlan(self, function: Function, vlan: int, *, add: bool) -> None:
        (function.vlans.add if add else function.vlans.discard)(vlan)

    def set_shares(self, function: Function, shares: tuple[int, ...]) -> None:
        function.tc_shares = shares

    def set_tc_bandwidth(self, function: Function, tc: int, mbps: float) -> None:
        function.tc_max_mbps[tc] = mbps

    def seen_by_pf(self, number: int) -> Function:
        """A VF's counters since they were cleared from the PF."""
        now, then = self.nic.functions[number].counters, self._cleared.get(number, Counters())
        seen = {
            name: getattr(now, name) - getattr(then, name)
            for name in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")
        }
        return Function(b"", counters=Counters(**seen))

    def clear_seen_by_pf(self, number: int) -> None:
        self._cleared[number] = replace(self.nic.functions[number].counters)

    def link_seen(self, number: int) -> bool:
        """As a function's driver tells."""
        if number == PF:
            return self.nic.link_up
        return self.nic.functions[number].link_told_up

    def answer_of_vf(self, testpmd: Testpmd, line: str) -> str | None:
        """What the driver of a VF says to a line that is not as on any port."""
        return None

    # --- frames ---

    def flood(self) -> None:
        """For a while, programs in `txonly` offer more by each queue than the link carries."""
        for number, program in self.programs.items():
            if not program.running or program.mode != "txonly":
                continue
            frame = self.nic.function(PF).mac + program.mac_bytes + bytes(_FLOOD_BYTES - 12)
            mbps = self.nic.functions[number].max_mbps or self.nic.line_rate_mbps
            for _ in range(_FLOOD_ROUNDS):
                self.nic.now_s += 4 * _FLOOD_BYTES / mbps / 1e6
                for queue in range(program.queues):
                    program.send(queue, frame)

    def carry(self, frames: Iterable[bytes], *, gap_s: float = 1e-3) -> list[bytes]:
        """Send into the wire; what comes out of it."""
        out: list[bytes] = []
        for frame in frames:
            self.nic.now_s += gap_s
            out += self._onto_wire(self.nic.receive(frame))
            out += self.settle()
        return out

    def settle(self) -> list[bytes]:
        """Let programs poll until all is quiet; what comes out of the wire."""
        out: list[bytes] = []
        self.nic.poke()
        for _ in range(_HOPS):
            moved = False
            for number, program in list(self.programs.items()):
                if number == PF or not program.running:
                    continue
                for queue, frame in self.nic.take(number):
                    moved = True
                    out += self._onto_wire(program.forward(queue, frame))
            if not moved:
                return out
        raise AssertionError("frames go round in circles")

    @staticmethod
    def _onto_wire(deliveries: Sequence[Delivery]) -> list[bytes]:
        return [delivery.frame for delivery in deliveries if delivery.to == WIRE]


@dataclass(slots=True)
class Generator:
    """Puts frames into the emulated wire, in virtual time; see `traffic.generator.Generator`."""

    dut: Dut
    topology: Topology
    capabilities: Capabilities = field(default_factory=lambda: Capabilities(replay=True))
    share_sent: float = 1.0
    """What it can send of what it is asked for."""
    _counts: Sequence[DirectionCounts] = ()

    @property
    def description(self) -> str:
        return "simulated generator at an emulated wire"

    @property
    def simulated(self) -> bool:
        return True

    def exchange(
        self, frames: Mapping[int, Sequence[bytes]], *, wait_s: float
    ) -> Mapping[int, list[bytes]]:
        del wait_s
        return {0: self.dut.carry(frames.get(0, ()))}

    def start(self, offer: Offer) -> None:
        require(self, offer.profile)
        if offer.profile.replay:
            cycle = offer.profile.replay.frames
        else:
            cycle = (templates.template(self.topology.flow(0), offer.frame_bytes),)
        intended = round(offer.rate_pps * offer.duration_s)
        sample = min(intended, _SAMPLE)
        gap_s = 1 / offer.rate_pps
        self.dut.carry((cycle[n % len(cycle)] for n in range(_FIRST)), gap_s=gap_s)
        back = len(self.dut.carry((cycle[n % len(cycle)] for n in range(sample)), gap_s=gap_s))
        sent = round(self.share_sent * intended)
        received = min(intended, round(back * intended / sample))
        self._counts = [DirectionCounts(0, 0, intended, sent, 0, received, 0, 0, 0, 0)]

    def poll(self, timeout_s: float) -> Sequence[DirectionCounts] | None:
        del timeout_s
        return self._counts

    def recount(self) -> Sequence[DirectionCounts]:
        return self._counts

    def abort(self) -> None:
        self._counts = ()
