"""What a frame costs the DUT: CPU time by load, and the memory in use. No RFC defines it.

A poll-mode driver uses its cores whole at any load: per frame that is the cores' time over the
frames, least at the throughput. What its own statistics say (busy cycles) stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pytest_vswitch.measure.cycles import cycles_per_frame
from pytest_vswitch.measure.outcome import Curve, Figure, Outcome
from pytest_vswitch.measure.procedure import Bench
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.topologies.topology import CYCLES_PER_FRAME

SHARES = (0.25, 0.5, 0.75, 0.95)
"""Of the throughput, at which the cost is measured; the last is the one reported first."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What the DUT has used of its machine until now."""

    busy_s: float
    """CPU time, of all CPUs together [s]."""
    resolution_s: float
    """What a reading cannot tell apart [s]."""
    memory_kb: int | None = None
    """In use by all programs [kB]; None when nobody tells."""


@runtime_checkable
class Metered(Protocol):
    """A topology that counts its own CPU time: a simulation."""

    cpu_s: float


@dataclass(frozen=True, slots=True)
class Load:
    """One trial and what it cost."""

    trial: Trial
    busy_s: float
    """CPU time during the trial, less what is used without frames outside of it [s]."""
    idle_s: float
    """What would have been used in its duration without frames [s]."""
    error_s: float

    def per_frame(self, busy_s: float) -> float:
        """[s]"""
        return busy_s / max(1, self.trial.received)


@dataclass(frozen=True, slots=True)
class Cost:
    """By load, from the lowest."""

    loads: tuple[Load, ...]
    memory_kb: int | None
    procedure: Mapping[str, str]
    doubts: tuple[str, ...]

    @property
    def outcome(self) -> Outcome:
        last = self.loads[-1]
        error_s = last.per_frame(last.error_s)
        total_s = last.per_frame(last.busy_s)
        above_s = last.per_frame(last.busy_s - last.idle_s)
        return Outcome(
            source="no RFC: CPU time and memory as the kernel counts them",
            procedure=self.procedure,
            figures=(
                Figure(
                    "CPU time per frame",
                    *(total_s, "s", max(0.0, total_s - error_s), total_s + error_s),
                ),
                Figure(
                    "the same, above idle",
                    *(above_s, "s", max(0.0, above_s - 2 * error_s), above_s + 2 * error_s),
                ),
                Figure("CPUs busy", last.busy_s / last.trial.duration_s, "CPUs"),
                Figure("CPUs busy without frames", last.idle_s / last.trial.duration_s, "CPUs"),
                Figure("load", last.trial.offered_pps, "frames/s"),
                Figure("memory in use", self.memory_kb, "kB"),
                Figure(CYCLES_PER_FRAME, cycles_per_frame([last.trial]), "cycles"),
            ),
            curves=(
                Curve(
                    "CPU time per frame",
                    *("load", "frames/s", "CPU time per frame", "s"),
                    tuple((one.trial.offered_pps, one.per_frame(one.busy_s)) for one in self.loads),
                ),
            ),
            doubts=self.doubts,
        )


def cost(
    bench: Bench, throughput_pps: float, read: Callable[[], Usage], doubts: tuple[str, ...] = ()
) -> Cost:
    """`read` tells what has been used; `doubts` what else uses it.

    Raises what `read` and `TrialRunner.run` raise.
    """
    bench.warm_up("cost")
    before = read()
    bench.rest(bench.rules.trial_s)
    idle = (read().busy_s - before.busy_s) / bench.rules.trial_s
    loads = []
    for share in SHARES:
        before = read()
        trial = bench.run(share * throughput_pps, phase="cost", pauses=False)
        after = read()
        loads.append(
            Load(
                trial=trial,
                busy_s=max(0.0, after.busy_s - before.busy_s - idle * trial.overhead_s),
                idle_s=idle * trial.duration_s,
                error_s=2 * after.resolution_s,
            )
        )
        bench.rest()
    facts = {
        f"{hop.name}, {name}": fact
        for path in loads[-1].trial.paths
        for hop in path
        for name, fact in hop.facts.items()
    }
    return Cost(
        loads=tuple(loads),
        memory_kb=read().memory_kb,
        procedure={
            **bench.procedure,
            "loads": ", ".join(f"{share:.0%}" for share in SHARES) + " of the throughput",
            **facts,
        },
        doubts=doubts,
    )
