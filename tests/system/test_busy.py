"""A DUT serves one run at a time."""

from __future__ import annotations

from pytest_vswitch.hosts.open_host import whoami
from tests.system.conftest import Certified, Start
from tests.system.machine import Machine
from tests.system.session import SHORT


def test_a_second_run_is_told_who_has_the_dut(certified: Certified) -> None:
    """Steps: begin a second run while one measures.

    Verify: one message with the owner, exit status 4, no run; the first goes on and passes.
    """
    first, second = certified.session, certified.intruder
    assert certified.intruder_status == 4
    assert second.output.count("is in use by run") == 1
    assert f"is in use by run {first.run} of {whoami()} (pid {first.process.pid} there, since" in (
        second.output
    )
    assert "Traceback" not in second.output
    assert not second.reports.exists()
    assert certified.status == 0, first.output
    assert first.record["finished"]


def test_of_two_runs_that_begin_at_once_one_gets_the_dut(start: Start, machine: Machine) -> None:
    """Steps: begin two runs at the same moment.

    Verify: one passes; the other says who has the DUT, with exit status 4.
    """
    one_test = "suites/pvp/test_pvp.py::test_frames_return_exactly"
    sessions = [start(name, *SHORT, suite=one_test) for name in ("one", "other")]
    for session in sessions:
        session.end()
    outputs = "\n".join(session.output for session in sessions)
    winner, loser = sorted(sessions, key=lambda session: session.end())
    assert (winner.end(), loser.end()) == (0, 4), outputs
    assert loser.output.count("in use by run") == 1, outputs
    assert f"run {winner.run} of {whoami()} (pid {winner.process.pid} there, since" in loser.output
    for session in sessions:
        assert machine.traces(session.run) == []
