"""`--baseline`: a session against earlier ones, and `vswitch compare` of what they left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_vswitch.results import schema
from pytest_vswitch.results.record import Case
from tests.plugin.conftest import SUITE, Session

THROUGHPUT = (*SUITE, "-k", "throughput", "--dut", "mine")
CASE = "pvp:frame_bytes=64"


def lab(session: Session, capacity_pps: float) -> None:
    session.write(
        "labs/mine.yaml",
        "dut: {host: sim}\nports: [{kind: sim}, {kind: sim}]\n"
        f"sim: {{seed: 1, capacity_pps: {capacity_pps}}}\n",
    )


def measured(session: Session, *options: str) -> tuple[pytest.RunResult, Path]:
    """A new session, and the directory of its run."""
    before = set(session.runs)
    result = session(*THROUGHPUT, *options)
    (run,) = {run for run in set(session.runs) - before if run.is_dir()}
    return result, run


def cases(run: Path) -> tuple[Case, ...]:
    return schema.load(run / "results.json").cases


def test_a_slower_dut_fails_and_compares_as_worse(session: Session) -> None:
    """All of it at once: a session, then two with a DUT that is 10 % slower."""
    lab(session, 1e7)
    _, first = measured(session, "--repeat", "3")

    lab(session, 0.9e7)
    worse, slower = measured(session, "--repeat", "3", "--baseline", "latest")
    assert worse.ret == pytest.ExitCode.TESTS_FAILED
    worse.stdout.fnmatch_lines(
        [
            f"NDR 8.29 Mpps: worse than the baseline latest, 9.18 Mpps (run {first.name}), "
            "change -9.7* % (*",
            f"FAILED  {CASE} (simulated)",
            "  missed: NDR 8.29 Mpps: worse than the baseline *",
        ]
    )
    (failed,) = cases(slower)
    assert failed.verdict == "failed"
    ndr = next(check for check in failed.baseline if check.metric == "NDR")
    assert (ndr.verdict, ndr.met, ndr.runs) == ("worse", False, (first.name,))
    assert "guest forwarder: virtio0 -> virtio1" in ndr.message
    assert ndr.low is not None
    assert ndr.high is not None
    assert ndr.low < -0.09 < ndr.high
    assert "missed</strong> NDR 8.29 Mpps: worse than" in (slower / "report.html").read_text()

    allowed = ("--baseline", first.name, "--baseline-drop", "30 %", "--frame-size", "64,128")
    result, run = measured(session, *allowed)
    assert result.ret == 0
    known, lacking = cases(run)
    assert {check.met for check in known.baseline} == {True}
    (told,) = lacking.baseline
    assert (told.verdict, told.met, told.runs) == ("can't tell", True, ())
    assert lacking.verdict == "measured"
    assert told.message == f"the baseline {first.name} has no case pvp:frame_bytes=128"
    assert "  baseline: the baseline " in str(result.stdout)

    compared = session.vswitch(
        "compare", first.name, slower.name, "--html", "c.html", "--json", "-"
    )
    assert compared.ret == 1
    assert set(json.loads(str(compared.stdout))["tally"]) == {"worse"}
    assert "SIMULATED" in (session.path / "c.html").read_text()
    back = session.vswitch("compare", slower.name, first.name, "--metric", "NDR")
    assert back.ret == 0
    back.stdout.fnmatch_lines(["pvp: 1 better"])


def test_a_baseline_that_is_not_there(session: Session) -> None:
    lab(session, 1e7)
    result = session(*THROUGHPUT, "--baseline", "22.11")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*--baseline 22.11: *no run is kept*"])
    session.assert_untouched()


@pytest.mark.parametrize("drop", ["x", "100%"])
def test_a_drop_that_is_none(session: Session, drop: str) -> None:
    lab(session, 1e7)
    result = session(*THROUGHPUT, "--baseline", "latest", f"--baseline-drop={drop}")
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"*--baseline-drop {drop}: give a percentage below 100*"])
    session.assert_untouched()
