"""The simulated DUT: a seeded model of a DUT whose true rates are known.

It stands for a virtual switch with a guest behind it: three hops in each
direction, one budget of CPU time for both. Nothing of it ever existed, and
everything that is written about it says so.

    load <= NDR         nothing is lost, but for noise: bursts near the NDR, stalls anywhere
    NDR .. capacity     a small part is lost, growing with the square of the load
    above capacity      all that is beyond the capacity is lost
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from pytest_vswitch.errors import DutError
from pytest_vswitch.lab.preflight import require_ports
from pytest_vswitch.topologies.topology import (
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

AXES = None
"""It stands for a vSwitch with a guest behind it, and has neither."""

HOPS = (
    ("host switch: {0} -> vhost{1}", "rx missed"),
    ("guest forwarder: virtio{1} -> virtio{2}", "virtio ring full"),
    ("host switch: vhost{2} -> {3}", "tx dropped"),
)
"""Name of each hop of a direction, and how its program calls its drops."""


@dataclass(frozen=True, slots=True)
class DutModel:
    """What the simulated DUT can do; all its randomness comes from `seed`."""

    seed: int = 1
    fixed_ns: float = 90.0
    """CPU time per frame of any size [ns]."""
    per_byte_ns: float = 0.05
    """CPU time for each byte of a frame [ns]."""
    knee: float = 0.04
    """How far below the capacity the first frame is lost, 0 to 1."""
    knee_loss: float = 0.01
    """Loss ratio at the capacity itself."""
    jitter: float = 0.0
    """Standard deviation of the capacity from trial to trial, as part of it."""
    bursts_per_s: float = 0.0
    """How often a burst of frames is lost at the NDR; fewer below it."""
    burst_width: float = 0.01
    """Part of the load by which bursts become rarer by a factor e below the NDR."""
    stalls_per_s: float = 0.0
    """How often the machine takes the CPU away, at any load, and all frames are lost."""
    stall_s: float = 0.01
    """How long it keeps it, at most [s]."""
    bottleneck: int = 1
    """Index of the hop that loses what is beyond the capacity."""

    @classmethod
    def drawn(cls, seed: int, *, noisy: bool) -> DutModel:
        """One of endlessly many DUTs, of 20 kpps (QEMU without KVM) to 20 Mpps (at 64 bytes)."""
        draw = random.Random(seed)
        return cls(
            seed=seed,
            fixed_ns=1e9 / math.exp(draw.uniform(math.log(20e3), math.log(20e6))),
            per_byte_ns=draw.uniform(0.0, 0.1),
            knee=draw.uniform(0.005, 0.15),
            knee_loss=draw.uniform(0.002, 0.02),
            jitter=draw.uniform(0.0, 0.005) if noisy else 0.0,
            bursts_per_s=draw.uniform(0.0, 0.3) if noisy else 0.0,
            bottleneck=draw.randrange(len(HOPS)),
        )

    def capacity_pps(self, frame_bytes: int) -> float:
        """Frames per second it can forward, all directions together."""
        return 1e9 / (self.fixed_ns + self.per_byte_ns * frame_bytes)

    def loss_ratio(self, load_pps: float, frame_bytes: int, strength: float = 1.0) -> float:
        """Share of the frames lost at this load, by a DUT `strength` times as fast."""
        capacity = self.capacity_pps(frame_bytes) * strength
        ndr = capacity * (1 - self.knee)
        if load_pps <= ndr:
            return 0.0
        if load_pps <= capacity:
            return self.knee_loss * ((load_pps - ndr) / (capacity - ndr)) ** 2
        return 1 - (1 - self.knee_loss) * capacity / load_pps

    def true_pps(
        self, loss_ratio: float, frame_bytes: int, duration_s: float, *, share: float = 0.5
    ) -> float:
        """The highest load at which `share` of all trials meet the goal.

        Half of them is what a search should find. Without noise all trials up to that load
        meet the goal and none above it does, to the one frame that a trial can resolve.
        """
        low, high = 0.0, 2 * self.capacity_pps(frame_bytes) / (1 - loss_ratio)
        while high - low > 1e-9 * high:
            middle = (low + high) / 2
            if self.chance(middle, loss_ratio, frame_bytes, duration_s) >= share:
                low = middle
            else:
                high = middle
        return low

    def chance(
        self, load_pps: float, loss_ratio: float, frame_bytes: int, duration_s: float
    ) -> float:
        """How probable it is that a trial at this load meets the goal, 0 to 1."""
        capacity = self.capacity_pps(frame_bytes)
        limit = capacity * (1 - self.knee)
        if loss_ratio >= self.knee_loss:
            limit = capacity * (1 - self.knee_loss) / (1 - loss_ratio)
        elif loss_ratio > 0:
            limit += (capacity - limit) * math.sqrt(loss_ratio / self.knee_loss)
        if self.jitter:
            strong_enough = 0.5 * math.erfc((load_pps / limit - 1) / self.jitter / math.sqrt(2))
        else:
            strong_enough = 1.0 if load_pps <= limit else 0.0
        # A burst is too small to miss any goal but that of no loss; so are short stalls.
        bursts_per_s = 0.0 if loss_ratio else self.burst_rate(load_pps, frame_bytes)
        too_long = max(0.0, 1 - loss_ratio * duration_s / self.stall_s)
        return strong_enough * math.exp(-(bursts_per_s + self.stalls_per_s * too_long) * duration_s)

    def burst_rate(self, load_pps: float, frame_bytes: int) -> float:
        """Bursts of lost frames per second at this load."""
        ndr = self.capacity_pps(frame_bytes) * (1 - self.knee)
        return self.bursts_per_s * math.exp(min(0.0, (load_pps / ndr - 1) / self.burst_width))

    def delay_us(self, load_pps: float, frame_bytes: int) -> float:
        """Median one-way delay [µs]: waiting grows with the load until the queues are full."""
        capacity = self.capacity_pps(frame_bytes)
        service_us = 1e6 / capacity
        idle_share = max(1 - load_pps / capacity, 1e-6)
        return 3 * service_us + min(32 * service_us / idle_share, 4096 * service_us)


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


@dataclass(slots=True)
class SimulatedDut:
    """A `Topology` of two ports that are each other's peers. Time in it is virtual."""

    model: DutModel = field(default_factory=DutModel)
    faults: DutFaults = field(default_factory=DutFaults)
    name: str = "sim"
    line_rate_bps: float = 10e9
    clock_s: float = 0.0
    """Virtual time since the DUT was started [s]."""
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
        return tuple(
            tuple((hop.entered, hop.left, hop.dropped) for hop in hops) for hops in self._counters
        )

    def path(self, tx_port: int, before: object, after: object) -> Sequence[Hop]:
        rx_port = self.peer(tx_port)
        names = (self.ports[tx_port].name, tx_port, rx_port, self.ports[rx_port].name)
        hops = []
        for (name, drop), then, now in zip(
            HOPS, _of_port(before, tx_port), _of_port(after, tx_port), strict=True
        ):
            entered, left, dropped = (b - a for a, b in zip(then, now, strict=True))
            hops.append(Hop(name.format(*names), entered, left, {drop: dropped}))
        return tuple(hops)

    def check_alive(self) -> None:
        if self.faults.dies_after_s is not None and self.clock_s >= self.faults.dies_after_s:
            raise DutError(
                "guest forwarder ended with status -11 (SIGSEGV) "
                f"{self.faults.dies_after_s:g} s after it was started (simulated); "
                "its last output: Segmentation fault"
            )

    def carry(self, sent: Sequence[int], frame_bytes: int, duration_s: float) -> list[Carried]:
        """Forward `sent[i]` frames from port i within `duration_s` of virtual time."""
        self.clock_s += duration_s
        total = sum(sent)
        load_pps = total / duration_s
        strength = 1 + self.model.jitter * self._rng.gauss(0, 1)
        ratio = self.model.loss_ratio(load_pps, frame_bytes, strength)
        # A DUT that is too slow for its load loses a frame even in the shortest trial.
        lost = max(1, int(ratio * total)) if ratio > 0 and total else 0
        # Beyond twice the capacity the first ring is always full: the rest is refused there.
        capacity = self.model.capacity_pps(frame_bytes)
        refused = int(lost * max(0.0, 1 - 2 * capacity / load_pps)) if lost else 0
        taken, taken_at = self._noise(load_pps, frame_bytes, duration_s)
        deaf = self._is_deaf()
        carried = []
        for port, count in enumerate(sent):
            refused_here = _share(refused, port, len(sent))
            drops = [0] * len(HOPS)
            drops[self.model.bottleneck] += _share(lost - refused, port, len(sent))
            drops[taken_at] += _share(taken, port, len(sent))
            if deaf:
                drops[0] = count
            left = self._pass(port, count - refused_here, drops)
            corrupted = self._corrupt.of(left)
            carried.append(Carried(refused_here, left - corrupted, corrupted))
        return carried

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


def _of_port(snapshot: object, port: int) -> tuple[tuple[int, int, int], ...]:
    return cast("tuple[tuple[tuple[int, int, int], ...], ...]", snapshot)[port]


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
    yield SimulatedDut(model, line_rate_bps=lab.ports[0].line_rate_gbps * 1e9)
