"""The report's charts, as inline SVG: no script, colours from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pytest_vswitch.measure.outcome import Curve
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.results import units
from pytest_vswitch.results.findings import Finding
from pytest_vswitch.traffic.generator import Latency
from pytest_vswitch.traffic.latency import Histogram

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 82, 12, 42, 44
"""Margins around the plot [px]."""

MOST_DOTS = 100
"""A curve of more points is a line only."""

NINES = 5
"""A chart of percentiles ends at 99.999 %."""

PERCENTILES = ("min", "p50", "p90", "p99", "p99.9", "max")


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps values of one quantity to pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        f = math.log10 if self.log else float
        share = (f(value) - f(self.low)) / (f(self.high) - f(self.low))
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)


def loss_over_load(trials: Sequence[Trial], found: Sequence[Finding]) -> Markup:
    """Loss ratio of every trial over the load really offered; both logarithmic.

    Trials that lost nothing stand on a row of their own, below the break of the axis.
    """
    loads = [t.offered_pps for t in trials if t.offered_pps > 0]
    if not loads:
        return Markup("")
    x = Axis(min(loads) * 0.75, max(loads) * 1.35, LEFT, WIDTH - RIGHT, log=True)
    return _loss_chart(trials, found, x, "every trial")


def loss_near_result(trials: Sequence[Trial], found: Sequence[Finding]) -> Markup:
    """The same around the reported values, where a search spends its time; linear in load.

    Empty when fewer than three trials were made there.
    """
    bounds = [
        pps
        for f in found
        for pps in (f.lowest_pps, f.highest_pps, f.result.upper_pps)
        if pps is not None and f.value_pps is not None
    ]
    if not bounds:
        return Markup("")
    margin = max(1.2 * (max(bounds) - min(bounds)), 0.02 * max(bounds))
    low, high = max(0.0, min(bounds) - margin), max(bounds) + margin
    near = [t for t in trials if low <= t.offered_pps <= high]
    if len(near) < 3 or len(near) == len(trials):
        return Markup("")
    return _loss_chart(near, found, Axis(low, high, LEFT, WIDTH - RIGHT), "near the result")


def latency_percentiles(directions: Sequence[tuple[str, Latency]]) -> Markup:
    """One-way delay per direction at each percentile; logarithmic in time."""
    values = [[_percentile(latency, p) for p in PERCENTILES] for _, latency in directions]
    positive = [v for row in values for v in row if v > 0]
    if not positive:
        return Markup("")
    y = _decades(min(positive), max(positive))
    step = (WIDTH - LEFT - RIGHT) / len(PERCENTILES)
    columns = [LEFT + step * (i + 0.5) for i in range(len(PERCENTILES))]
    body = [_y_grid(y, _powers(y.low, y.high), _short_time)]
    body += [_x_label(px, name) for px, name in zip(columns, PERCENTILES, strict=True)]
    for number, ((name, _), row) in enumerate(zip(directions, values, strict=True)):
        points = [(px, y(max(v, y.low))) for px, v in zip(columns, row, strict=True)]
        line = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        body.append(_svg('<polyline class="line dir{}" points="{}"/>', number % 2, line))
        for (px, py), percentile, value in zip(points, PERCENTILES, row, strict=True):
            body.append(
                _marker(
                    px,
                    py,
                    bool(number % 2),
                    f"dir{number % 2}",
                    f"{name}, {percentile}: {units.microseconds(value)}",
                )
            )
        ly = 16 + 17 * number
        body.append(_marker(LEFT + 16, ly - 4, bool(number % 2), f"dir{number % 2}", name))
        body.append(_svg('<text x="{}" y="{}">{}</text>', LEFT + 28, ly, name))
    return _frame(body, "one-way delay", "Latency percentiles per direction")


def delays_by_load(loads: Sequence[tuple[float, Histogram]]) -> Markup:
    """Delay at each percentile, both logarithmic (each step has a tenth of the frames of the
    one before); a line for each load [frames/s]."""
    nines = min(NINES, max(math.ceil(math.log10(seen.samples + 1)) for _, seen in loads))
    steps = [step / 10 for step in range(10 * nines + 1)]
    lines = [
        [max(seen.percentile_us(100 - 100 * 0.1**step), 1e-3) for step in steps]
        for _, seen in loads
    ]
    y = _decades(min(map(min, lines)), max(map(max, lines)))
    x = Axis(0, nines, LEFT + 12, WIDTH - RIGHT - 36)
    body = [_y_grid(y, _powers(y.low, y.high), _short_time)]
    body += [_x_label(x(n), f"{100 - 100 * 0.1**n:.6g} %") for n in range(nines + 1)]
    for number, ((load_pps, _), line) in enumerate(zip(loads, lines, strict=True)):
        points = " ".join(f"{x(s):.1f},{y(v):.1f}" for s, v in zip(steps, line, strict=True))
        body.append(_svg('<polyline class="line dir{}" points="{}"/>', number % 2, points))
        end = (x(nines) + 4, y(line[-1]) + 4)
        body.append(_svg('<text x="{:.1f}" y="{:.1f}">{}</text>', *end, _short_rate(load_pps)))
    return _frame(body, "share of all frames", "Delays by percentile and load")


def throughput_by_frame_size(rates: Sequence[tuple[int, float | None, float]]) -> Markup:
    """NDR over frame size: (bytes, NDR or None, line rate) of each case, as bars from 0."""
    highest = max((pps for _, pps, _ in rates if pps is not None), default=0.0)
    if not highest:
        return Markup("")
    y = Axis(0, highest * 1.1, HEIGHT - BOTTOM, TOP - 20)
    step = (WIDTH - LEFT - RIGHT) / len(rates)
    body = [_y_grid(y, _linear_ticks(0, y.high), _short_rate)]
    for number, (size, pps, line_rate) in enumerate(sorted(rates, key=lambda row: row[0])):
        px, width = LEFT + step * (number + 0.5), min(step * 0.6, 64)
        label = "none" if pps is None else units.rate(pps)
        top = y(pps or 0.0)
        body.append(
            _svg(
                '<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
                "<title>{} bytes: {}, {} of line rate</title></rect>",
                *(px - width / 2, top, width, HEIGHT - BOTTOM - top),
                *(size, label, units.percent((pps or 0.0) / line_rate)),
            )
        )
        body.append(_svg('<text class="mid" x="{:.1f}" y="{:.1f}">{}</text>', px, top - 6, label))
        body.append(_x_label(px, f"{size}"))
    return _frame(body, "frame size [bytes, with FCS]", "NDR by frame size")


def curve(shown: Curve) -> Markup:
    """One quantity over another; the x that matters, if any, as a line. Empty without points."""
    points = shown.points
    if len(points) < 2:
        return Markup("")
    xs, ys = [x for x, _ in points], [y for _, y in points]
    log = min(xs) > 0 and max(xs) > 20 * min(xs)
    margin = (max(xs) - min(xs)) * 0.04 or 1.0
    x = (
        Axis(min(xs) * 0.8, max(xs) * 1.25, LEFT, WIDTH - RIGHT, log=True)
        if log
        else Axis(min(xs) - margin, max(xs) + margin, LEFT, WIDTH - RIGHT)
    )
    y = Axis(0, (max(ys) or 1.0) * 1.1, HEIGHT - BOTTOM, TOP)
    body = [_y_grid(y, _linear_ticks(0, y.high), lambda value: _short(value, shown.y_unit))]
    ticks = _powers(x.low, x.high) if log else _linear_ticks(x.low, x.high)
    if log and len(ticks) < 3:
        ticks = [m * 10.0**e for e in range(-9, 10) for m in (1, 2, 5)]
    if not shown.x_unit:  # a plain number is a count
        ticks = [value for value in ticks if value == int(value)]
    body += [_x_label(x(v), _short(v, shown.x_unit)) for v in ticks if x.low <= v <= x.high]
    if shown.marked is not None and x.low <= shown.marked <= x.high:
        body.append(
            _svg(
                '<rect class="band goal0" x="{:.1f}" y="{}" width="1.5" height="{}"/>',
                *(x(shown.marked), TOP, HEIGHT - BOTTOM - TOP),
            )
        )
    line = " ".join(f"{x(px):.1f},{y(py):.1f}" for px, py in points)
    body.append(_svg('<polyline class="line dir0" points="{}"/>', line))
    if len(points) <= MOST_DOTS:
        for px, py in points:
            text = (
                f"{shown.x_name} {units.quantity(px, shown.x_unit)}: "
                f"{units.quantity(py, shown.y_unit)}"
            )
            body.append(_marker(x(px), y(py), False, "dir0", text))
    x_title = f"{shown.x_name} [{shown.x_unit}]" if shown.x_unit else shown.x_name
    y_title = _svg('<text x="{}" y="{}">{}</text>', LEFT, TOP - 18, shown.y_name)
    return _frame([*body, y_title], x_title, shown.name)


def _short(value: float, unit: str) -> str:
    """A tick: a rate without its unit, anything else with as much of it as it takes."""
    if unit == "ratio":
        return f"{units.plain(100 * value)} %"
    if unit == "s":
        return units.plain(value, 4) if value >= 1 or not value else _short_time(1e6 * value)
    return _short_rate(value, 4)


def _loss_chart(trials: Sequence[Trial], found: Sequence[Finding], x: Axis, which: str) -> Markup:
    zero = HEIGHT - BOTTOM - 14
    losses = [t.loss_ratio for t in trials if t.loss_ratio > 0]
    floor = 10 ** math.floor(math.log10(min([*losses, 0.01])))
    y = Axis(floor, 1.0, zero - 26, TOP, log=True)
    body = [_band(f, x, number) for number, f in enumerate(found)]
    body.append(_y_grid(y, _powers(floor, 1.0), lambda ratio: f"{units.plain(100 * ratio)} %"))
    body.append(_y_grid(Axis(0, 1, zero, TOP), [0.0], lambda _: "0 %"))
    body.append(_svg('<path class="axis" d="M{0} {1}l-5 -4 10 -4 -5 -4"/>', LEFT, zero - 7))
    ticks = _powers(x.low, x.high) if x.log else _linear_ticks(x.low, x.high)
    if x.log and len(ticks) < 3:
        ticks = [m * 10.0**e for e in range(10) for m in (1, 2, 5)]
    digits = 3 if x.log else 5
    body += [_x_label(x(v), _short_rate(v, digits)) for v in ticks if x.low <= v <= x.high]
    for t in trials:
        if t.offered_pps <= 0:
            continue
        text = (
            f"trial {t.number}: {units.rate(t.offered_pps)} for {units.duration(t.duration_s)}, "
            f"{units.frames(t.lost)} lost ({units.percent(t.loss_ratio)})"
        )
        py = y(t.loss_ratio) if t.loss_ratio > 0 else zero
        kind = "lossy" if t.loss_ratio > 0 else "clean"
        body.append(_marker(x(t.offered_pps), py, t.loss_ratio > 0, kind, text))
    return _frame(body, "offered load [frames/s, all directions]", f"Loss over load: {which}")


def _band(found: Finding, x: Axis, number: int) -> Markup:
    """The interval that holds one goal's load, with its name."""
    if found.value_pps is None:
        return Markup("")
    left = x(found.value_pps)
    right = max(x(found.result.upper_pps or found.value_pps), left + 1.5)
    name = f"{found.goal.name} {units.rate(found.value_pps)}"
    leftwards = right > 0.7 * WIDTH or (number % 2 == 0 and left > 0.4 * WIDTH)
    place = (left - 5, "end") if leftwards else (right + 5, "start")
    return _svg(
        '<rect class="band goal{}" x="{:.1f}" y="{}" width="{:.1f}" height="{}"/>'
        '<text class="goal{}" x="{:.1f}" y="{}" text-anchor="{}">{}</text>',
        *(number % 2, left, 4 + 17 * number, right - left, HEIGHT - BOTTOM - 4 - 17 * number),
        *(number % 2, place[0], 15 + 17 * number, place[1], name),
    )


def _marker(px: float, py: float, diamond: bool, kind: str, text: str) -> Markup:
    """A point: its shape tells what its colour tells."""
    if diamond:
        return _svg(
            '<path class="dot {}" d="M{:.1f} {:.1f}l5.5 5.5 -5.5 5.5 -5.5 -5.5z">'
            "<title>{}</title></path>",
            *(kind, px, py - 5.5, text),
        )
    return _svg(
        '<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="4.5"><title>{}</title></circle>',
        *(kind, px, py, text),
    )


def _y_grid(y: Axis, ticks: Sequence[float], label: Callable[[float], str]) -> Markup:
    return Markup("").join(
        _svg(
            '<path class="grid" d="M{} {:.1f}H{}"/><text class="end" x="{}" y="{:.1f}">{}</text>',
            *(LEFT, y(value), WIDTH - RIGHT, LEFT - 9, y(value) + 4, label(value)),
        )
        for value in ticks
    )


def _x_label(px: float, text: str) -> Markup:
    return _svg(
        '<path class="axis" d="M{:.1f} {}v5"/><text class="mid" x="{:.1f}" y="{}">{}</text>',
        *(px, HEIGHT - BOTTOM, px, HEIGHT - BOTTOM + 19, text),
    )


def _frame(body: Sequence[Markup], x_title: str, name: str) -> Markup:
    return _svg(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}'
        '<path class="axis" d="M{} {}V{}H{}"/><text class="mid name" x="{}" y="{}">{}</text></svg>',
        *(WIDTH, HEIGHT, name, Markup("").join(body)),
        *(LEFT, TOP - 6, HEIGHT - BOTTOM, WIDTH - RIGHT),
        *((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_title),
    )


def _svg(shape: str, *values: object) -> Markup:
    """`shape` with the values put in, escaped."""
    return Markup(shape).format(*values)


def _decades(low: float, high: float) -> Axis:
    bottom, top = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return Axis(10.0**bottom, 10.0 ** max(top, bottom + 1), HEIGHT - BOTTOM, TOP, log=True)


def _powers(low: float, high: float) -> list[float]:
    """The powers of ten from `low` to `high`, thinned to at most eight."""
    exponents = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    step = math.ceil(len(exponents) / 8) or 1
    return [10.0**e for e in list(exponents)[::-1][::step]]


def _linear_ticks(low: float, high: float) -> list[float]:
    """About five round values."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
    return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _short_rate(pps: float, digits: int = 3) -> str:
    """E.g. `20k`, `1.5M`."""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if pps >= factor:
            return f"{units.plain(pps / factor, digits)}{unit}"
    return units.plain(pps, digits)


def _short_time(value_us: float) -> str:
    """E.g. `10 µs`, `1 ms`."""
    for factor, unit in ((1e6, "s"), (1e3, "ms")):
        if value_us >= factor:
            return f"{units.plain(value_us / factor)} {unit}"
    return f"{units.plain(value_us)} µs"


def _percentile(latency: Latency, name: str) -> float:
    fields = dict(
        zip(PERCENTILES, ("min_us", "p50_us", "p90_us", "p99_us", "p999_us", "max_us"), strict=True)
    )
    return float(getattr(latency, fields[name]))
