"""One number of a comparison as a small chart: every value of both sides, and the change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from markupsafe import Markup

from pytest_vswitch.report.charts import Axis
from pytest_vswitch.results import units
from pytest_vswitch.results.compare import wording
from pytest_vswitch.results.compare.comparison import Row
from pytest_vswitch.results.sample import Sample

WIDTH, HEIGHT, EDGE = 260, 64, 10
BEFORE, AFTER = 16, 38
"""Where the sides' values stand [px from the top]."""
AXIS = 51


def values(row: Row, minimum_effect: float) -> Markup:
    """Before on top, after below; a search's interval is a line through its dot.

    The broad band is what is no change, around the median before; the one behind the values
    after is where their median lies by the confidence interval of the change.
    """
    least = row.median_before * (1 - minimum_effect), row.median_before * (1 + minimum_effect)
    between = _interval(row)
    x = _axis(row, (*least, *between))
    body = [
        _svg(
            '<rect class="same" x="{:.1f}" y="4" width="{:.1f}" height="{}"/>',
            *(x(least[0]), x(least[1]) - x(least[0]), AXIS - 8),
        )
    ]
    if between:
        body.append(
            _svg(
                '<rect class="band" x="{:.1f}" y="{}" width="{:.1f}" height="18">'
                "<title>change {}</title></rect>",
                *(x(between[0]), AFTER - 9, max(x(between[1]) - x(between[0]), 1.0)),
                wording.change(row.judgement),
            )
        )
    for side, py, kind, middle in (
        (row.before, BEFORE, "before", row.median_before),
        (row.after, AFTER, "after", row.median_after),
    ):
        body += _dots(side, x, py, kind)
        body.append(
            _svg('<path class="median {}" d="M{:.1f} {}v16"/>', kind, x(middle), py - 8),
        )
    body.append(_svg('<path class="axis" d="M{} {}H{}"/>', EDGE, AXIS, WIDTH - EDGE))
    for place, value, anchor in ((EDGE, x.low, "start"), (WIDTH - EDGE, x.high, "end")):
        body.append(
            _svg(
                '<text x="{}" y="{}" text-anchor="{}">{}</text>',
                *(place, AXIS + 11, anchor, units.quantity(value, row.unit)),
            )
        )
    return _svg(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>',
        *(WIDTH, HEIGHT, f"Values of {row.case} {row.metric}", Markup("").join(body)),
    )


def _interval(row: Row) -> tuple[float, ...]:
    low, high = row.judgement.low, row.judgement.high
    if low is None or high is None:
        return ()
    return row.median_before * (1 + low), row.median_before * (1 + high)


def _axis(row: Row, others: Sequence[float]) -> Axis:
    """From the least to the most; never so narrow that noise fills it."""
    shown = [
        *others,
        *chain.from_iterable(_span(sample) for sample in (*row.before, *row.after)),
    ]
    low, high = min(shown), max(shown)
    margin = 0.05 * (high - low) or abs(high) * 0.05 or 1.0
    return Axis(low - margin, high + margin, EDGE, WIDTH - EDGE)


def _span(sample: Sample) -> tuple[float, ...]:
    return tuple(one for one in (sample.value, sample.low, sample.high) if one is not None)


def _dots(side: Sequence[Sample], x: Axis, py: int, kind: str) -> Iterator[Markup]:
    for sample in side:
        span = _span(sample)
        title = f"{units.quantity(sample.value, sample.unit)}, run {sample.run}"
        if between := units.bounds(sample.low, sample.high, sample.unit):
            title += f" ({between})"
        if sample.censored:
            title += ", at the end of the line"
        if len(span) > 1:
            yield _svg(
                '<path class="span {}" d="M{:.1f} {}H{:.1f}"/>',
                kind,
                x(min(span)),
                py,
                x(max(span)),
            )
        yield _svg(
            '<circle class="dot {}{}" cx="{:.1f}" cy="{}" r="3.5"><title>{}</title></circle>',
            *(kind, " censored" if sample.censored else "", x(sample.value), py, title),
        )


def _svg(shape: str, *values: object) -> Markup:
    """`shape` with the values put in, escaped."""
    return Markup(shape).format(*values)
