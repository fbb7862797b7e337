"""What the simulated DUT can do: its rates, its noise, its delays, and the truth about them.

load <= NDR         nothing is lost, but for noise: bursts near the NDR, stalls anywhere
NDR .. capacity     a small part is lost, growing with the square of the load
above capacity      all that is beyond the capacity is lost

The capacity may change with time: it rises while the DUT warms up, or drifts for good.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from typing import Literal, get_args

Kind = Literal["still", "step", "noisy", "bursty", "stalling", "drifting", "warming"]
"""Of the DUTs that `drawn_as` draws; what each means stands there."""
KINDS: tuple[Kind, ...] = get_args(Kind)
SLICES = 20
"""A trial is looked at in so many parts while the capacity changes."""

SHORTEST = 0.6
"""Of the median delay, what no frame is spared."""

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
    steps: int = 0
    """Between NDR and capacity, loss rises in so many equal steps; 0: smoothly."""
    cold: float = 0.0
    """Part of the capacity that is missing at the start, 0 to 1."""
    warm_up_s: float = 1.0
    """Time in which the missing part shrinks by a factor e [s]."""
    drift_per_s: float = 0.0
    """Part of the capacity that is gained (or lost, if negative) in a second."""
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

    @classmethod
    def drawn_as(cls, seed: int, kind: Kind) -> DutModel:
        """One of endlessly many DUTs of a kind.

        still     a load either always meets a goal or never does; loss rises smoothly
        step      the same, and loss rises in one to four steps
        noisy     capacity varies by up to 0.5 % between trials, rare small bursts near the NDR
        bursty    a burst of lost frames every 0.5 to 2 s at the NDR, fewer below it
        stalling  noisy, and every 20 s the machine takes the CPU away for up to 10 ms
        drifting  capacity changes by up to 1 % a minute
        warming   5 to 30 % of the capacity is missing at first; it comes within 1 to 6 s
        """
        model = cls.drawn(seed, noisy=kind in ("noisy", "stalling"))
        draw = random.Random(f"{kind} {seed}")
        match kind:
            case "step":
                return replace(model, steps=draw.randint(1, 4))
            case "bursty":
                return replace(model, bursts_per_s=draw.uniform(0.5, 2.0))
            case "stalling":
                return replace(model, stalls_per_s=0.05)
            case "drifting":
                return replace(model, drift_per_s=draw.uniform(-0.01, 0.01) / 60)
            case "warming":
                return replace(
                    model, cold=draw.uniform(0.05, 0.3), warm_up_s=draw.uniform(0.3, 2.0)
                )
            case _:
                return model

    def strength(self, at_s: float) -> float:
        """Capacity at this time after the start [s], as a multiple of `capacity_pps`.

        The true rates at that time are the same multiple of `true_pps`.
        """
        return (1 - self.cold * math.exp(-at_s / self.warm_up_s)) * math.exp(
            self.drift_per_s * at_s
        )

    def loss_in_trial(
        self, load_pps: float, frame_bytes: int, began_s: float, duration_s: float, strength: float
    ) -> float:
        """Share of the frames lost in a trial that began at this time after the start."""
        if not (self.cold or self.drift_per_s):
            return self.loss_ratio(load_pps, frame_bytes, strength)
        parts = [
            self.loss_ratio(
                load_pps,
                frame_bytes,
                strength * self.strength(began_s + duration_s * (part + 0.5) / SLICES),
            )
            for part in range(SLICES)
        ]
        return sum(parts) / SLICES

    def capacity_pps(self, frame_bytes: int) -> float:
        """Frames per second it can forward, all directions together, when it is warm."""
        return 1e9 / (self.fixed_ns + self.per_byte_ns * frame_bytes)

    def loss_ratio(self, load_pps: float, frame_bytes: int, strength: float = 1.0) -> float:
        """Share of the frames lost at this load, by a DUT `strength` times as fast."""
        capacity = self.capacity_pps(frame_bytes) * strength
        ndr = capacity * (1 - self.knee)
        if load_pps <= ndr:
            return 0.0
        if load_pps <= capacity:
            way = (load_pps - ndr) / (capacity - ndr)
            if self.steps:
                return self.knee_loss * math.ceil(self.steps * way) / self.steps
            return self.knee_loss * way**2
        return 1 - (1 - self.knee_loss) * capacity / load_pps

    def true_pps(
        self, loss_ratio: float, frame_bytes: int, duration_s: float, *, share: float = 0.5
    ) -> float:
        """The highest load at which `share` of all trials meet the goal.

        Half of them is what a search should find. Without noise all trials up to that load
        meet the goal and none above it does, to the one frame that a trial can resolve.
        Of a DUT that has warmed up, and before it drifts: `strength` says more.
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
            way = math.sqrt(loss_ratio / self.knee_loss)
            if self.steps:
                way = math.floor(self.steps * loss_ratio / self.knee_loss) / self.steps
            limit += (capacity - limit) * way
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

    def delay_us(self, load_pps: float, frame_bytes: int, share: float = 0.5) -> float:
        """One-way delay that this share of the frames does not exceed, 0 to 1 [µs].

        Each frame waits for itself, exponentially distributed: the change from one to the
        next, without sign, is so, too, with the same mean. Waiting grows with the load until
        the queues are full.
        """
        capacity = self.capacity_pps(frame_bytes)
        service_us = 1e6 / capacity
        idle_share = max(1 - load_pps / capacity, 1e-6)
        median_us = 3 * service_us + min(32 * service_us / idle_share, 4096 * service_us)
        return median_us * (SHORTEST - (1 - SHORTEST) * math.log2(1 - share))
