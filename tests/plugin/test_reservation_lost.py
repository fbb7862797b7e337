"""A run whose host was taken ends before its next trial, and says who took it."""

from __future__ import annotations

from tests.plugin.conftest import SUITE, Session

TAKEN = """
from pytest_vswitch.errors import ReservationLost
from pytest_vswitch.results.run import Run

asked = []

def check_reserved(run):
    asked.append(run)
    if len(asked) > 3:
        raise ReservationLost("dut1 was taken from this run, by eve@there")

Run.check_reserved = check_reserved
"""

TWO_TESTS = """
import pytest

@pytest.mark.parametrize("frame_bytes", [64, 128])
def test_rate(pvp, measure, frame_bytes):
    measure.throughput(pvp, frame_bytes=frame_bytes)
"""


def test_a_run_that_lost_its_host_ends(session: Session) -> None:
    """Verify: three trials, no fourth; one error with the name, no second test; incomplete."""
    session.sim_lab()
    session.write("test_two.py", TWO_TESTS)
    with (session.path / "conftest.py").open("a") as conftest:
        conftest.write(TAKEN)
    result = session("test_two.py", *SUITE[1:], "--dut", "mine")
    assert result.ret == 2
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*dut1 was taken from this run, by eve@there*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    (case,) = session.record.cases
    assert [len(measurement.trials) for measurement in case.measurements] == [3]
    assert case.verdict == "error"
    assert not session.record.finished
