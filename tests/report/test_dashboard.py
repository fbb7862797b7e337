"""The dashboard and the tables of `vswitch trend`."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch.report import dashboard, trend_text
from pytest_vswitch.results.sample import Sample
from pytest_vswitch.results.trend.series import series
from pytest_vswitch.results.trend.trends import Event, Trend, events, trend
from tests.results.trend.histories import environment, sample, step

HOSTILE = "pvp:name=</script><script>alert(1)</script><!--\u2028&\"'"


class Page(HTMLParser):
    """What a browser makes of a page: elements and the data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data

    @property
    def data(self) -> Any:
        return json.loads(self.scripts[0])


def told(samples: list[Sample]) -> tuple[list[Trend], list[Event]]:
    found = [trend(one) for one in series(samples)]
    return found, events(found)


def page(samples: list[Sample], reports: Path | None = None, beside: Path = Path()) -> Page:
    return Page(dashboard.render(*told(samples), reports=reports, beside=beside))


def test_the_data_of_a_series_has_its_nights_changes_and_versions() -> None:
    [one] = page(step()).data["series"]
    assert (one["name"], one["metric"], one["state"]) == ("pvp:frame_bytes=64", "NDR", "worse")
    assert len(one["values"]) == len(one["runs"]) == 50
    [change] = one["changes"]
    assert (change["began"], change["worse"]) == (30, True)
    assert change["ratio"] == pytest.approx(-0.1)
    assert one["environments"] == [[30, 0]]
    assert page(step()).data["texts"] == ["host dpdk: 24.11 → 25.03"]


def test_runs_are_told_once_and_their_nights_with_them() -> None:
    shown = page([sample(0, 1.0), sample(0.1, 2.0), sample(1, 3.0, censored=True)]).data
    assert [run for run, _, _ in shown["runs"]] == ["run-0", "run-1"]
    [one] = shown["series"]
    assert (one["runs"], one["several"], one["censored"]) == ([0, 1], {"0": 2}, [1])


def test_a_run_is_linked_when_its_report_is_there(tmp_path: Path) -> None:
    report = tmp_path / "reports" / "run-0" / "report.html"
    report.parent.mkdir(parents=True)
    report.write_text("")
    beside = tmp_path / "public" / "trend"
    samples = [sample(0, 1.0), sample(1, 1.0), sample(2, 1.0, run="../reports/run-0")]
    shown = page(samples, reports=tmp_path / "reports", beside=beside).data
    assert [link for _, _, link in shown["runs"]] == [
        "../../reports/run-0/report.html",
        None,
        None,
    ]


def test_names_cannot_become_markup() -> None:
    hostile = environment("<img src=x onerror=alert(1)>")
    samples = [*step(case=HOSTILE)]
    samples.append(sample(60, 1.0, case=HOSTILE, lab="<b>lab</b>", on=hostile))
    text = dashboard.render(*told(samples))
    found = Page(text)
    assert {one["name"] for one in found.data["series"]} == {HOSTILE}
    assert len(found.scripts) == 2
    assert not [tag for tag, _ in found.tags if tag == "img"]
    assert "<b>lab" not in text
    assert "alert" not in found.scripts[1]


def test_the_page_asks_no_one_for_anything() -> None:
    text = dashboard.render(*told(step()))
    found = Page(text)
    assert not [tag for tag, _ in found.tags if tag in ("link", "img", "iframe")]
    assert not [given for tag, given in found.tags if tag == "script" and "src" in given]
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest", text)
    links = [given["href"] or "" for tag, given in found.tags if tag == "a" and "href" in given]
    assert links
    assert all(link.startswith("#") for link in links)


def test_an_event_lists_its_cases_with_links_to_their_charts() -> None:
    found = page([*step(case="pvp:a"), *step(case="pvp:b", size=0.2)])
    assert "▼ 1 worse" in found.text
    assert "▲ 1 better" in found.text
    assert "host dpdk: 24.11 → 25.03" in found.text
    linked = {given.get("href") for tag, given in found.tags if tag == "a"}
    assert {f"#{one['key']}" for one in found.data["series"]} <= linked


def test_an_empty_history_is_a_page_too() -> None:
    found = page([])
    assert found.data == {"runs": [], "texts": [], "series": []}
    assert "Nothing changed" in found.text


def test_simulated_runs_are_told_to_be() -> None:
    assert "SIMULATED" in page([sample(0, 1.0, simulated=True)]).text
    assert "SIMULATED" not in page([sample(0, 1.0)]).text


def test_the_terminal_shows_the_newest_change_first() -> None:
    samples = [*step(case="p2p:", at=20), *step(case="pvp:a"), *step(case="pvp:b", size=0.2)]
    lines = trend_text.terminal(*told(samples)).splitlines()
    assert lines[0] == (
        "2025-12-31  bench-7: 1 series worse, 1 series better: host dpdk: 24.11 → 25.03"
    )
    assert lines[1].split() == [
        *("worse", "-10.0", "%", "pvp:a", "NDR", "1.00", "Mpps", "→", "900", "kpps"),
        *("run", "run-30"),
    ]
    assert lines[4].startswith("2025-12-21")
    assert lines[-1] == "3 changes in 2 events; 3 series of 3 cases, up to 50 nights"


def test_the_terminal_gets_no_control_characters() -> None:
    assert "\x1b" not in trend_text.terminal(*told(step(case="pvp:\x1b[2J")))


def test_json_and_csv_tell_the_same_changes() -> None:
    found = told(step())
    whole = json.loads(trend_text.as_json(*found))
    [change] = whole["events"][0]["changes"]
    [line] = csv.DictReader(io.StringIO(trend_text.as_csv(found[1])))
    for name in ("began", "found", "case", "metric", "verdict", "first_run"):
        assert line[name] == change[name]
    assert (line["began"], line["first_run"]) == ("2025-12-31T02:00:00Z", "run-30")
    assert float(line["change"]) == pytest.approx(-0.1)
    assert line["differences"] == "host dpdk: 24.11 → 25.03"
    assert [one["state"] for one in whole["series"]] == ["worse"]
    assert trend_text.as_csv([]).count("\n") == 1
