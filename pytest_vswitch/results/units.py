"""Numbers for readers, the same way in the terminal, the messages and the report."""

from __future__ import annotations

import math
from decimal import Decimal

UNKNOWN = "n/a"


def significant(value: float, digits: int = 3) -> str:
    """`value` with so many significant digits and no exponent, e.g. `37.2`, `0.00123`."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    rounded = Decimal(f"{value:.{digits - 1}e}")
    return f"{rounded:f}"


def plain(value: float, digits: int = 6) -> str:
    """`value` as short as it can be said, e.g. `0.1`, `14.88`; at most so many digits."""
    text = significant(value, digits)
    return text.rstrip("0").rstrip(".") if "." in text else text


def rate(pps: float | None, digits: int = 3) -> str:
    """A rate in frames per second, e.g. `37.2 kpps`, `1.49 Mpps`; `n/a` for None."""
    if pps is None:
        return UNKNOWN
    for limit, factor, unit in (
        (999.5, 1.0, "pps"),
        (999.5e3, 1e3, "kpps"),
        (999.5e6, 1e6, "Mpps"),
    ):
        if abs(pps) < limit:
            return f"{significant(pps / factor, digits)} {unit}"
    return f"{significant(pps / 1e9, digits)} Gpps"


def rate_span(low_pps: float, high_pps: float, word: str = "to") -> str:
    """Two rates that must not look alike, e.g. `37.2 to 37.9 kpps`."""
    low, high = rates_apart(low_pps, high_pps)
    if low.split()[1] == high.split()[1]:
        low = low.split()[0]
    return f"{low} {word} {high}"


def rates_apart(first_pps: float, second_pps: float) -> tuple[str, str]:
    """Both rates, with as many digits as it takes to tell one from the other."""
    for digits in range(3, 10):
        texts = rate(first_pps, digits), rate(second_pps, digits)
        if texts[0] != texts[1]:
            return texts
    return rate(first_pps), rate(second_pps)


def frames(count: int) -> str:
    """A count of frames, exact, e.g. `1,234,567`."""
    return f"{count:,}"


def percent(ratio: float | None) -> str:
    """A ratio (0 to 1) as a percentage, e.g. `0 %`, `0.0123 %`, `98.7 %`; `n/a` for None.

    A value just off 0 % or 100 % is never rounded onto it.
    """
    if ratio is None:
        return UNKNOWN
    value = 100 * ratio
    digits = 3
    while digits < 9 and 99 < value < 100 and float(significant(value, digits)) == 100:
        digits += 1
    return f"{significant(value, digits)} %" if value not in (0, 100) else f"{value:.0f} %"


def microseconds(value_us: float | None) -> str:
    """A delay, e.g. `12.3 µs`, `1.20 ms`, `2.50 s`; `n/a` for None."""
    if value_us is None:
        return UNKNOWN
    for limit, factor, unit in ((999.5, 1.0, "µs"), (999.5e3, 1e3, "ms")):
        if value_us < limit:
            return f"{significant(value_us / factor)} {unit}"
    return f"{significant(value_us / 1e6)} s"


def duration(seconds: float) -> str:
    """A time span, e.g. `0.5 s`, `2 min 5 s`, `1 h 3 min`."""
    if seconds < 60:
        return f"{float(significant(seconds)):g} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def memory(kilobytes: int) -> str:
    """An amount of memory, e.g. `15.6 GiB`."""
    return f"{significant(kilobytes / 2**20)} GiB"


def quantity(value: float | None, unit: str) -> str:
    """A figure of a measurement in its unit (`measure.outcome.Figure`); `n/a` for None."""
    if value is None:
        return UNKNOWN
    match unit:
        case "ratio":
            return percent(value)
        case "frames/s":
            return rate(value)
        case "kB":
            return memory(round(value))
        case "s" if abs(value) >= 60:
            return duration(value)
        case "s" if 0 < abs(value) < 0.9995e-6:
            return f"{significant(1e9 * value)} ns"
        case "s":
            return microseconds(1e6 * value) if value else "0 s"
    number = f"{value:,.0f}" if abs(value) >= 1000 else plain(value, 4)
    return f"{number} {unit}".rstrip()


def bounds(low: float | None, high: float | None, unit: str) -> str:
    """Between what a figure's true value lies; empty when nothing is stated."""
    if low is None:
        return "" if high is None else f"at most {quantity(high, unit)}"
    if high is None:
        return f"at least {quantity(low, unit)}"
    return f"{quantity(low, unit)} to {quantity(high, unit)}"
