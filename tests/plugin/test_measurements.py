"""A suite that measures any topology: `pytest suites/rfc2544 --topology NAME`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vswitch.results.record import Case
from tests.plugin.conftest import Session

ALL = ("suites/rfc2544", "--quick", "--dut", "sim")
MEASUREMENTS = {
    "latency": "delay p50 at 90 % of NDR",
    "frame_loss": "loss at the highest load",
    "back_to_back": "corrected buffer time",
    "recovery": "system recovery time",
    "reset_guest_forwarder": "reset time by lost frames",
    "reset_host_switch_process": "reset time by lost frames",
    "mrr": "maximum receive rate",
    "soak": "loss",
    "scalability": "knee: 90% of the throughput",
    "scalability_cores": "knee: 90% of the throughput of each",
    "learning": "flows learned per second",
    "address_learning": "addresses learned per second",
    "overlay": "throughput in VXLAN",
    "cost": "CPU time per frame",
    "neighbour": "throughput kept beside a load",
}


def by_measurement(session: Session) -> dict[str, Case]:
    return {str(c.parameters.get("measurement", "")): c for c in session.record.cases}


def test_every_measurement_is_in_record_report_and_summary(session: Session) -> None:
    result = session(*ALL, "--topology", "p2p", "--junitxml", "junit.xml")
    assert result.ret == 0
    cases = by_measurement(session)
    assert set(cases) >= {"", *MEASUREMENTS}
    report = (session.runs[0] / "report.html").read_text()
    for name, first in MEASUREMENTS.items():
        case = cases[name]
        assert (case.suite, case.verdict, case.error) == ("p2p", "measured", "")
        measurement = case.measurements[-1]
        outcome = measurement.outcome
        assert outcome is not None
        assert outcome.figures[0].name == first
        assert outcome.figures[0].value is not None
        assert outcome.source in report
        assert measurement.trials
        numbers = [trial.number for trial in measurement.trials]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert case.template["Result"].startswith(first)
        result.stdout.fnmatch_lines([f"MEASURED*measurement={name} (simulated)", f"  {first}  *"])
    properties = (session.path / "junit.xml").read_text()
    assert "p2p:frame_bytes=64,measurement=mrr maximum receive rate frames/s" in properties


def test_figures_of_a_run_become_thresholds_that_the_next_run_meets(session: Session) -> None:
    lab = session.sim_lab(seed=7)
    some = ("suites/rfc2544", "--quick", "--dut", "mine", "-k", "receive_rate or back_to_back")
    assert session(*some).ret == 0
    assert session.vswitch("threshold", "--from-run", "latest").ret == 0
    text = lab.read_text()
    assert "pvp:frame_bytes=64,measurement=mrr:\n    mrr_pps: 9" in text
    assert "  back_to_back_frames: " in text
    assert "  buffer_us: " in text
    assert "ndr_pps" not in text  # searched only to choose a load
    result = session(*some)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["PASSED*measurement=back_to_back (simulated)", "  met: longest *"])
    lab.write_text(text.replace("mrr_pps: 9", "mrr_pps: 99"))
    result = session(*some[:-1], "receive_rate")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["  missed: maximum receive rate *"])


def test_an_unknown_topology_is_refused(session: Session) -> None:
    result = session(*ALL, "--topology", "pvq")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*--topology pvq: there are bonded_migration, container,*"])


@pytest.mark.parametrize("option", ["--soak=0", "--soak=long", "--resume=none"])
def test_wrong_options_are_refused(session: Session, option: str) -> None:
    result = session(*ALL, option)
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"*{option.split('=')[0]} *" if "soak" in option else "*no run*"])


def test_every_trial_is_on_disk_before_the_next(session: Session) -> None:
    """What a killed measurement has, the report made from its journal shows."""
    session.write(
        "conftest.py",
        session.path.joinpath("conftest.py").read_text()
        + """
from pytest_vswitch.measure.runner import TrialRunner
run, made = TrialRunner.run, []

def dies(self, *args, **more):
    if len(made) == 3:
        import os
        os._exit(9)
    made.append(run(self, *args, **more))
    return made[-1]

TrialRunner.run = dies
""",
    )
    session(*ALL, "-k", "receive_rate")
    (run,) = session.runs
    assert session.vswitch("report", run.name).ret == 0
    (case,) = session.record.cases
    assert case.id == "pvp:frame_bytes=64,measurement=mrr"
    assert case.verdict == "incomplete"
    assert [t.number for t in case.measurements[0].trials] == [1, 2, 3]
    assert case.measurements[0].outcome is None


def soak_trials(session: Session, run: Path) -> int:
    from pytest_vswitch.results import schema

    (case,) = schema.load(run / "results.json").cases
    slices = [t for t in case.measurements[-1].trials if t.intended_pps > 1e6]
    return len(slices)


def test_a_soak_takes_up_an_earlier_one(session: Session) -> None:
    session(*ALL, "-k", "soak", "--soak", "30s")
    result = session(*ALL, "-k", "soak", "--soak", "90s", "--resume", "latest")
    assert result.ret == 0
    first, second = session.runs
    assert soak_trials(session, first) == 60
    assert soak_trials(session, second) == 60 + 40
    result.stdout.fnmatch_lines(["  duration  1 min 30 s"])


def test_a_soak_of_another_lab_is_none_of_this_one(session: Session) -> None:
    session(*ALL, "-k", "soak", "--soak", "30s")
    session.sim_lab()
    words = ("suites/rfc2544", "--quick", "--dut", "mine", "-k", "soak", "--resume", "latest")
    result = session(*words)
    result.stdout.fnmatch_lines(["*that run was made in the lab sim, and this is mine*"])


def test_a_plan_knows_the_topology(session: Session) -> None:
    for chosen in ([], ["--topology", "p2p"]):
        result = session.vswitch("plan", "suites/rfc2544", "--dut", "sim", *chosen)
        assert result.ret == 0
        result.stdout.fnmatch_lines(["# lab `sim` is a simulation*"])
