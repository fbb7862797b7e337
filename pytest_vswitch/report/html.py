"""The report: one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.report import charts, drawing, latency
from pytest_vswitch.report.summary import VERDICT_WORDS, overall, short_goal
from pytest_vswitch.results import captures, findings, template, units
from pytest_vswitch.results.findings import Finding
from pytest_vswitch.results.record import Case, Measurement, Record, Verdict
from pytest_vswitch.results.schema import write_atomically
from pytest_vswitch.results.stability import unstable
from pytest_vswitch.traffic.generator import Latency

_TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True, slots=True)
class CaseView:
    """A case and what is derived from it for showing."""

    case: Case
    anchor: str
    error: Markup
    """What went wrong, with links to the frames that were kept."""
    template_text: str
    headline: Finding | None
    found: tuple[Finding, ...]
    trials: tuple[tuple[Measurement, Trial], ...]
    evidence: Trial | None
    """The trial whose counters the drawing and the hop table show."""
    evidence_is: str
    latency_trial: Trial | None
    latencies: tuple[tuple[str, Latency], ...]
    """Of each direction of that trial that has samples."""
    unstable: str
    """What makes repeated searches differ; empty if they do not."""
    outcomes: tuple[Measurement, ...]
    """The measurements that are no search."""
    event: Mapping[str, str]
    """What was seen of an event that was measured in place of a search; else empty."""

    @property
    def line_rate_share(self) -> float | None:
        if self.headline is None or self.headline.value_pps is None or not self.case.line_rate_pps:
            return None
        return self.headline.value_pps / self.case.line_rate_pps

    @property
    def all_trials(self) -> list[Trial]:
        return [trial for _, trial in self.trials]


@dataclass(frozen=True, slots=True)
class RunView:
    """A run and what is derived from it for showing."""

    record: Record
    views: tuple[CaseView, ...]
    overall: Verdict
    sweeps: tuple[tuple[str, Markup], ...]


def render(*records: Record) -> str:
    """The whole report as one HTML document, with a section for each run."""
    numbers = itertools.count(1)
    runs = []
    for record in records:
        beside = len(records) == 1  # else there is no telling where the runs are from here
        views = tuple(_view(case, f"case-{next(numbers)}", beside) for case in record.cases)
        runs.append(RunView(record, views, overall(record), tuple(_sweeps(views))))
    return environment().get_template("report.html.j2").render(runs=runs)


def write(path: Path, *records: Record) -> None:
    """Write the report to `path`, whole or not at all. Raises HostError if it cannot."""
    write_atomically(path, render(*records))


def fragment(case: Case) -> str:
    """One case as a snippet with its own style sheet, to stand inside another page."""
    return environment().get_template("fragment.html.j2").render(view=_view(case, "case"))


def direction_name(case: Case, tx_port: int, rx_port: int) -> str:
    """E.g. `memif0 → memif1`."""
    names = [
        case.ports[port] if port < len(case.ports) else f"port {port}"
        for port in (tx_port, rx_port)
    ]
    return " → ".join(names)


def _view(case: Case, anchor: str, beside: bool = False) -> CaseView:
    """`beside`: the page stands in the run's directory, beside its files."""
    results = (findings.finding(case.measurements, goal.name) for goal in case.goals)
    headline = findings.headline(case)
    trials = tuple((m, trial) for m in case.measurements for trial in m.trials)
    evidence, evidence_is = _evidence(headline, [trial for _, trial in trials])
    at_load = findings.trials_at(headline.measurement, headline.result) if headline else ()
    sampled = [t for t in at_load if any(d.latency for d in t.directions)]
    latency_trial = max(sampled, key=lambda t: t.duration_s, default=None)
    return CaseView(
        case=case,
        anchor=anchor,
        error=_error(case.error) if beside else Markup(escape(case.error)),
        template_text=template.text(case.template) if case.template else "",
        headline=headline,
        found=tuple(found for found in results if found),
        trials=trials,
        evidence=evidence,
        evidence_is=evidence_is,
        latency_trial=latency_trial,
        latencies=tuple(
            (direction_name(case, d.tx_port, d.rx_port), d.latency)
            for d in (latency_trial.directions if latency_trial else ())
            if d.latency
        ),
        unstable=unstable(case),
        outcomes=findings.outcomes(case),
        event=findings.event_facts(case),
    )


def _evidence(headline: Finding | None, trials: Sequence[Trial]) -> tuple[Trial | None, str]:
    """The trial that shows best where frames are lost, and what it is."""
    if headline is not None:
        failing = findings.first_failing(headline.measurement, headline.result)
        if failing is not None:
            return failing, f"the lowest load above the {headline.goal.name} that lost too many"
        at_load = findings.trials_at(headline.measurement, headline.result)
        if at_load:
            return at_load[-1], f"at the {headline.goal.name}"
    return (trials[-1], "the last one made") if trials else (None, "")


def _error(error: str) -> Markup:
    """The message, its files as links."""
    text, at = Markup(""), 0
    for file in captures.FILE.finditer(error):
        text += escape(error[at : file.start()])
        text += Markup('<a href="{0}">{0}</a>').format(file.group())
        at = file.end()
    return text + escape(error[at:])


def _sweeps(views: Sequence[CaseView]) -> list[tuple[str, Markup]]:
    """A chart for each group of cases that differ in their frame size only."""
    groups: dict[str, dict[int, tuple[int, float | None, float]]] = {}
    for view in views:
        case = view.case
        size = case.parameters.get("frame_bytes")
        if not isinstance(size, int) or view.outcomes:
            continue
        rest = [f"{k}={v}" for k, v in case.parameters.items() if k != "frame_bytes"]
        value = view.headline.value_pps if view.headline else None
        group = groups.setdefault(", ".join([case.suite, *rest]), {})
        group[size] = (size, value, case.line_rate_pps)
    return [
        (name, charts.throughput_by_frame_size(list(rates.values())))
        for name, rates in groups.items()
        if len(rates) > 1
    ]


def _drops(drops: Mapping[str, int]) -> str:
    """What a program says it dropped; what it did not drop is left out."""
    return ", ".join(f"{name}: {units.frames(n)}" for name, n in drops.items() if n)


@cache
def environment() -> Environment:
    """For the pages of this package."""
    pages = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(
        rate=units.rate,
        frames=units.frames,
        percent=units.percent,
        microseconds=units.microseconds,
        duration=units.duration,
        quantity=units.quantity,
        bounds=units.bounds,
        memory=units.memory,
        argv=shlex.join,
        drops=_drops,
        limiter=findings.limiter,
        goal=short_goal,
    )
    pages.globals.update(
        charts=charts,
        drawing=drawing,
        seen_by_load=latency.by_load,
        direction_name=direction_name,
        verdict_words=VERDICT_WORDS,
        css=Markup((_TEMPLATES / "style.css").read_text("utf-8")),
    )
    return pages
