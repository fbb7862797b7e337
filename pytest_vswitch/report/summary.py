"""The certificate as plain text, for the end of a terminal session. No colours."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from pytest_vswitch.measure.goals import Goal
from pytest_vswitch.results import units
from pytest_vswitch.results.findings import Finding, event_facts, finding, limiter, outcomes
from pytest_vswitch.results.record import Case, Measurement, Record, Verdict
from pytest_vswitch.results.run_directory import RunDirectory
from pytest_vswitch.results.stability import unstable

WIDTH = 80

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
"""What a host's output must not do to the reader's terminal."""

VERDICT_WORDS: dict[Verdict, str] = {
    "passed": "PASSED",
    "failed": "FAILED",
    "measured": "MEASURED",
    "error": "ERROR",
    "incomplete": "INCOMPLETE",
}


def render(record: Record, directory: RunDirectory | None = None) -> str:
    """Verdict, numbers and doubts of every case, at most 80 columns wide.

    With a `directory`, it ends with the paths of the run's files.
    """
    run = record.run
    lines = [f"run {run.id}, lab {record.lab.get('name', 'unnamed')}, host {record.host.hostname}"]
    if run.simulated or any(case.simulated for case in record.cases):
        lines += _wrapped("SIMULATED: no frame of this run ever existed.", 0)
    if not record.finished:
        lines += _wrapped("INCOMPLETE: the run ended before its last case.", 0)
    for loss in record.damage:
        lines += _wrapped(f"DAMAGED JOURNAL: {loss}", 0)
    shared = len(record.cases) > 1 and len({case.facts.remarks for case in record.cases}) == 1
    for case in record.cases:
        lines += ["", *_case(case, remarks_below=shared)]
    if shared:
        lines += ["", *_remarks(record.cases[0], "these numbers are not representative:", 0)]
    if not record.cases:
        lines += ["", "nothing was measured"]
    if directory is not None:
        files = {"report  ": directory.report, "results ": directory.results}
        lines += ["", *(f"{what} {path}" for what, path in files.items() if path.exists())]
    return "\n".join(lines) + "\n"


def overall(record: Record) -> Verdict:
    """The worst verdict of the run's cases; `measured` only if no case has a threshold."""
    verdicts = {case.verdict for case in record.cases}
    order: tuple[Verdict, ...] = ("error", "failed", "incomplete")
    for verdict in order:
        if verdict in verdicts:
            return verdict
    if not record.finished or not verdicts:
        return "incomplete"
    return "passed" if "passed" in verdicts else "measured"


def short_goal(goal: Goal) -> str:
    """E.g. `NDR`, `PDR (0.5 % loss)`."""
    if goal.loss_ratio == 0:
        return goal.name
    return f"{goal.name} ({units.plain(100 * goal.loss_ratio)} % loss)"


def _case(case: Case, *, remarks_below: bool) -> Iterator[str]:
    mark = " (simulated)" if case.simulated else ""
    yield f"{VERDICT_WORDS[case.verdict]}  {case.id}{mark}"
    if case.error:
        for line in case.error.splitlines():
            # Indented lines are tables and quoted output: wrapped, they could not be read.
            yield from [f"  {_safe(line)}"] if line.startswith(" ") else _wrapped(line, 2)
    best = [f for goal in case.goals if (f := finding(case.measurements, goal.name))]
    for found in best:
        yield from _finding(found, case)
    for check in case.checks:
        yield from _wrapped(("met: " if check.met else "missed: ") + check.message, 2)
    for held in case.baseline:
        yield from _wrapped(("baseline: " if held.met else "missed: ") + held.message, 2)
    if best:
        yield from _wrapped(f"limited by  {limiter(best[0])}", 2, 14)
        if doubt := unstable(case):
            yield from _wrapped(f"unstable    {doubt}", 2, 14)
    for measurement in outcomes(case):
        yield from _outcome(measurement)
    if best or outcomes(case):
        pass
    elif seen := event_facts(case):
        for what, amount in seen.items():
            yield from _wrapped(f"{what}: {amount}", 2, 4)
    elif not case.error:
        trials = sum(len(m.trials) for m in case.measurements)
        yield from _wrapped(f"no search ended; {trials} trials are kept", 2)
    if case.facts.remarks and remarks_below:
        yield "  not representative: see below"
    elif case.facts.remarks:
        yield from _remarks(case, "not representative:", 2)


def _remarks(case: Case, heading: str, indent: int) -> Iterator[str]:
    if case.facts.remarks:
        yield " " * indent + heading
    for remark in case.facts.remarks:
        yield from _wrapped(f"- {remark}", indent + 2, indent + 4)


def _outcome(measurement: Measurement) -> Iterator[str]:
    """Each figure with its interval, and what makes them doubtful."""
    assert measurement.outcome is not None
    for figure in measurement.outcome.figures:
        between = units.bounds(figure.low, figure.high, figure.unit)
        text = f"{figure.name}  {units.quantity(figure.value, figure.unit)}"
        yield from _wrapped(f"{text}  ({between})" if between else text, 2, 4)
    for doubt in measurement.outcome.doubts:
        yield from _wrapped(f"doubtful: {doubt}", 2, 4)


def _finding(found: Finding, case: Case) -> Iterator[str]:
    name = short_goal(found.goal)
    if found.value_pps is None:
        yield from _wrapped(f"{name}  {found.interval}", 2)
        return
    share = units.percent(found.value_pps / case.line_rate_pps) if case.line_rate_pps else "n/a"
    text = f"{name:<16} {units.rate(found.value_pps):>10}  {share} of line rate; {found.interval}"
    yield from _wrapped(text, 2, 19)


def _wrapped(text: str, indent: int, hanging: int | None = None) -> list[str]:
    return textwrap.wrap(
        _safe(text),
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent if hanging is None else hanging),
    )


def _safe(text: str) -> str:
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
