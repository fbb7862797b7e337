"""A comparison in each of its formats says the same, and nothing in it is believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from pytest_vswitch.report import comparison, comparison_json, comparison_text
from pytest_vswitch.results.compare.comparison import Comparison, compare
from pytest_vswitch.results.compare.sides import Side
from pytest_vswitch.results.statistics.pair import Options
from tests.results.compare.histories import CASES, environment, nights, steady

NEW = environment("DPDK 24.11.1")
HOSTILE = "pvp:<script>alert('1')</script>|\x1b[31m=`*"
FORMATS: tuple[Callable[[Comparison], str], ...] = (
    comparison_text.terminal,
    comparison_text.markdown,
    comparison.render,
    comparison_json.render,
)


def made(*, anyway: bool = False, case: str = CASES[0], **options: object) -> Comparison:
    """One case is 6 % worse; one is measured before only."""
    rates = {**steady(), case: 1e6}
    before = nights(rates=rates)
    changed = {name: rate * (0.94 if name == case else 1) for name, rate in rates.items()}
    changed.pop(CASES[2])
    options = {"where": NEW, **options}
    after = nights(rates=changed, first=11, seed=2, **options)  # type: ignore[arg-type]
    sides = Side("dpdk=22.11", tuple(before)), Side("dpdk=24.11", tuple(after))
    return compare(*sides, Options(), anyway=anyway)


def test_the_terminal_table() -> None:
    lines = comparison_text.terminal(made()).splitlines()
    assert lines[0].startswith("before: dpdk=22.11: 5 runs in lab bench, ")
    assert "differs: software: host dpdk: DPDK 22.11.7 → DPDK 24.11.1" in lines
    (worse,) = (line for line in lines if line.startswith("  worse"))
    assert worse.split()[1:3] == [CASES[0], "NDR"]
    assert " 5/5 " in worse
    assert "      frames are lost first in guest testpmd: virtio0 -> virtio1" in lines
    assert f"only in dpdk=22.11: {CASES[2]} NDR" in lines
    assert lines[-1].startswith("all: 1 worse")
    assert lines.index(worse) > next(n for n, line in enumerate(lines) if "differs" in line)


def test_a_verdict_alone_is_painted_and_columns_stay_aligned() -> None:
    found = made()
    plain = comparison_text.terminal(found).splitlines()
    painted = comparison_text.terminal(found, lambda text, verdict: f"«{text}»").splitlines()
    rows = [(a, b) for a, b in zip(plain, painted, strict=True) if a != b]
    assert len(rows) == len(found.rows)
    assert all(b.replace("«", "").replace("»", "") == a for a, b in rows)


def test_json_holds_every_value() -> None:
    found = made()
    whole = json.loads(comparison_json.render(found))
    assert (whole["format"], whole["version"]) == ("pytest-vswitch comparison", 1)
    rows = [row for group in whole["groups"] for row in group["rows"]]
    assert len(rows) == len(found.rows)
    worst = next(row for row in rows if row["verdict"] == "worse")
    assert (worst["case"], worst["metric"], worst["unit"]) == (CASES[0], "NDR", "frames/s")
    assert worst["low"] < worst["change"] < worst["high"] < 0
    assert len(worst["before"]["values"]) == len(worst["after"]["values"]) == 5
    assert whole["differences"][0]["after"] == "DPDK 24.11.1"
    assert whole["only_before"] == [f"{CASES[2]} NDR"]
    assert whole["tally"]["worse"] == 1


@pytest.mark.parametrize("render", FORMATS)
def test_each_format_tells_what_does_not_compare_and_what_is_simulated(
    render: Callable[[Comparison], str],
) -> None:
    other = environment(kernel="6.12")
    text = render(made(anyway=True, where=other, simulated=True))
    assert "the machines differ in kernel: 6.1.0-18-amd64 → 6.12" in text
    assert "one side is simulated, the other is real" in text
    assert "simulated" in text.lower().replace("one side is simulated", "")


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.dots = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.dots += (dict(attrs).get("class") or "").startswith("dot ")

    def handle_data(self, data: str) -> None:
        self.text += data


def page(found: Comparison) -> Page:
    parsed = Page()
    parsed.feed(comparison.render(found))
    return parsed


def test_the_page_needs_nothing_else_and_shows_every_value() -> None:
    found = made()
    parsed = page(found)
    assert not {"script", "link", "img", "iframe"} & set(parsed.tags)
    assert parsed.tags.count("svg") == len(found.rows)
    assert parsed.dots == sum(len(row.before) + len(row.after) for row in found.rows)
    assert "1 worse" in parsed.text
    assert "url(" not in comparison.render(found)


def test_nothing_in_a_name_is_believed() -> None:
    found = made(case=HOSTILE)
    assert page(found).tags.count("script") == 0
    assert "alert('1')" in page(found).text
    assert "\x1b" not in comparison_text.terminal(found)
    marked = comparison_text.markdown(found)
    assert "\x1b" not in marked
    assert "<script" not in marked
    (row,) = (line for line in marked.splitlines() if "**worse**" in line)
    assert row.replace("\\|", "").count("|") == 10
    assert json.loads(comparison_json.render(found))["tally"]["worse"] == 1


def test_a_value_at_the_end_of_the_line_is_hollow() -> None:
    hollow = '<circle class="dot after censored"'
    assert comparison.render(made(censored=True)).count(hollow) == 10
    assert hollow not in comparison.render(made())
