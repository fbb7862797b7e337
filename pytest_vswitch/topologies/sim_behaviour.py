"""What the simulated DUT does beside forwarding at a rate: the truths that measurements recover."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Of all directions together; the default is a DUT that has none of it."""

    buffer_frames: int = 0
    """So many frames wait, at the bottleneck, before one is lost."""
    recovery_s: float = 0.0
    """After a trial at a load too high for it, no frame passes for so long [s]."""
    reset_s: float = 0.5
    """After a reset, no frame passes for so long [s]."""
    respawn_s: float = 1.5
    """The same, after its switch was killed and started again [s]."""
    table_flows: int | None = None
    """So many flows can be learned at a time; frames of others are lost. None: any number."""
    learning_per_s: float = math.inf
    """So many new flows it learns per second; frames of a flow that comes sooner are lost."""
    table_macs: int = 0
    """So many source MAC addresses it learns, all directions together; it keeps back frames to
    one that is at the port they came from. 0: it looks at no addresses."""
    macs_per_s: float = math.inf
    """So many of them it learns per second; one that comes sooner is not learned then."""
    cache_flows: int | None = None
    """So many flows are found at once; a frame of another costs `miss_cost`. None: all are."""
    cpu_left: float = 0.7
    """What a neighbour leaves it of its CPU, 0 to 1."""
    useful_cores: int = 4
    """More forwarding cores than these bring no more."""
    overlay_left: float = 1.0
    """Part of its capacity that frames within VXLAN leave it, 0 to 1."""
    miss_cost: float = 3.0
    """Time for a frame whose flow is not in the cache, as a multiple of one whose flow is."""

    @classmethod
    def drawn(cls, seed: int) -> Behaviour:
        """One of endlessly many."""
        draw = random.Random(f"behaviour {seed}")

        def between(low: float, high: float) -> float:
            return math.exp(draw.uniform(math.log(low), math.log(high)))

        return cls(
            buffer_frames=round(between(50, 5000)),
            recovery_s=between(0.02, 3.0),
            reset_s=between(0.01, 5.0),
            table_flows=round(between(200, 200_000)),
            learning_per_s=between(500, 200_000),
            cache_flows=round(between(100, 100_000)),
            cpu_left=draw.uniform(0.2, 0.95),
            miss_cost=draw.uniform(1.5, 6.0),
            useful_cores=round(between(2, 40)),
            respawn_s=between(0.1, 10.0),
            overlay_left=draw.uniform(0.3, 1.0),
            table_macs=round(between(300, 100_000)),
            macs_per_s=between(500, 200_000),
        )

    def learned(self, macs: int, load_pps: float, frames: int) -> int:
        """How many of as many new addresses it knows after a trial in which they come in turn."""
        in_time = (
            frames if load_pps <= self.macs_per_s else int(frames * self.macs_per_s / load_pps)
        )
        return min(macs, in_time, self.table_macs)

    def strength(self, flows: int) -> float:
        """Capacity with so many flows, as a multiple of that with one (flows come in turn)."""
        if self.cache_flows is None or flows <= self.cache_flows:
            return 1.0
        return 1 / (1 + (self.miss_cost - 1) * (1 - self.cache_flows / flows))

    def knee_flows(self, share: float) -> float:
        """With how many flows the capacity has fallen to this share; infinite if with none."""
        if self.cache_flows is None or 1 / self.miss_cost >= share:
            return math.inf
        return self.cache_flows / (1 - (1 / share - 1) / (self.miss_cost - 1))

    def unlearned(self, frames: int, load_pps: float, flows: int) -> int:
        """How many of a trial's frames are lost because their flow is not learned.

        All flows are new to it when the trial begins, and their frames come in turn.
        """
        if flows <= 1:
            return 0  # learned from the frames that looked whether it forwards
        known = flows if self.table_flows is None else min(flows, self.table_flows)
        never = frames * (flows - known) // flows
        if load_pps <= self.learning_per_s:
            return never
        first_pass = min(frames, known)
        late = math.ceil(first_pass * (1 - self.learning_per_s / load_pps))
        return min(frames, never + late)
