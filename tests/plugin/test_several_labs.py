"""`--dut lab1 --dut lab2`: each lab in a worker of its own, and one report of them all."""

from __future__ import annotations

import pytest

from pytest_vswitch.results import schema
from tests.plugin.conftest import SUITE, Session


def lab(session: Session, name: str, *, thresholds: str = "") -> None:
    session.write(
        f"labs/{name}.yaml",
        "dut: {host: sim}\nports: [{kind: sim}, {kind: sim}]\n"
        + (f"thresholds: {thresholds}\n" if thresholds else ""),
    )


def test_each_lab_has_a_run_and_all_have_a_report(session: Session) -> None:
    lab(session, "good")
    lab(session, "bad", thresholds="{pvp:frame_bytes=64: {ndr_pps: 99_000_000}}")
    result = session(*SUITE, "--dut", "good", "--dut", "bad")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["*all labs*report.html"])

    runs = {path.name.partition("-good")[0].partition("-bad")[0] for path in session.runs}
    assert len(runs) == 1  # one session
    together, bad, good = session.runs
    assert schema.load(good / "results.json").cases[0].verdict == "measured"
    assert schema.load(bad / "results.json").cases[0].verdict == "failed"
    page = (together / "report.html").read_text()
    assert 'id="lab-1"' in page
    assert 'id="lab-2"' in page
    assert (session.path / "reports/latest/report.html").read_text() == page


def test_a_lab_is_certified_once(session: Session) -> None:
    lab(session, "one")
    result = session(*SUITE, "--dut", "one", "--dut", "./labs/one.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--dut names lab `one` twice*"])
    session.assert_untouched()


def test_xdist_is_needed(session: Session) -> None:
    lab(session, "one")
    lab(session, "two")
    result = session(*SUITE, "--dut", "one", "--dut", "two", "-p", "no:xdist")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*several labs at once need pytest-xdist*"])
