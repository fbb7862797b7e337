from __future__ import annotations

import pytest

from pytest_vswitch.results import units


@pytest.mark.parametrize(
    ("pps", "text"),
    [
        (None, "n/a"),
        (0, "0 pps"),
        (999.4, "999 pps"),
        (999.6, "1.00 kpps"),
        (37_216, "37.2 kpps"),
        (1_488_095, "1.49 Mpps"),
        (148.8e6, "149 Mpps"),
        (2.5e9, "2.50 Gpps"),
    ],
)
def test_rates_have_three_digits_and_a_unit(pps: float | None, text: str) -> None:
    assert units.rate(pps) == text


def test_different_rates_never_look_alike() -> None:
    assert units.rates_apart(49_999, 50_000) == ("49.999 kpps", "50.000 kpps")
    assert units.rates_apart(5, 5) == ("5.00 pps", "5.00 pps")
    assert units.rate_span(37_216, 37_900) == "37.2 to 37.9 kpps"
    assert units.rate_span(999, 1_001) == "999 pps to 1.00 kpps"


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (None, "n/a"),
        (0, "0 %"),
        (1e-7, "0.0000100 %"),
        (0.256, "25.6 %"),
        (1, "100 %"),
        (0.999999, "99.9999 %"),
    ],
)
def test_percentages_never_round_onto_their_ends(ratio: float | None, text: str) -> None:
    assert units.percent(ratio) == text


def test_other_quantities() -> None:
    assert units.frames(1234567) == "1,234,567"
    assert [units.microseconds(t) for t in (None, 12.34, 1200, 2.5e6)] == [
        "n/a",
        "12.3 µs",
        "1.20 ms",
        "2.50 s",
    ]
    assert [units.duration(s) for s in (0.5, 59.99, 120, 125, 3780)] == [
        "0.5 s",
        "60 s",
        "2 min",
        "2 min 5 s",
        "1 h 3 min",
    ]
    assert units.memory(16_318_464) == "15.6 GiB"
    assert [units.plain(v) for v in (0.1, 14.88, 3.0, 1e-5, 100)] == [
        "0.1",
        "14.88",
        "3",
        "0.00001",
        "100",
    ]
