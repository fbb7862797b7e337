"""What a frame costs by the vSwitch's own count: cycles of its cores.

A second witness beside the throughput, and a quieter one: it needs no loss to show, and what the
machine takes away meanwhile falls on it little.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.topologies.topology import CYCLES_PER_FRAME


def cycles_per_frame(trials: Sequence[Trial]) -> float | None:
    """Mean of the trials, by their frames; None when the vSwitch does not tell."""
    told = [(cycles, trial.received) for trial in trials if (cycles := _of(trial)) is not None]
    frames = sum(received for _, received in told)
    return sum(cycles * received for cycles, received in told) / frames if frames else None


def _of(trial: Trial) -> float | None:
    """By the first hop that tells: it speaks for all ways through its program."""
    for path in trial.paths:
        for hop in path:
            for name, fact in hop.facts.items():
                if name.endswith(CYCLES_PER_FRAME):
                    return float(fact)
    return None
