from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pytest_vswitch.errors import HostError
from pytest_vswitch.measure.goals import GoalResult
from pytest_vswitch.report import charts, drawing, html
from pytest_vswitch.results import findings
from pytest_vswitch.results.record import Case, Record
from pytest_vswitch.results.verdict import check, verdict
from tests.records import FACTS, HOST, NDR, NODES, case, measurement, not_found, record, trial

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """A strict reading: every element is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def values(self, attribute: str) -> list[str]:
        return [value for _, name, value in self.attributes if name == attribute]


def judged(whole: Case, **limits: float) -> Case:
    checks = check(limits, whole.measurements, whole.line_rate_pps)
    return replace(whole, checks=checks, verdict=verdict(checks))


UNMEASURED = case(measurements=[])
SEARCHING = replace(
    case(measurements=[replace(measurement(), results=())]), verdict="incomplete", template={}
)
BARE = replace(
    UNMEASURED,
    verdict="error",
    error="host testpmd did not start",
    nodes=(),
    ports=(),
    goals=(),
    parameters={},
    template={},
    line_rate_pps=0.0,
    facts=replace(FACTS, versions={}, commands=(), remarks=()),
)
RECORDS = {
    "measured": record(),
    "passed": record(judged(case(), ndr_pps=30e3)),
    "failed": record(judged(case(), ndr_pps=50e3, latency_p99_us=10)),
    "repeated": record(case(measurements=[measurement(n) for n in (1, 2, 3)])),
    "not found": record(case(measurements=[not_found()])),
    "no latency": record(case(measurements=[measurement(latency=False)])),
    "error": record(case(measurements=[], verdict="error", error="guest died: <b>oops</b>")),
    "bare": record(BARE),
    "unfinished": record(SEARCHING, finished=False),
    "no case": replace(record(), cases=(), finished=False),
    "simulated": record(case(simulated=True), simulated=True),
    "several": record(
        judged(case(), ndr_pps=30e3), case(frame_bytes=1518), BARE, UNMEASURED, SEARCHING
    ),
}


@pytest.mark.parametrize("name", RECORDS)
def test_every_kind_of_run_is_one_well_formed_page_that_loads_nothing(name: str) -> None:
    text = html.render(RECORDS[name])
    page = Page(text)
    links = page.values("href") + page.values("src") + page.values("action")
    assert all(link.startswith("#") for link in links)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<script|<link", text)
    assert set(links) <= {f"#{anchor}" for anchor in page.values("id")}
    assert all(value in ("col", "row", "rowgroup") for value in page.values("scope"))
    assert "None" not in page.text
    assert "nan" not in text


@pytest.mark.parametrize("name", RECORDS)
def test_every_table_header_has_a_scope_and_every_picture_a_name(name: str) -> None:
    text = html.render(RECORDS[name])
    assert all("scope=" in tag for tag in re.findall(r"<th\b[^>]*>", text))
    for picture in re.findall(r"<svg\b[^>]*>", text):
        assert "aria-label=" in picture or "aria-hidden=" in picture


@pytest.mark.parametrize("name", RECORDS)
def test_pictures_are_well_formed(name: str) -> None:
    for picture in re.findall(r"<svg\b.*?</svg>", html.render(RECORDS[name]), re.DOTALL):
        ElementTree.fromstring(picture)


@pytest.mark.parametrize(
    ("name", "word", "sentence"),
    [
        ("measured", "MEASURED", "37.0 kpps"),
        ("passed", "PASSED", "above the threshold of 30.0 kpps"),
        ("failed", "FAILED", "13.0 kpps (26.0 %) below the threshold of 50.0 kpps"),
        ("repeated", "MEASURED", "median of 3 searches"),
        ("not found", "MEASURED", "No NDR found"),
        ("error", "ERROR", "guest died: <b>oops</b>"),
        ("bare", "ERROR", "host testpmd did not start"),
        ("unfinished", "INCOMPLETE", "6 trials were finished"),
        ("no case", "INCOMPLETE", "No case was begun."),
        ("simulated", "SIMULATED", "No frame of this run ever existed."),
        ("several", "ERROR", "5 cases: 1 error, 1 incomplete, 2 measured, 1 passed"),
    ],
)
def test_verdict_comes_first_as_a_word(name: str, word: str, sentence: str) -> None:
    text = Page(html.render(RECORDS[name])).text
    assert word in text.split("Results template")[0]
    assert sentence in text


def test_doubts_stand_beside_the_number() -> None:
    text = Page(html.render(record())).text
    number, template = text.index("37.0 kpps"), text.index("Results template")
    assert all(number < text.index(remark) < template for remark in FACTS.remarks)
    assert all(text.count(remark) == 2 for remark in FACTS.remarks)


def test_every_trial_is_in_the_chart_and_in_the_table() -> None:
    whole = measurement()
    text = html.render(record(case(measurements=[whole])))
    table = text[text.index("<h3>All trials") :]
    for t in whole.trials:
        assert f"<title>trial {t.number}: " in text
        assert f">{t.sent:,}</td>" in table
        assert f">{t.received:,}</td>" in table


def test_every_hop_of_the_evidence_is_shown_and_the_lossiest_marked() -> None:
    whole = case()
    text = html.render(record(whole))
    failing = whole.measurements[0].trials[4]
    assert "Counters of trial 5" in text
    for hop in (hop for path in failing.paths for hop in path):
        assert str(hop.name).replace(">", "&gt;") in text
    assert failing.lossy_hop is not None
    (marked,) = re.findall(r'<tr class="worst">\s*<th scope="row">(.*?) <strong', text)
    assert marked == failing.lossy_hop.name.replace(">", "&gt;")
    assert text.count('<rect class="worst"') == 1


def test_whatever_comes_from_a_host_is_escaped() -> None:
    evil = '<script>alert("1")</script>'
    whole = case(verdict="error", error=evil)
    hostile = replace(
        whole,
        id=evil,
        suite=evil,
        topology=evil,
        parameters={evil: evil, "frame_bytes": 64},
        ports=(evil, evil),
        traffic_generator=evil,
        nodes=tuple(replace(n, name=evil, ports=(evil, evil)) for n in NODES),
        facts=replace(
            FACTS,
            versions={evil: evil},
            remarks=(evil,),
            nic=evil,
            accelerator=evil,
            memory=evil,
            commands=((evil, (evil,)),),
        ),
        template={evil: evil},
    )
    other = replace(hostile, parameters={evil: evil, "frame_bytes": 128})
    host = replace(
        HOST,
        hostname=evil,
        cpu_model=evil,
        cpu_flags=(evil,),
        kernel_command_line=evil,
        hugepages={evil: 1},
        operating_system=evil,
    )
    run = replace(record(hostile, other), host=host, lab={"name": evil}, damage=(evil,))
    for text in (html.render(run), html.fragment(hostile)):
        assert "<script" not in text
        assert "&lt;script&gt;" in text
        Page(text)


def test_template_is_shown_as_it_is_kept() -> None:
    whole = case()
    text = html.render(record(whole))
    for name, value in whole.template.items():
        assert f"{name}: {value}".rstrip() in text


def test_frame_sizes_are_compared_in_a_chart() -> None:
    sizes = [case(frame_bytes=size) for size in (1518, 64)]
    text = html.render(record(*sizes))
    assert "NDR by frame size: pvp" in text
    assert text.count('<rect class="bar"') == 2
    assert "NDR by frame size" not in html.render(record(case()))


def test_style_serves_dark_phone_and_paper() -> None:
    text = html.render(record())
    for query in ("prefers-color-scheme: dark", "max-width: 640px", "@media print"):
        assert query in text
    assert 'name="viewport"' in text


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_the_contrast_of_wcag_aa() -> None:
    css = (Path(html.__file__).parent / "templates" / "style.css").read_text("utf-8")
    palettes: Sequence[dict[str, str]] = [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
        for block in re.findall(r"\{\s*(--ink.*?)\}", css, re.DOTALL)
    ]
    assert len(palettes) == 2
    for palette in palettes:
        for ink in ("ink", "muted", "good", "bad", "info", "warn", "dir0", "dir1"):
            for paper in ("paper", "soft"):
                pair = sorted((_luminance(palette[ink]), _luminance(palette[paper])))
                assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (ink, paper)
        for ink, paper in (("ink", "doubt"), ("warn", "doubt"), ("bad", "worst")):
            pair = sorted((_luminance(palette[ink]), _luminance(palette[paper])))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (ink, paper)


def test_fragment_is_a_part_that_stands_alone() -> None:
    text = html.fragment(judged(case(), ndr_pps=50e3))
    page = Page(text)
    assert "<html" not in text
    assert "FAILED" in page.text
    assert "Results template" in page.text
    assert html.fragment(BARE)


def test_write_is_atomic_and_names_its_file(tmp_path: Path) -> None:
    html.write(tmp_path / "report.html", record())
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(HostError, match=r"cannot write .*report\.html"):
        html.write(tmp_path / "no" / "report.html", record())


def test_charts_cope_with_little() -> None:
    assert charts.loss_over_load([], []) == ""
    assert charts.latency_percentiles([]) == ""
    assert charts.throughput_by_frame_size([(64, None, 1e6)]) == ""
    silent = replace(trial(1, 1000), directions=())
    assert charts.loss_over_load([silent], []) == ""
    one = charts.loss_over_load([trial(1, 1000)], [])
    assert one.count("<circle") == 1


def test_chart_near_the_result_needs_an_interval() -> None:
    whole = measurement()
    missing = findings.finding([not_found()], "NDR")
    assert missing is not None
    assert charts.loss_near_result(whole.trials, [missing]) == ""
    line_rate = replace(whole, results=(GoalResult(NDR, 37e3, None, "line rate"),))
    found = findings.finding([line_rate], "NDR")
    assert found is not None
    assert charts.loss_near_result(whole.trials, [found]).count("<title>") == 4


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_stack_of_boxes_is_drawn(count: int) -> None:
    nodes = NODES[:count]
    picture = drawing.topology(nodes, ("memif0", "memif1"), trial(1, 50e3))
    ElementTree.fromstring(picture)
    for node in nodes:
        assert all(f">{name}</text>" in picture for name in (node.name, *node.ports))
    assert drawing.topology(nodes, (), None)
    assert drawing.topology((), (), None) == ""


def test_hops_lie_in_the_box_that_they_are_named_after() -> None:
    owners = [drawing.owner(hop, NODES) for hop in trial(1, 1e3).paths[0]]
    assert [node.where if node else None for node in owners] == [
        "generator",
        "host",
        "guest",
        "host",
        "generator",
    ]


def test_unfinished_record_type_is_shown(tmp_path: Path) -> None:
    damaged: Record = replace(record(), damage=("journal.jsonl.damaged, line 3: ends",))
    assert "DAMAGED JOURNAL" in html.render(damaged)
