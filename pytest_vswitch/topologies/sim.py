"""The simulated DUT: a seeded model of a DUT whose true rates are known.

It stands for a virtual switch with a guest behind it: three hops in each
direction, one budget of CPU time for both. Nothing of it ever existed, and
everything that is written about it says so.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_vswitch.errors import DutError
from pytest_vswitch.lab.preflight import require_ports
from pytest_vswitch.topologies.sim_behaviour import Behaviour
from pytest_vswitch.topologies.sim_model import HOPS, DutModel
from pytest_vswitch.topologies.topology import (
    CYCLES_PER_FRAME,
    Facts,
    Flow,
    Hop,
    Node,
    SimulatedPort,
    plain_flow,
)

if TYPE_CHECKING:
    from pytest_vswitch.hosts.host import Host
    from pytest_vswitch.lab.schema import Lab

CLOCK_HZ = 2.5e9
"""Of its cores: what `cpu_s` is told in as cycles."""

RESET_LEAD_S = 0.5
"""A reset happens so long after a trial has begun, as someone would do it by hand [s]."""

AXES = None
"""It stands for a vSwitch with a guest behind it, and has neither."""


@dataclass(frozen=True, slots=True)
class DutFaults:
    """Ways to break the simulated DUT on purpose; none by default."""

    lossy_hop: int = 1
    lose_one_in: int = 0
    """At any load, `lossy_hop` loses one frame in so many; 0: none."""
    miscounting_hop: int | None = None
    """This hop claims to have passed on more frames than it did."""
    corrupt_one_in: int = 0
    """One frame in so many comes out with a byte changed; 0: none."""
    corrupt_offset: int = 37
    """Which byte of a corrupted frame is changed."""
    dies_after_s: float | None = None
    """Virtual time at which the guest's program dies [s]."""
    deaf_for: int = 0
    """So many trials and exchanges pass before it forwards its first frame."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What became of the frames of one direction in one trial. All counts are frames."""

    refused: int
    received: int
    corrupted: int
    silence: tuple[float, float] | None = None
    """The longest time in which no frame passed, amid the trial: its beginning [s of
    `clock_s`], its length [s]."""


@dataclass(slots=True)
class _EveryNth:
    """Picks one frame in `divisor`, none if that is 0, whatever portions they come in."""

    divisor: int
    _rest: int = 0

    def of(self, frames: int) -> int:
        if not self.divisor:
            return 0
        victims, self._rest = divmod(self._rest + frames, self.divisor)
        return victims


@dataclass(slots=True)
class _HopCounters:
    entered: int = 0
    left: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class _Snapshot:
    counters: tuple[tuple[tuple[int, int, int], ...], ...]
    """By port and hop: entered, left, dropped."""
    cpu_s: float


@dataclass(slots=True)
class SimulatedDut:
    """A `Topology` of two ports that are each other's peers. Time in it is virtual."""

    model: DutModel = field(default_factory=DutModel)
    faults: DutFaults = field(default_factory=DutFaults)
    behaviour: Behaviour = field(default_factory=Behaviour)
    name: str = "sim"
    line_rate_bps: float = 10e9
    cores: int = 1
    """That forward; the model's capacity is that of one."""
    clock_s: float = 0.0
    """Virtual time since the DUT was started [s]."""
    cpu_s: float = 0.0
    """CPU time that it has used for forwarding [s]."""
    _cpu_share: float = field(init=False, default=1.0)
    _macs_known: int = field(init=False, default=0)
    _outages: list[tuple[float, float]] = field(init=False, default_factory=list)
    _rng: random.Random = field(init=False)
    _counters: tuple[tuple[_HopCounters, ...], ...] = field(init=False)
    _lose: _EveryNth = field(init=False)
    _corrupt: _EveryNth = field(init=False)
    _deaf_for: int = field(init=False)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.model.seed)
        self._counters = tuple(tuple(_HopCounters() for _ in HOPS) for _ in self.ports)
        self._lose = _EveryNth(self.faults.lose_one_in)
        self._corrupt = _EveryNth(self.faults.corrupt_one_in)
        self._deaf_for = self.faults.deaf_for

    @property
    def ports(self) -> Sequence[SimulatedPort]:
        return tuple(SimulatedPort(f"sim{i}", self.line_rate_bps) for i in range(2))

    @property
    def nodes(self) -> Sequence[Node]:
        names = tuple(port.name for port in self.ports)
        return (
            Node("simulated generator", "generator", names),
            Node("host switch", "host", (*names, "vhost0", "vhost1")),
            Node("guest forwarder", "guest", ("virtio0", "virtio1")),
        )

    @property
    def facts(self) -> Facts:
        return Facts(
            versions={"model": f"seed {self.model.seed}"},
            virtio_features="",
            nic="simulated",
            accelerator="none",
            memory="none",
            remarks=(
                "simulated: no frame of this run ever existed, its numbers are those of a "
                f"model (seed {self.model.seed})",
            ),
            commands=(),
        )

    @property
    def variant(self) -> Mapping[str, str]:
        return {}

    def peer(self, port: int) -> int:
        return 1 - port

    def flow(self, port: int) -> Flow:
        return plain_flow(port, self.peer(port))

    def transform(self, frame: bytes, port: int) -> bytes:
        """The guest's forwarder swaps the MAC addresses."""
        return frame[6:12] + frame[:6] + frame[12:]

    def snapshot(self) -> object:
        self.check_alive()
        counters = tuple(
            tuple((hop.entered, hop.left, hop.dropped) for hop in hops) for hops in self._counters
        )
        return _Snapshot(counters, self.cpu_s)

    def path(self, tx_port: int, before: object, after: object) -> Sequence[Hop]:
        assert isinstance(before, _Snapshot)
        assert isinstance(after, _Snapshot)
        facts = _cycles(before, after)
        rx_port = self.peer(tx_port)
        names = (self.ports[tx_port].name, tx_port, rx_port, self.ports[rx_port].name)
        hops = []
        for (name, drop), then, now in zip(
            HOPS, before.counters[tx_port], after.counters[tx_port], strict=True
        ):
            entered, left, dropped = (b - a for a, b in zip(then, now, strict=True))
            mine = facts if name.startswith("host switch") else {}
            hops.append(Hop(name.format(*names), entered, left, {drop: dropped}, mine))
        return tuple(hops)

    def check_alive(self) -> None:
        if self.faults.dies_after_s is not None and self.clock_s >= self.faults.dies_after_s:
            raise DutError(
                "guest forwarder ended with status -11 (SIGSEGV) "
                f"{self.faults.dies_after_s:g} s after it was started (simulated); "
                "its last output: Segmentation fault"
            )

    def carry(
        self,
        sent: Sequence[int],
        frame_bytes: int,
        duration_s: float,
        *,
        flows: int = 1,
        encapsulated: bool = False,
        macs: int = 1,
        to_macs: bool = False,
    ) -> list[Carried]:
        """Forward `sent[i]` frames from port i within `duration_s` of virtual time.

        `flows` and `macs` are those of each direction; with `to_macs` frames go to the addresses
        that they came from before.
        """
        began_s = self.clock_s
        self.clock_s += duration_s
        total = sum(sent)
        load_pps = total / duration_s
        outage = self._outage(began_s, self.clock_s)
        silent = int(total * (outage[1] / duration_s)) if outage else 0
        arrived = total - silent
        flows *= len(sent)
        share = self.behaviour.strength(flows) * self._cpu_share
        share *= self.behaviour.overlay_left if encapsulated else 1.0
        share *= min(self.cores, self.behaviour.useful_cores)
        strength = share * (1 + self.model.jitter * self._rng.gauss(0, 1))
        ratio = self.model.loss_in_trial(load_pps, frame_bytes, began_s, duration_s, strength)
        # A DUT that is too slow for its load loses a frame even in the shortest trial.
        lost = max(1, int(ratio * arrived)) if ratio > 0 and arrived else 0
        lost = max(0, lost - self.behaviour.buffer_frames)
        # Beyond twice the capacity the first ring is always full: the rest is refused there.
        capacity = self.model.capacity_pps(frame_bytes) * self.model.strength(began_s) * share
        refused = int(lost * max(0.0, 1 - 2 * capacity / load_pps)) if lost else 0
        if lost:
            self._outages.append((self.clock_s, self.clock_s + self.behaviour.recovery_s))
        unlearned = self.behaviour.unlearned(arrived - lost, load_pps, flows)
        kept_back = 0
        if to_macs:
            kept_back = arrived * min(self._macs_known, macs * len(sent)) // (macs * len(sent))
        elif macs > 1:
            self._macs_known = self.behaviour.learned(macs * len(sent), load_pps, arrived)
        inside = silent + lost - refused + unlearned + kept_back
        self.cpu_s += (arrived - lost) / capacity * share
        taken, taken_at = self._noise(load_pps, frame_bytes, duration_s)
        deaf = self._is_deaf()
        carried = []
        for port, count in enumerate(sent):
            refused_here = _share(refused, port, len(sent))
            drops = [0] * len(HOPS)
            drops[self.model.bottleneck] += _share(inside, port, len(sent))
            drops[taken_at] += _share(taken, port, len(sent))
            if deaf:
                drops[0] = count
            left = self._pass(port, count - refused_here, drops)
            corrupted = self._corrupt.of(left)
            carried.append(Carried(refused_here, left - corrupted, corrupted, outage))
        return carried

    def rest(self, duration_s: float) -> None:
        """Let virtual time pass without frames."""
        self.clock_s += duration_s

    @contextmanager
    def beside(self) -> Iterator[None]:
        """A neighbour, which leaves it a part of its CPU."""
        self._cpu_share = self.behaviour.cpu_left
        try:
            yield
        finally:
            self._cpu_share = 1.0

    @property
    def components(self) -> Sequence[str]:
        """What can be reset: the forwarding, or all of the switch with what it counted."""
        return ("guest forwarder", "host switch process")

    def keeps_counters(self, component: str) -> bool:
        """The model's live through anything."""
        assert component in self.components
        return True

    def reset(self, component: str) -> None:
        """Restart a component; that takes its time (`behaviour`), amid the next trial."""
        assert component in self.components
        began_s = self.clock_s + RESET_LEAD_S
        whole = component.endswith("process")
        length_s = self.behaviour.respawn_s if whole else self.behaviour.reset_s
        self._outages.append((began_s, began_s + length_s))

    def _outage(self, began_s: float, ended_s: float) -> tuple[float, float] | None:
        """The longest time of a trial in which nothing passes: when it begins, its length."""
        self._outages = [outage for outage in self._outages if outage[1] > began_s]
        parts = [
            (max(began_s, begin), min(ended_s, end) - max(began_s, begin))
            for begin, end in self._outages
            if begin < ended_s
        ]
        return max(parts, key=lambda part: part[1], default=None)

    def carry_frames(self, frames: Mapping[int, Sequence[bytes]]) -> dict[int, list[bytes]]:
        """Forward a few exact frames; what comes out, by port."""
        deaf = self._is_deaf()
        out: dict[int, list[bytes]] = {port: [] for port in range(len(self.ports))}
        for port, sent in frames.items():
            drops = [len(sent) if deaf else 0] + [0] * (len(HOPS) - 1)
            left = self._pass(port, len(sent), drops)
            arrived = [bytearray(self.transform(frame, port)) for frame in sent[:left]]
            for frame in arrived[: self._corrupt.of(left)]:
                frame[self.faults.corrupt_offset] ^= 0xFF
            out[self.peer(port)] += [bytes(frame) for frame in arrived]
        return out

    def _pass(self, port: int, entered: int, drops: Sequence[int]) -> int:
        """Take frames through all hops of a direction, counting; how many came out."""
        for index, counters in enumerate(self._counters[port]):
            dropped = min(entered, drops[index])
            if index == self.faults.lossy_hop:
                dropped += self._lose.of(entered - dropped)
            counters.entered += entered
            counters.dropped += dropped
            entered -= dropped
            counters.left += entered
            if index == self.faults.miscounting_hop:
                counters.left += entered // 1000 + 1
        return entered

    def _noise(self, load_pps: float, frame_bytes: int, duration_s: float) -> tuple[int, int]:
        """How many frames bursts and stalls take in this trial, and at which hop."""
        model, rng = self.model, self._rng
        taken = 0
        if rng.random() > math.exp(-model.burst_rate(load_pps, frame_bytes) * duration_s):
            taken += rng.randint(1, 16)
        if rng.random() > math.exp(-model.stalls_per_s * duration_s):
            taken += 1 + int(load_pps * rng.uniform(0, model.stall_s))
        return taken, rng.randrange(len(HOPS))

    def _is_deaf(self) -> bool:
        self._deaf_for -= 1
        return self._deaf_for >= 0


def _share(total: int, index: int, parts: int) -> int:
    """Part `index` of `total` split evenly; the first parts take the remainder."""
    return total // parts + (index < total % parts)


def _cycles(before: _Snapshot, after: _Snapshot) -> dict[str, str]:
    """What a frame cost, of those that came out."""
    frames = sum(
        now[-1][1] - then[-1][1] for then, now in zip(before.counters, after.counters, strict=True)
    )
    if frames <= 0:
        return {}
    return {CYCLES_PER_FRAME: f"{(after.cpu_s - before.cpu_s) * CLOCK_HZ / frames:.1f}"}


def preflight(lab: Lab, host: Host) -> None:
    """A simulated DUT needs two ports and nothing else."""
    del host
    require_ports(lab, "sim", 2)


@contextmanager
def provision(lab: Lab, host: Host) -> Iterator[SimulatedDut]:
    """The simulated DUT of the lab's `sim` section, with some noise, as a real one has."""
    preflight(lab, host)
    assert lab.sim is not None
    defaults = DutModel()
    model = DutModel(
        seed=lab.sim.seed,
        fixed_ns=1e9 / lab.sim.capacity_pps - 64 * defaults.per_byte_ns,
        jitter=0.002,
        bursts_per_s=0.1,
    )
    behaviour = Behaviour(
        buffer_frames=128,
        cache_flows=8192,
        overlay_left=0.8,
        useful_cores=2,
        table_macs=4096,
        macs_per_s=20_000,
    )
    yield SimulatedDut(
        model,
        behaviour=behaviour,
        line_rate_bps=lab.ports[0].line_rate_gbps * 1e9,
        cores=lab.dut.forwarding or 1,
    )
