"""Pytest's own options, and its best-known plugins, work with `--dut` as without it."""

from __future__ import annotations

import html
import json
import re
from xml.etree import ElementTree

import pytest

from tests.plugin.conftest import SUITE, Session

SIM = (*SUITE, "--dut", "sim")
CASE = "pvp:frame_bytes=64"
CERTIFICATE = ["*= certificate =*", f"MEASURED  {CASE} (simulated)", "results  */results.json"]


def test_help_shows_every_option(session: Session) -> None:
    result = session("--help")
    group = str(result.stdout).partition("certification of DPDK data planes")[2].split("\n\n")[0]
    assert re.findall(r"^  (--[a-z-]+)", group, re.MULTILINE) == [
        "--dut",
        "--vswitch",
        "--hypervisor",
        "--nic",
        "--dpdk",
        "--guest-dpdk",
        "--qemu",
        "--quick",
        "--frame-size",
        "--imix",
        "--flows",
        "--macs",
        "--vlan",
        "--mpls",
        "--vxlan",
        "--burst",
        "--pcap",
        "--loss-ratio",
        "--trial-duration",
        "--precision",
        "--search",
        "--history",
        "--repeat",
        "--baseline",
        "--baseline-drop",
        "--topology",
        "--soak",
        "--resume",
        "--tune",
        "--wait",
        "--reports",
        "--store",
    ]


def test_fixtures_are_shown_with_what_they_are_for(session: Session) -> None:
    result = session("--fixtures", "--dut", "sim", "-k", "nothing")
    shown = str(result.stdout)
    for name in ("lab", "pvp", "measure", "threshold", "frame_bytes"):
        assert re.search(rf"^{name}( \[.*\])? -- .*\n    [A-Z].*\.", shown, re.MULTILINE), name


@pytest.mark.parametrize("option", ["-q -x", "-v", "-s", "-p no:xdist -p no:html"])
def test_option(session: Session, option: str) -> None:
    result = session(*SIM, *option.split())
    assert result.ret == 0
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(CERTIFICATE)
    assert result.errlines == []
    assert [case.verdict for case in session.record.cases] == ["measured"]


def test_without_a_terminal(session: Session) -> None:
    result = session(*SIM, "-p", "no:terminal")
    assert result.ret == 0
    assert not "".join(result.outlines + result.errlines).strip()
    assert session.record.finished


def test_quiet_means_no_progress(session: Session) -> None:
    result = session(*SIM, "-q")
    result.stdout.no_fnmatch_line("*trial*")
    assert result.outlines[0].startswith("..  ")


def test_one_of_the_tests(session: Session) -> None:
    result = session(*SIM, "-k", "return")
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines(["nothing was measured"])
    assert session.record.cases == ()


def test_collecting_starts_nothing(session: Session) -> None:
    result = session(*SIM, "--collect-only", "-q", "--frame-size", "64,512", "--frame-size=64")
    assert [line for line in result.outlines if "::" in line] == [
        "test_pvp.py::test_frames_return_exactly[64B]",
        "test_pvp.py::test_frames_return_exactly[512B]",
        "test_pvp.py::test_throughput[64B]",
        "test_pvp.py::test_throughput[512B]",
    ]
    session.assert_untouched()


def test_collecting_needs_nothing_of_the_machine(session: Session) -> None:
    session.write(
        "labs/mine.yaml",
        "dut: {host: local, testpmd: /nonexistent}\nports: [{kind: memif}, {kind: memif}]\n",
    )
    assert session(*SUITE, "--dut", "mine", "--collect-only").ret == 0
    session.assert_untouched()


def test_exit_first_and_last_failed(session: Session) -> None:
    """After `-x` the run is incomplete; `--lf` begins with what failed."""
    session.sim_lab(thresholds=f"{{'{CASE}': {{ndr_pps: 10e6}}}}")
    first = session(*SUITE, "--dut", "mine", "--frame-size=64,128", "-x")
    first.assert_outcomes(passed=2, failed=1)
    assert not session.record.finished
    assert [case.id for case in session.record.cases] == [CASE]

    again = session(*SUITE, "--dut", "mine", "--frame-size=64,128", "--lf")
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(["*rerun previous 1 failure*"])


@pytest.mark.parametrize("dist", ["load", "each"])
def test_xdist_uses_one_worker_for_the_dut(session: Session, dist: str) -> None:
    """One run, certified by one worker, told by the controller."""
    session.write(
        "conftest.py",
        "import os, pathlib, pytest\n"
        "@pytest.fixture(autouse=True)\n"
        "def who():\n"
        "    pathlib.Path(os.environ['PYTEST_XDIST_WORKER']).touch()\n",
    )
    session.write("test_mine.py", "def test_mine(pvp):\n    pass\n")
    result = session(*SIM, "test_mine.py", "-n", "2", "--dist", dist, "--frame-size", "64,128")
    assert result.ret == 0
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(CERTIFICATE)
    assert str(result.stdout).count("= certificate =") == 1
    assert len(list(session.path.glob("gw*"))) == 1
    assert session.record.finished
    assert len(session.record.cases) == 2
    assert (session.runs[0] / "report.html").is_file()


def test_xdist_tells_a_missed_threshold(session: Session) -> None:
    session.sim_lab(thresholds=f"{{'{CASE}': {{ndr_pps: 10e6}}}}")
    result = session(*SUITE, "--dut", "mine", "-n", "2")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["NDR 9.18 Mpps: 815 kpps * below *", f"FAILED  {CASE} *"])


@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
def test_junit_has_the_rates(session: Session, workers: list[str]) -> None:
    session(*SIM, "--junitxml=x.xml", *workers)
    suites = ElementTree.parse(session.path / "x.xml")
    rates = {
        entry.attrib["name"]: int(entry.attrib["value"])
        for entry in suites.iterfind(".//testcase[@name='test_throughput[64B]']//property")
    }
    assert list(rates) == [f"{CASE} ndr_pps", f"{CASE} pdr_pps"]
    (case,) = session.record.cases
    lowest = [result.lower_pps for result in case.measurements[0].results]
    assert list(rates.values()) == [round(pps) for pps in lowest if pps]


@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
def test_pytest_html_has_the_case(session: Session, workers: list[str]) -> None:
    session(*SIM, "--html=x.html", "--self-contained-html", *workers)
    page = (session.path / "x.html").read_text()
    (blob,) = re.findall(r'data-jsonblob="([^"]*)"', page)
    tests = json.loads(html.unescape(blob))["tests"]
    extras = {name: entries[0]["extras"] for name, entries in tests.items()}
    (fragment,) = (extra["content"] for extra in extras["test_pvp.py::test_throughput[64B]"])
    assert extras["test_pvp.py::test_frames_return_exactly[64B]"] == []
    for words in ("MEASURED", CASE, "9.18 Mpps", "<svg", "Simulated:", "Results template"):
        assert words in fragment
    assert "<script" not in fragment
