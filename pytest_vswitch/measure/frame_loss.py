"""Frame loss rate over load, from line rate downward (RFC 2544 section 26.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pytest_vswitch.measure import spread
from pytest_vswitch.measure.outcome import Curve, Figure, Outcome
from pytest_vswitch.measure.procedure import Bench
from pytest_vswitch.measure.trial import Trial

STEP = 0.1
"""Loads are this part of the highest one apart (26.3 allows no coarser steps)."""
LOWEST_PPS = 200.0
SUCCESSIVE = 2
"""So many trials in a row without a loss end the measurement."""


@dataclass(frozen=True, slots=True)
class FrameLoss:
    """Loss ratios (0 to 1) by load [frames/s, all directions]."""

    trials: tuple[Trial, ...]
    """From the highest load downward; the highest as often as the rules say."""
    highest_pps: float
    """The line rate, or the most that the generator offers."""
    procedure: Mapping[str, str]
    doubts: tuple[str, ...]

    @property
    def at_highest(self) -> spread.Spread:
        """Loss ratio at the highest load, of all its trials."""
        trials = [t for t in self.trials if t.intended_pps == self.highest_pps]
        return spread.of([t.loss_ratio for t in trials], 2 / min(t.sent for t in trials))

    @property
    def clean_pps(self) -> float | None:
        """Highest load at and below which nothing was lost; None if every load lost frames."""
        clean = None
        for trial in reversed(self.trials):
            if trial.lost:
                break
            clean = trial.offered_pps
        return clean

    @property
    def lossy_pps(self) -> float | None:
        """Lowest load above it that lost frames; None if none did."""
        return min((t.offered_pps for t in self.trials if t.lost), default=None)

    @property
    def outcome(self) -> Outcome:
        full, clean = self.at_highest, self.clean_pps
        low, high = max(0.0, full.mean - full.error), min(1.0, full.mean + full.error)
        points = sorted((trial.offered_pps, trial.loss_ratio) for trial in self.trials)
        return Outcome(
            source="RFC 2544 section 26.3",
            procedure=self.procedure,
            figures=(
                Figure("loss at the highest load", full.mean, "ratio", low, high),
                Figure("highest load", self.highest_pps, "frames/s"),
                Figure("highest load without loss", clean, "frames/s", clean, self.lossy_pps),
            ),
            curves=(
                Curve(
                    "Frame loss rate",
                    *("offered load", "frames/s", "loss", "ratio"),
                    tuple(points),
                    clean,
                ),
            ),
            doubts=self.doubts,
        )


def frame_loss(bench: Bench) -> FrameLoss:
    """Measure from the line rate downward until two trials in a row lose nothing.

    Below 10 % of the highest load, where 26.3 would end, each load is half the one before:
    a software DUT may be far slower than its wire. Raises what `TrialRunner.run` raises.
    """
    highest_pps, doubts = bench.highest_pps("frame loss")
    trials: list[Trial] = []
    clean = 0
    for load_pps in _loads(highest_pps):
        for _ in range(1 if trials else bench.rules.repeats):
            trials.append(bench.run(load_pps, phase="frame loss"))
        clean = 0 if trials[-1].lost else clean + 1
        if clean == SUCCESSIVE:
            break
    return FrameLoss(
        trials=tuple(trials),
        highest_pps=highest_pps,
        procedure={
            **bench.procedure,
            "loads": "from the highest in steps of 10 % of it, below 10 % by halves, until two "
            "in a row lose nothing",
            "trials at the highest load": str(bench.rules.repeats),
        },
        doubts=doubts,
    )


def _loads(highest_pps: float) -> Iterator[float]:
    steps = round(1 / STEP)
    for step in range(steps, 0, -1):
        yield highest_pps * (step / steps)
    load_pps = highest_pps * STEP / 2
    while load_pps >= LOWEST_PPS:
        yield load_pps
        load_pps /= 2
