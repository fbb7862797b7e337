"""Measurements that are no search, in record, report and summary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pytest_vswitch.measure.outcome import Curve, Figure, Outcome
from pytest_vswitch.report import charts, html
from pytest_vswitch.report.summary import render
from pytest_vswitch.results import schema, units
from pytest_vswitch.results.record import Case, Measurement
from pytest_vswitch.results.template import render as template
from tests.records import HOST, case, record, trial

OUTCOME = Outcome(
    source="RFC 9004",
    procedure={"pause after a trial": "5 s", "<b>": "&"},
    figures=(
        Figure("corrected buffer time", 34.7e-6, "s", 33.6e-6, 35.5e-6),
        Figure("longest burst", 1530, "frames", 1500, None),
        Figure("never found", None, "flows"),
    ),
    curves=(
        Curve(
            "Loss over load",
            *("load", "frames/s", "loss", "ratio"),
            ((1e3, 0.0), (1e4, 0.1), (1e5, 0.9)),
            1e4,
        ),
    ),
    doubts=("the generator was slow",),
)


def measured(outcome: Outcome = OUTCOME) -> Case:
    trials = (trial(1, 9e3), trial(2, 5e4))
    measurement = Measurement(1, "back-to-back", (), trials, 12.0, None, outcome)
    whole = case(measurements=[measurement])
    return replace(whole, template=template(whole, HOST))


def test_figures_with_intervals_and_doubts_in_the_summary() -> None:
    text = render(record(measured()))
    assert "  corrected buffer time  34.7 µs  (33.6 µs to 35.5 µs)\n" in text
    assert "  longest burst  1,530 frames  (at least 1,500 frames)\n" in text
    assert "  never found  n/a\n" in text
    assert "  doubtful: the generator was slow\n" in text
    assert "no search ended" not in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_the_template_reports_the_first_figure() -> None:
    lines = measured().template
    assert lines["Result"].startswith("corrected buffer time 34.7 µs")
    assert lines["Validation run time"] == "0.0333min"


def test_the_report_shows_figures_curve_source_and_procedure() -> None:
    text = html.render(record(measured(), case()))
    assert "34.7 µs" in text
    assert "33.6 µs to 35.5 µs" in text
    assert "at least 1,500 frames" in text
    assert "RFC 9004. pause after a trial: 5 s; &lt;b&gt;: &amp;." in text
    assert 'aria-label="Loss over load"' in text
    assert "the generator was slow" in text


def test_an_outcome_is_read_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    schema.dump(record(measured()), path)
    assert schema.load(path) == record(measured())


@pytest.mark.parametrize(
    "points",
    [
        ((0.0, 0.0), (1.0, 0.0)),
        ((0.0, 5.0), (60.0, 7.0), (120.0, 6.0)),
        ((1.0, 1e6), (1e6, 1e3)),
        ((3.0, 0.5), (3.0, 0.7)),
        ((1e-9, 1e-9), (1.0, 1e12)),
    ],
)
@pytest.mark.parametrize("unit", ["ratio", "s", "frames/s", "frames", ""])
def test_any_curve_is_drawn_within_its_frame(
    points: tuple[tuple[float, float], ...], unit: str
) -> None:
    drawn = charts.curve(Curve("c", "x", unit, "y", unit, points, points[0][0]))
    root = ElementTree.fromstring(str(drawn))
    (line,) = root.findall("polyline")
    for pair in line.attrib["points"].split():
        x, y = (float(value) for value in pair.split(","))
        assert 0 <= x <= charts.WIDTH
        assert 0 <= y <= charts.HEIGHT


def test_a_single_point_is_no_curve() -> None:
    assert charts.curve(Curve("c", "x", "", "y", "", ((1.0, 1.0),))) == ""


def test_a_curve_of_many_points_is_a_line_only() -> None:
    points = tuple((float(n), float(n % 7)) for n in range(500))
    assert "<circle" not in charts.curve(Curve("c", "x", "", "y", "", points))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "s", "n/a"),
        (0.0, "s", "0 s"),
        (1e-7, "s", "100 ns"),
        (0.0123, "s", "12.3 ms"),
        (7200, "s", "2 h 0 min"),
        (0.5, "ratio", "50.0 %"),
        (37_216, "frames/s", "37.2 kpps"),
        (1530.4, "frames", "1,530 frames"),
        (2.5, "frames", "2.5 frames"),
        (3, "", "3"),
        (2**20, "kB", "1.00 GiB"),
    ],
)
def test_quantities(value: float | None, unit: str, text: str) -> None:
    assert units.quantity(value, unit) == text


def test_bounds() -> None:
    assert units.bounds(None, None, "s") == ""
    assert units.bounds(None, 1.0, "s") == "at most 1.00 s"
    assert units.bounds(1.0, None, "s") == "at least 1.00 s"
    assert units.bounds(1.0, 2.0, "s") == "1.00 s to 2.00 s"
