"""Soak: one load for hours, looked at in slices. No RFC defines it.

Each slice is a trial of its own, on disk before the next: a soak that was killed is taken up
again where it ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pytest_vswitch.measure import spread
from pytest_vswitch.measure.outcome import Curve, Figure, Outcome
from pytest_vswitch.measure.procedure import Bench
from pytest_vswitch.measure.trial import Trial

SHARE = 0.9
"""Of the throughput, offered all the time."""
SLICE_S = 60.0
SLICES = 60
"""A shorter soak than an hour has as many, shorter ones."""


@dataclass(frozen=True, slots=True)
class Soak:
    """Rates are totals over all directions."""

    trials: tuple[Trial, ...]
    """One for each slice, those of the runs before it included."""
    resumed: int
    """So many of them are of runs before."""
    procedure: Mapping[str, str]
    doubts: tuple[str, ...]

    @property
    def outcome(self) -> Outcome:
        sent = max(1, sum(trial.sent for trial in self.trials))
        lost = sum(trial.lost for trial in self.trials)
        few, many = spread.of_count(lost)
        # Losses that come together are fewer events than frames: then slices differ more.
        slices = spread.of([trial.lost for trial in self.trials], 0.0)
        few = max(0.0, min(few, lost - slices.error * len(self.trials)))
        many = max(many, lost + slices.error * len(self.trials))
        worst = max(self.trials, key=lambda trial: trial.loss_ratio)
        rates = [trial.received / trial.duration_s for trial in self.trials]
        times, now_s = [], 0.0
        for trial in self.trials:
            times.append(now_s)
            now_s += trial.duration_s
        return Outcome(
            source="no RFC: one load for hours",
            procedure=self.procedure,
            figures=(
                Figure("loss", lost / sent, "ratio", few / sent, many / sent),
                Figure("frames lost", lost, "frames"),
                Figure("slices with loss", sum(t.lost > 0 for t in self.trials), "slices"),
                Figure("loss of the worst slice", worst.loss_ratio, "ratio"),
                Figure("lowest receive rate", min(rates), "frames/s"),
                Figure("duration", now_s, "s"),
            ),
            curves=(
                _over_time(
                    "Loss over time", times, "loss", "ratio", [t.loss_ratio for t in self.trials]
                ),
                _over_time("Receive rate over time", times, "receive rate", "frames/s", rates),
            ),
            doubts=self.doubts,
        )


def soak(
    bench: Bench,
    rate_pps: float,
    duration_s: float,
    *,
    done: Sequence[Trial],
    record: Callable[[Trial], None],
) -> Soak:
    """Offer `rate_pps` for `duration_s`, less what the trials `done` before have had of it.

    They count, and are recorded again, if they offered the same load. Raises what
    `TrialRunner.run` raises.
    """
    slice_s = min(SLICE_S, duration_s / SLICES)
    done = [t for t in done if math.isclose(t.intended_pps, rate_pps, rel_tol=1e-6)]
    left_s = duration_s - sum(trial.duration_s for trial in done)
    for trial in done:
        record(trial)
    trials = list(done)
    for number in range(math.ceil(left_s / slice_s - 1e-9)):
        length_s = min(slice_s, left_s - number * slice_s)
        trials.append(bench.run(rate_pps, length_s, phase="soak", pauses=False))
    gaps_s = sum(trial.overhead_s for trial in trials)
    return Soak(
        trials=tuple(trials),
        resumed=len(done),
        procedure={
            "warm-up": bench.procedure["warm-up"],
            "load": f"{rate_pps:,.0f} frames/s all the time",
            "slices": f"{len(trials)} of {slice_s:g} s, {len(done)} of them from runs before",
            "without frames between slices": f"{gaps_s:.1f} s in all",
        },
        doubts=(),
    )


def _over_time(
    name: str, times: Sequence[float], what: str, unit: str, values: Sequence[float]
) -> Curve:
    return Curve(name, "time", "s", what, unit, tuple(zip(times, values, strict=True)))
