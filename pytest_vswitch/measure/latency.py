"""Latency at shares of the throughput (RFC 2544 section 26.2), of every frame, one way.

RFC 2544 times one frame in a trial; like RFC 8219 section 7.2, this tells the typical delay
(the median) and the worst (the 99.9th percentile). Their variation is RFC 5481's: PDV is the
99.9th percentile less the shortest delay (section 4.2), IPDV the change from one frame to the
next (section 4.1), without sign, of which it is the 99.9th percentile. A lost frame took
forever (RFC 7679 section 5.1): a percentile that lies among the lost has no value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pytest_vswitch.errors import HostError
from pytest_vswitch.measure import spread
from pytest_vswitch.measure.outcome import Curve, Figure, Outcome
from pytest_vswitch.measure.procedure import Bench, kept_up
from pytest_vswitch.measure.throughput import ATTEMPTS
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.traffic.generator import DirectionCounts, Latency
from pytest_vswitch.traffic.latency import Histogram

SHARES = (0.9, 0.5, 0.1)
"""Of the throughput."""
P99 = "delay p99"
"""Begins the name of the figure that a threshold limits, at each share."""
RESOLUTION = 0.004
"""A percentile is right to this part of itself."""

_FIELDS = {50: "p50_us", 90: "p90_us", 99: "p99_us", 99.9: "p999_us", 99.99: "p9999_us"}
PERCENTS = tuple(_FIELDS)


@dataclass(frozen=True, slots=True)
class AtShare:
    """All trials at one share of the throughput."""

    share: float
    trials: tuple[Trial, ...]

    @property
    def load_pps(self) -> float:
        return self.trials[0].intended_pps

    @property
    def lost(self) -> int:
        return sum(trial.lost for trial in self.trials)

    @property
    def late_ratio(self) -> float:
        """Part of the samples that are timed from when they were due, 0 to 1."""
        seen = [d.latency for t in self.trials for d in t.directions if d.latency]
        return sum(one.late for one in seen) / sum(one.samples for one in seen)

    def percentile(self, percent: float) -> spread.Spread | None:
        """Of the trials' worst directions [µs]; None if it lies among lost frames."""
        return self._of_trials(lambda direction: percentile_us(direction, percent))

    @property
    def pdv(self) -> spread.Spread | None:
        """99.9th percentile of delay beyond the shortest [µs]; None among lost frames."""

        def beyond(direction: DirectionCounts) -> float | None:
            worst_us = percentile_us(direction, 99.9)
            if worst_us is None or direction.latency is None:
                return None
            return worst_us - direction.latency.min_us

        return self._of_trials(beyond)

    @property
    def ipdv(self) -> spread.Spread | None:
        """99.9th percentile of change between neighbours [µs]; None if none were seen."""
        return self._of_trials(lambda direction: _ipdv_us(direction.latency))

    def _of_trials(self, value: Callable[[DirectionCounts], float | None]) -> spread.Spread | None:
        worst = []
        for trial in self.trials:
            values = [value(direction) for direction in trial.directions]
            known = [one for one in values if one is not None]
            if not known or len(known) < len(values):
                return None
            worst.append(max(known))
        return spread.of(worst, RESOLUTION * max(worst))


@dataclass(frozen=True, slots=True)
class LatencyAtShares:
    """What was found at each share, the highest first."""

    throughput_pps: float
    loads: tuple[AtShare, ...]
    resolution_us: float
    """The generator may see a frame so much later than it came."""
    procedure: Mapping[str, str]
    doubts: tuple[str, ...]

    @property
    def outcome(self) -> Outcome:
        rising = self.loads[::-1]
        return Outcome(
            source="RFC 2544 section 26.2, RFC 8219 section 7.2, RFC 5481",
            procedure=self.procedure,
            figures=tuple(figure for load in self.loads for figure in self._figures(load)),
            curves=tuple(
                Curve(
                    name,
                    *("offered load", "frames/s", "delay", "s"),
                    tuple(
                        (load.load_pps, seen.mean / 1e6)
                        for load in rising
                        if (seen := load.percentile(percent))
                    ),
                )
                for name, percent in (("Median delay", 50), ("99.9th percentile of delay", 99.9))
            ),
            doubts=self.doubts,
        )

    def _figures(self, load: AtShare) -> Iterator[Figure]:
        at = f"at {100 * load.share:g} % of NDR"
        for name, seen in (
            ("delay p50", load.percentile(50)),
            (P99, load.percentile(99)),
            ("delay p99.9", load.percentile(99.9)),
            ("PDV p99.9", load.pdv),
            ("IPDV p99.9", load.ipdv),
        ):
            if seen is None:
                yield Figure(f"{name} {at}", None, "s")
                continue
            low_us = max(0.0, seen.mean - seen.error - self.resolution_us)
            high_us = seen.mean + seen.error
            yield Figure(f"{name} {at}", seen.mean / 1e6, "s", low_us / 1e6, high_us / 1e6)


def percentile_us(direction: DirectionCounts, percent: float) -> float | None:
    """The delay that so many percent of all frames sent did not exceed; None if it has none.

    `percent` is one of `PERCENTS`, unless the generator keeps histograms.
    """
    latency = direction.latency
    if latency is None:
        return None
    if direction.lost <= 0 or not latency.histogram:
        field = _FIELDS.get(percent)
        if field:
            value: float | None = getattr(latency, field)
            return value if direction.lost <= (1 - percent / 100) * direction.sent else None
    seen = Histogram.decode(latency.histogram)
    share = percent * (latency.samples + max(0, direction.lost)) / latency.samples
    return seen.percentile_us(share) if share <= 100 else None


def _ipdv_us(latency: Latency | None) -> float | None:
    return None if latency is None else latency.ipdv_p999_us


def latency_at_shares(bench: Bench, throughput_pps: float) -> LatencyAtShares:
    """Trials at each share of the throughput, as often as the rules say.

    A trial in which the generator did not keep up is made again; the last attempt counts.
    Raises HostError when the generator tells no latency, and what `TrialRunner.run` raises.
    """
    generator = bench.runner.generator
    if not generator.capabilities.latency:
        raise HostError(f"{generator.description} does not tell the delay of frames")
    loads = [
        AtShare(
            share, tuple(_trial(bench, share, throughput_pps) for _ in range(bench.rules.repeats))
        )
        for share in SHARES
    ]
    return LatencyAtShares(
        throughput_pps=throughput_pps,
        loads=tuple(loads),
        resolution_us=generator.capabilities.latency_resolution_us,
        procedure={
            **bench.procedure,
            "throughput": f"{throughput_pps:,.0f} frames/s",
            "trials at each load": str(bench.rules.repeats),
            "of each figure": "the worse direction of each trial, and the mean over the trials",
            "timed": "every frame, from when it was sent, or due if the generator was late",
        },
        doubts=tuple(doubt for load in loads for doubt in _doubts(load)),
    )


def _trial(bench: Bench, share: float, throughput_pps: float) -> Trial:
    for _ in range(ATTEMPTS):
        trial = bench.run(share * throughput_pps, phase=f"latency at {100 * share:g} %")
        if kept_up(trial):
            break
    if not any(direction.latency for direction in trial.directions):
        raise HostError(
            f"no frame of {trial.sent:,} came back at {100 * share:g} % of NDR: "
            "there is no delay to tell"
        )
    return trial


def _doubts(load: AtShare) -> Iterator[str]:
    at = f"at {100 * load.share:g} % of NDR"
    slow = [trial for trial in load.trials if not kept_up(trial)]
    if slow:
        yield (
            f"{at} the generator did not keep up in {len(slow)} of {len(load.trials)} trials: "
            "the frames that it never sent are counted with what they have waited for it"
        )
    if load.late_ratio > 0.001:
        yield (
            f"{at} the generator was late with {100 * load.late_ratio:.2g} % of the frames: "
            "their delays contain its own"
        )
    if load.lost:
        yield f"{at} {load.lost:,} frames were lost: these have no delay"
