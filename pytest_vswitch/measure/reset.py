"""Reset time: how long no frame passes when a component restarts (RFC 2544 26.6, RFC 6201)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pytest_vswitch.errors import InputError
from pytest_vswitch.measure import books, outage, spread
from pytest_vswitch.measure.outage import EndingGenerator
from pytest_vswitch.measure.outcome import Curve, Figure, Outcome
from pytest_vswitch.measure.procedure import Bench
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.topologies.topology import Topology
from pytest_vswitch.traffic.generator import DirectionCounts
from pytest_vswitch.traffic.profile import PLAIN

SHARE = 0.5
"""Of the throughput, offered meanwhile: loss is the reset's then, and not the load's."""
AFTER_S = 2.0
"""Traffic after the reset [s]."""
LONGEST_S = 30.0
"""Of a trial whose end nobody can tell it, as in a simulation [s]."""


@runtime_checkable
class Resettable(Topology, Protocol):
    """A topology of which a component can be restarted while it forwards."""

    @property
    def components(self) -> Sequence[str]:
        """What can be reset, for a reader."""

    def keeps_counters(self, component: str) -> bool:
        """Whether its counters live through that; if not, only the generator's books count."""

    def reset(self, component: str) -> None:
        """Restart it; returns when it has been restarted, or will have been in virtual time."""


@dataclass(frozen=True, slots=True)
class Reset:
    """One reset, as the direction saw it that suffered most [s]."""

    by_loss_s: float
    """Lost frames over the rate at which they were sent (RFC 6201 section 2.3)."""
    by_silence_s: float | None
    """Longest time without a frame, less the usual distance of two (by timestamps, RFC 6201
    section 2.3); None when the generator does not tell."""
    spacing_s: float
    """Between two frames: nothing shorter can be told."""


@dataclass(frozen=True, slots=True)
class ResetTime:
    """All repeats."""

    component: str
    resets: tuple[Reset, ...]
    rate_pps: float
    procedure: Mapping[str, str]

    @property
    def outcome(self) -> Outcome:
        spacing_s = self.resets[0].spacing_s
        lost = spread.of([one.by_loss_s for one in self.resets], 2 * spacing_s)
        silent = [one.by_silence_s for one in self.resets if one.by_silence_s is not None]
        figures = [_figure("reset time by lost frames", lost)]
        if silent:
            figures.append(
                _figure("reset time by silence", spread.of(silent, 2 * spacing_s)),
            )
        figures += [
            Figure("longest of the repeats", lost.most, "s"),
            Figure("offered load", self.rate_pps, "frames/s"),
        ]
        points = tuple((float(n), one.by_loss_s) for n, one in enumerate(self.resets, 1))
        return Outcome(
            source="RFC 6201 section 2.3, which updates RFC 2544 section 26.6",
            procedure=self.procedure,
            figures=tuple(figures),
            curves=(Curve(f"Reset of {self.component}", "repeat", "", "reset time", "s", points),),
        )


def reset_time(
    bench: Bench, component: str, throughput_pps: float, record: Callable[[Trial], None]
) -> ResetTime:
    """Restart `component` under traffic, as often as the rules say.

    `record` keeps the trials that are not the bench's own. Raises InputError when the
    topology has no such component, and what the restart itself raises.
    """
    topology = bench.runner.topology
    if not isinstance(topology, Resettable):
        raise InputError(f"the topology {topology.name} has nothing that can be reset")
    if component not in topology.components:
        raise InputError(
            f"{topology.name} has no `{component}` to reset: there is "
            f"{', '.join(topology.components)}"
        )
    rate_pps = SHARE * throughput_pps
    bench.warm_up("reset")
    resets = []
    for _ in range(bench.rules.repeats):
        trial = _under_traffic(bench, topology, component, rate_pps, record)
        resets.append(of(trial))
        bench.rest()
    return ResetTime(
        component=component,
        resets=tuple(resets),
        rate_pps=rate_pps,
        procedure={
            **bench.procedure,
            "component": component,
            "load": f"{100 * SHARE:.0f} % of the throughput",
            "repeats": str(len(resets)),
        },
    )


def of(trial: Trial) -> Reset:
    """What a trial around a reset says of it."""
    spacing_s = len(trial.directions) / trial.intended_pps
    silences = [seen for seen in outage.of(trial) if seen.silence is not None]
    return Reset(
        by_loss_s=max(counts.lost for counts in trial.directions) * spacing_s,
        by_silence_s=max((seen.silence_ms / 1e3 for seen in silences), default=None),
        spacing_s=spacing_s,
    )


def _under_traffic(
    bench: Bench,
    topology: Resettable,
    component: str,
    rate_pps: float,
    record: Callable[[Trial], None],
) -> Trial:
    runner = bench.runner
    if not isinstance(runner.generator, EndingGenerator):
        topology.reset(component)
        return bench.run(rate_pps, LONGEST_S, phase="reset", pauses=False)
    if runner.profile != PLAIN:
        raise InputError("a reset is measured with frames of one flow and one size")

    def event(watch: Callable[[], None]) -> None:
        del watch  # the restart has a deadline of its own
        topology.reset(component)

    kept = topology.keeps_counters(component)
    _, trial = outage.during(
        topology,
        runner.generator,
        event,
        audit=_audit(topology) if kept else outage.by_generator(topology),
        rate_pps=rate_pps,
        frame_bytes=runner.frame_bytes,
        after_s=AFTER_S,
        patient=not kept,
    )
    record(trial)
    return trial


def _audit(topology: Topology) -> outage.Audit:
    """The books of a topology whose counters live through the reset."""

    def paths(
        counts: Sequence[DirectionCounts], before: object, after: object
    ) -> Sequence[books.Path]:
        ports = topology.ports
        return [
            books.full_path(
                one,
                topology.path(one.tx_port, before, after),
                ports[one.tx_port].name,
                ports[one.rx_port].name,
            )
            for one in counts
        ]

    return paths


def _figure(name: str, seen: spread.Spread) -> Figure:
    return Figure(name, seen.mean, "s", max(0.0, seen.mean - seen.error), seen.mean + seen.error)
