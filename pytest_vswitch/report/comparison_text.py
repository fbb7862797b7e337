"""A comparison as a table for the terminal, and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from pytest_vswitch.results.compare import wording
from pytest_vswitch.results.compare.comparison import Comparison, Row
from pytest_vswitch.results.statistics.pair import Verdict

SIMULATED = "SIMULATED: no frame of these runs ever existed."
SAME_EVERYWHERE = "nothing that is known of the two environments differs"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""What a file's content must not do to the reader's terminal."""

_COLUMNS = ("verdict", "case", "metric", "before", "after", "change", "n", "p")
_RIGHT = {"before", "after", "n", "p"}

Paint = Callable[[str, Verdict], str]


def terminal(comparison: Comparison, paint: Paint = lambda text, verdict: text) -> str:
    """A line for each number, what is to be known of it below; `paint` colours the verdicts."""
    lines = [*_heading(comparison)]
    widths = [
        max(map(len, column))
        for column in zip(_COLUMNS, *map(_cells, comparison.rows), strict=True)
    ]
    for group in comparison.groups:
        lines += ["", f"{_safe(group.name)}: {wording.counts(group.tally)}"]
        lines.append("  " + _aligned(_COLUMNS, widths))
        for row in group.rows:
            text = _aligned(_cells(row), widths)
            verdict = row.judgement.verdict
            # Coloured once it is aligned: colours have a length, but no width.
            lines.append("  " + paint(verdict, verdict) + text.removeprefix(verdict))
            remarks = wording.remarks(row, comparison.usual)
            lines += [f"      {_safe(remark)}" for remark in remarks]
    lines += ["", *_lacking(comparison), f"all: {wording.counts(comparison.tally)}"]
    return "\n".join(lines) + "\n"


def markdown(comparison: Comparison) -> str:
    """For a merge request or a wiki page."""
    lines = [f"# {_cell(comparison.before.name)} → {_cell(comparison.after.name)}", ""]
    lines.append(f"**{wording.counts(comparison.tally)}**")
    lines += ["", *(f"- {_cell(line)}" for line in _sides(comparison)), ""]
    if comparison.differences:
        lines += ["| | | Before | After |", "|---|---|---|---|"]
        lines += [
            f"| {one.part} | {_cell(one.name)} | {_cell(one.before)} | {_cell(one.after)} |"
            for one in comparison.differences
        ]
    else:
        lines.append(f"{SAME_EVERYWHERE.capitalize()}.")
    lines += ["", *(f"- {_cell(line)}" for line in _meaning(comparison))]
    for group in comparison.groups:
        lines += ["", f"## {_cell(group.name)}: {wording.counts(group.tally)}", ""]
        lines.append("| Verdict | Case | Metric | Before | After | Change | n | p | Remarks |")
        lines.append("|---|---|---|--:|--:|---|--:|--:|---|")
        for row in group.rows:
            remarks = "; ".join(wording.remarks(row, comparison.usual))
            verdict, *cells = map(_cell, (*_cells(row), remarks))
            lines.append(f"| **{verdict}** | {' | '.join(cells)} |")
    if lacking := list(_lacking(comparison)):
        lines += ["", *(f"- {_cell(line)}" for line in lacking)]
    return "\n".join(lines) + "\n"


def _heading(comparison: Comparison) -> Iterator[str]:
    yield from map(_safe, _sides(comparison))
    if not comparison.differences:
        yield SAME_EVERYWHERE
    for one in comparison.differences:
        yield _safe(f"differs: {one.part}: {one}")
    yield from map(_safe, _meaning(comparison))


def _sides(comparison: Comparison) -> Iterator[str]:
    for name, side in (("before", comparison.before), ("after", comparison.after)):
        yield f"{name}: {side.name}: {wording.side(side)}"
    if comparison.simulated:
        yield SIMULATED
    for reason in comparison.despite:
        yield f"NOT COMPARABLE, and compared all the same: {reason}"


def _meaning(comparison: Comparison) -> Iterator[str]:
    options = comparison.options
    yield (
        f"a change is one of at least {100 * options.minimum_effect:g} %; intervals hold with "
        f"{100 * options.confidence:g} % confidence, and in {100 * options.family_confidence:g} % "
        "of such reports no verdict is by chance"
    )
    yield from comparison.doubts
    yield from wording.usual(comparison)


def _cells(row: Row) -> tuple[str, ...]:
    judgement = row.judgement
    cells = (
        judgement.verdict,
        row.case,
        row.metric,
        *wording.medians(row),
        wording.change(judgement),
        "{}/{}".format(*row.counted),
        wording.probability(judgement.p_value),
    )
    return tuple(map(_safe, cells))


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    columns = zip(_COLUMNS, cells, widths, strict=True)
    return "  ".join(
        cell.rjust(width) if name in _RIGHT else cell.ljust(width) for name, cell, width in columns
    ).rstrip()


def _lacking(comparison: Comparison) -> Iterator[str]:
    for side, numbers in (
        (comparison.before, comparison.only_before),
        (comparison.after, comparison.only_after),
    ):
        for number in numbers:
            yield _safe(f"only in {side.name}: {number}")


def _safe(text: str) -> str:
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def _cell(text: str) -> str:
    """Markdown and the HTML that it may hold, as plain text."""
    escaped = re.sub(r"([\\`*_\[\]|~#])", r"\\\1", _safe(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
