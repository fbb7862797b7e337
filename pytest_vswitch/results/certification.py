"""One case on its way to a verdict; every step is in the journal before the next begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from pytest_vswitch.errors import InputError
from pytest_vswitch.measure.functional import check_functional
from pytest_vswitch.measure.hint import Hint
from pytest_vswitch.measure.options import SearchOptions
from pytest_vswitch.measure.outcome import Reported
from pytest_vswitch.measure.procedure import Bench, Rules
from pytest_vswitch.measure.runner import Progress, TrialRunner
from pytest_vswitch.measure.throughput import find_throughput, line_rate_pps
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.results import contention, template, verdict
from pytest_vswitch.results.findings import finding
from pytest_vswitch.results.host_facts import remarks
from pytest_vswitch.results.journal import (
    CaseBegun,
    CaseEnded,
    Journal,
    MeasurementBegun,
    MeasurementEnded,
    TrialEnded,
)
from pytest_vswitch.results.record import (
    BaselineCheck,
    Case,
    HostFacts,
    Measurement,
    Verdict,
)
from pytest_vswitch.results.sample import comparable
from pytest_vswitch.topologies.topology import Topology
from pytest_vswitch.traffic.generator import Generator, require
from pytest_vswitch.traffic.profile import PLAIN, Profile

T = TypeVar("T")
R = TypeVar("R", bound=Reported)


@dataclass(frozen=True, slots=True)
class Wired:
    """A running topology with a generator attached to it: what a test gets."""

    name: str
    """Of the topology, as registered; also names the case."""
    topology: Topology
    generator: Generator
    versions: Mapping[str, str] = field(default_factory=dict)
    """What `--dpdk` and the like chose, by parameter of the case."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run measures of each of its cases."""

    search: SearchOptions
    repeats: int
    rules: Rules = field(default_factory=Rules)
    """Of the measurements that are no search."""
    soak_s: float = 3600.0
    """How long a soak takes [s]."""
    profile: Profile = PLAIN
    """The frames, beyond their size."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """What earlier rounds of a case have measured."""

    measurements: tuple[Measurement, ...]
    begun: int
    """Measurements that were begun, ended or not."""


@dataclass(frozen=True, slots=True)
class Doing:
    """What a measurement works with."""

    bench: Bench
    """For trials of the case's own frames."""
    runner: Callable[[int, Profile], TrialRunner]
    """Of another frame size [bytes] or profile."""
    on: Callable[[Wired], TrialRunner]
    """Of the case's own frames, on another wiring; checks first that they pass exactly."""
    record: Callable[[Trial], None]
    """Keeps a trial that no runner made."""


class Certification:
    """Measures one case and keeps what it finds.

    The case begins in the journal when this is made, and ends there with `end`.
    """

    def __init__(
        self,
        wired: Wired,
        journal: Journal,
        host: HostFacts,
        plan: Plan,
        *,
        parameters: Mapping[str, str | int | float],
        limits: Mapping[str, Mapping[str, float]],
        progress: Callable[[Progress], None],
        may_go_on: Callable[[], None] = lambda: None,
        contention: Callable[[], contention.Reading] | None = None,
        known: Callable[[Case], Hint | None] = lambda case: None,
        baseline: Callable[[Case], tuple[BaselineCheck, ...]] = lambda case: (),
        earlier: Mapping[str, Rounds] | None = None,
    ) -> None:
        """`limits` are the lab's thresholds by case id; `frame_bytes` is a parameter.

        Raises InputError when the generator cannot send the plan's frames.

        `may_go_on` is asked before each trial, and raises if it must not be. `contention`
        reads how busy the DUT is. `known` says where a search may look first. `baseline`
        holds the case against earlier runs. `earlier` are the rounds before this one, by case
        id: what this one measures is added to them.
        """
        topology, generator = wired.topology, wired.generator
        require(generator, plan.profile)
        chosen = {**plan.profile.parameters, **topology.variant, **wired.versions}
        parameters = {**parameters, **chosen}
        words = ",".join(f"{name}={value}" for name, value in sorted(parameters.items()))
        facts = topology.facts
        self.frame_bytes = int(parameters["frame_bytes"])
        self.case = Case(
            id=f"{wired.name}:{words}",
            suite=wired.name,
            topology=topology.name,
            parameters=parameters,
            goals=plan.search.goals,
            ports=tuple(port.name for port in topology.ports),
            line_rate_pps=line_rate_pps(topology.ports, plan.profile.mean_bytes(self.frame_bytes)),
            traffic_generator=generator.description,
            simulated=generator.simulated,
            facts=replace(
                facts,
                remarks=facts.remarks if generator.simulated else (*facts.remarks, *remarks(host)),
            ),
            nodes=tuple(topology.nodes),
        )
        self._wired = wired
        self._journal = journal
        self._host = host
        self._plan = plan
        before = (earlier or {}).get(self.case.id, Rounds((), 0))
        self._begun = before.begun
        self._limits = limits.get(self.case.id) or limits.get(comparable(self.case), {})
        self._progress = progress
        self._may_go_on = may_go_on
        self._contention = contention
        self._known = known
        self._baseline = baseline
        self._ended = False
        journal.append(CaseBegun(self.case, continues=before.begun > 0))
        self.case = replace(self.case, measurements=before.measurements)

    def throughput(self) -> None:
        """Search NDR and PDR, as often as the plan says.

        First the DUT must return exact frames exactly: raises FunctionalError if not, and
        what `TrialRunner.run` raises.
        """
        check_functional(
            self._wired.topology, self._wired.generator, self.frame_bytes, profile=self.profile
        )
        repeat = 0

        def record(trial: Trial) -> None:
            self._journal.append(TrialEnded(self.case.id, repeat, trial))

        runner = TrialRunner(
            self._wired.topology,
            self._wired.generator,
            self.frame_bytes,
            profile=self.profile,
            record=record,
            progress=self._progress,
            may_go_on=self._may_go_on,
        )
        search = self._plan.search
        # Repeats show how searches spread: they must not know of each other, nor of one before.
        hint = self._known(self.case) if self._plan.repeats == 1 and search.heeds_hints else None
        for _ in range(self._plan.repeats):
            repeat = self._next_number()
            self._journal.append(MeasurementBegun(self.case.id, repeat, search.search, hint))
            began, before = time.monotonic(), self._busy()
            found = find_throughput(runner, search, hint)
            elapsed_s, after = time.monotonic() - began, self._busy()
            busy = contention.between(before, after) if before and after else None
            self._journal.append(
                MeasurementEnded(self.case.id, repeat, found.results, elapsed_s, busy)
            )
            measurement = Measurement(
                repeat, search.search, found.results, found.trials, elapsed_s, busy, hint=hint
            )
            self.case = replace(self.case, measurements=(*self.case.measurements, measurement))

    def measured(self, what: str, measure: Callable[[Doing], R]) -> R:
        """Keep a measurement that is no search, e.g. `frame loss`, trial by trial.

        First the DUT must return exact frames exactly: raises FunctionalError if not, and
        what `measure` raises.
        """
        topology, generator = self._wired.topology, self._wired.generator
        check_functional(topology, generator, self.frame_bytes, profile=self.profile)
        number = self._next_number()
        before_it = sum(len(one.trials) for one in self.case.measurements)
        kept: list[Trial] = []

        def record(trial: Trial) -> None:
            kept.append(replace(trial, number=before_it + len(kept) + 1))
            self._journal.append(TrialEnded(self.case.id, number, kept[-1]))

        def runner(frame_bytes: int, profile: Profile, wired: Wired = self._wired) -> TrialRunner:
            return TrialRunner(
                wired.topology,
                wired.generator,
                frame_bytes,
                profile=profile,
                record=record,
                progress=self._progress,
                may_go_on=self._may_go_on,
            )

        def on(wired: Wired) -> TrialRunner:
            check_functional(
                wired.topology, wired.generator, self.frame_bytes, profile=self.profile
            )
            return runner(self.frame_bytes, self.profile, wired)

        self._journal.append(MeasurementBegun(self.case.id, number, what))
        began, before = time.monotonic(), self._busy()
        bench = Bench(runner(self.frame_bytes, self.profile), self._plan.rules)
        found = measure(Doing(bench, runner, on, record))
        elapsed_s, after = time.monotonic() - began, self._busy()
        busy = contention.between(before, after) if before and after else None
        self._journal.append(
            MeasurementEnded(self.case.id, number, (), elapsed_s, busy, found.outcome)
        )
        measurement = Measurement(number, what, (), tuple(kept), elapsed_s, busy, found.outcome)
        self.case = replace(self.case, measurements=(*self.case.measurements, measurement))
        return found

    @property
    def plan(self) -> Plan:
        return self._plan

    @property
    def profile(self) -> Profile:
        return self._plan.profile

    @property
    def ndr_pps(self) -> float | None:
        """The NDR that `throughput` found, if it has [frames/s, all directions]."""
        found = finding(self.case.measurements, "NDR")
        return found.value_pps if found else None

    @property
    def rounds(self) -> Rounds:
        """For the next round of this case."""
        return Rounds(self.case.measurements, self._begun)

    def _next_number(self) -> int:
        self._begun += 1
        return self._begun

    def _busy(self) -> contention.Reading | None:
        try:
            return self._contention() if self._contention else None
        except OSError:
            return None

    def event(self, what: str, measure: Callable[[], tuple[T, Trial]]) -> T:
        """Keep the one trial around an event, e.g. a `migration`, whatever comes after it.

        `measure` carries it out; what it raises is raised. Raises InputError for frames
        that are not plain.
        """
        if self.profile != PLAIN:
            raise InputError(
                f"{self.case.id}: around a {what} frames are plain; leave out --imix, --flows, "
                "--vlan, --mpls, --vxlan, --burst and --pcap"
            )
        self._may_go_on()
        number = self._next_number()
        self._journal.append(MeasurementBegun(self.case.id, number, what))
        began = time.monotonic()
        happened, trial = measure()
        elapsed_s = time.monotonic() - began
        self._journal.append(TrialEnded(self.case.id, number, trial))
        self._journal.append(MeasurementEnded(self.case.id, number, (), elapsed_s))
        measurement = Measurement(number, what, (), (trial,), elapsed_s)
        self.case = replace(self.case, measurements=(*self.case.measurements, measurement))
        return happened

    def check(self) -> list[str]:
        """Hold the case against the lab's thresholds and the baseline; a sentence for each miss.

        Where neither tells, the case is `measured`, neither passed nor failed.
        """
        checks = verdict.check(self._limits, self.case.measurements, self.case.line_rate_pps)
        baseline = self._baseline(self.case)
        self.case = replace(self.case, checks=checks, baseline=baseline)
        self._end(verdict.verdict(checks, baseline))
        missed = [check.message for check in checks if not check.met]
        return missed + [held.message for held in baseline if not held.met]

    def fail(self, error: str) -> None:
        """End the case with what went wrong, unless it has ended."""
        self.case = replace(self.case, error=error)
        self._end("error")

    def end(self) -> None:
        """End the case as measured, unless it has ended."""
        self._end("measured")

    def _end(self, outcome: Verdict) -> None:
        if self._ended:
            return
        self._ended = True
        self.case = replace(self.case, verdict=outcome)
        self.case = replace(self.case, template=template.render(self.case, self._host))
        case = self.case
        self._journal.append(
            CaseEnded(case.id, outcome, case.checks, case.error, case.template, case.baseline)
        )
