"""Maximum receive rate: what comes back at a fixed overload (FD.io CSIT's MRR; RFC 2285 section
3.6.2, forwarding rate at maximum offered load)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_vswitch.measure import spread
from pytest_vswitch.measure.outcome import Curve, Figure, Outcome
from pytest_vswitch.measure.procedure import Bench
from pytest_vswitch.measure.trial import Trial


@dataclass(frozen=True, slots=True)
class Mrr:
    """Rates are totals over all directions [frames/s]."""

    trials: tuple[Trial, ...]
    offered_pps: float
    rate: spread.Spread
    """Frames received per second of a trial."""
    procedure: Mapping[str, str]
    doubts: tuple[str, ...]

    @property
    def outcome(self) -> Outcome:
        mean, error = self.rate.mean, self.rate.error
        points = [
            (float(number), trial.received / trial.duration_s)
            for number, trial in enumerate(self.trials, 1)
        ]
        return Outcome(
            source="RFC 2285 section 3.6.2 (forwarding rate at maximum offered load)",
            procedure=self.procedure,
            figures=(
                Figure(
                    "maximum receive rate", mean, "frames/s", max(0.0, mean - error), mean + error
                ),
                Figure("standard deviation", self.rate.deviation, "frames/s"),
                Figure("offered load", self.offered_pps, "frames/s"),
            ),
            curves=(
                Curve(
                    "Receive rate by trial", "trial", "", "receive rate", "frames/s", tuple(points)
                ),
            ),
            doubts=self.doubts,
        )


def mrr(bench: Bench) -> Mrr:
    """Offer the line rate, or what the generator can, again and again.

    No search: it takes a fixed time and never fails, so it is what a nightly run compares
    first. It tells nothing of loss. Raises what `TrialRunner.run` raises.
    """
    offered_pps, doubts = bench.highest_pps("MRR")
    trials = tuple(bench.run(offered_pps, phase="MRR") for _ in range(bench.rules.repeats))
    rates = [trial.received / trial.duration_s for trial in trials]
    return Mrr(
        trials=trials,
        offered_pps=offered_pps,
        rate=spread.of(rates, 2 / bench.rules.trial_s),
        procedure={**bench.procedure, "repeats": str(len(trials))},
        doubts=doubts,
    )
