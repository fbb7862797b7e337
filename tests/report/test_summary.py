from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_vswitch.report.summary import overall, render
from pytest_vswitch.results.record import Record, Verdict
from pytest_vswitch.results.run_directory import RunDirectory
from pytest_vswitch.results.verdict import check, verdict
from tests.records import FACTS, case, measurement, not_found, record


def test_the_certificate_of_one_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    directory = RunDirectory(Path("reports/1"))
    directory.path.mkdir(parents=True)
    directory.report.touch()
    directory.results.touch()
    whole = case()
    checks = check({"ndr_pps": 50e3}, whole.measurements, whole.line_rate_pps)
    run = record(replace(whole, checks=checks, verdict=verdict(checks)))
    assert render(run, directory) == (
        """\
run 20261121-024500-1234, lab local, host bench-7

FAILED  pvp:frame_bytes=64
  NDR               37.0 kpps  0.124 % of line rate; between 37.0 and 37.3 kpps
  PDR (0.5 % loss)  37.3 kpps  0.125 % of line rate; between 37.3 and 37.7 kpps
  missed: NDR 37.0 kpps: 13.0 kpps (26.0 %) below the threshold of 50.0 kpps;
  frames were lost first in guest testpmd: virtio0 -> virtio1 (37 of 112 lost
  frames at 37.3 kpps)
  limited by  guest testpmd: virtio0 -> virtio1 (37 of 112 lost frames at 37.3
              kpps)
  not representative:
    - 3 polling lcores share 2 cores: they take turns, so rates are far below
      those of a lab.
    - QEMU runs without KVM (TCG): the guest's code is translated, about ten
      times slower.
    - No hugepages: memory is in 4 kB pages.

report   reports/1/report.html
results  reports/1/results.json
"""
    )


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        (record(case(simulated=True), simulated=True), "SIMULATED: no frame"),
        (record(case(simulated=True)), "MEASURED  pvp:frame_bytes=64 (simulated)"),
        (record(case(measurements=[], verdict="incomplete"), finished=False), "0 trials are kept"),
        (record(case(measurements=[not_found()])), "NDR  not found in 1 of 1 searches"),
        (record(case(measurements=[], verdict="error", error="no room\nin /tmp")), "  no room\n"),
        (replace(record(), cases=()), "nothing was measured"),
        (replace(record(), damage=("line 3: ends",)), "DAMAGED JOURNAL: line 3: ends"),
        (record(case(measurements=[measurement(n) for n in (1, 2)])), "median of 2 searches"),
    ],
)
def test_other_runs_in_eighty_columns(run: Record, sentence: str) -> None:
    text = render(run)
    assert sentence in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_shared_remarks_are_told_once() -> None:
    run = record(case(), case(frame_bytes=1518))
    assert render(run).count("QEMU runs without KVM") == 1
    lab = case(frame_bytes=1518, facts=replace(FACTS, remarks=()))
    assert render(record(case(), lab)).count("QEMU runs without KVM") == 1
    assert "not representative" not in render(record(lab, lab))


def test_output_of_a_host_cannot_steer_the_terminal() -> None:
    text = render(record(case(verdict="error", error="\x1b[2Jboo\x07")))
    assert "�[2Jboo�" in text


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["passed", "measured"], "passed"),
        (["measured"], "measured"),
        (["passed", "failed"], "failed"),
        (["failed", "error"], "error"),
        (["passed", "incomplete"], "incomplete"),
    ],
)
def test_overall_verdict_is_the_worst(verdicts: list[Verdict], expected: Verdict) -> None:
    assert overall(record(*(case(verdict=v) for v in verdicts))) == expected
    assert overall(replace(record(), finished=False)) == "incomplete"
    assert overall(replace(record(), cases=())) == "incomplete"


def test_reading_the_schema_imports_no_library() -> None:
    code = (
        "import sys; import pytest_vswitch.results.record, pytest_vswitch.results.verdict, "
        "pytest_vswitch.results.template, pytest_vswitch.results.environment; "
        "sys.exit(bool({'pydantic', 'jinja2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_files_that_could_not_be_written_are_not_named(tmp_path: Path) -> None:
    assert "report.html" not in render(record(case()), RunDirectory(tmp_path))
