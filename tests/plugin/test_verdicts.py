"""What becomes of a test: passed, failed, an error, or left incomplete; and what it says."""

from __future__ import annotations

import json

import pytest

from tests.plugin.conftest import SUITE, Session

THROUGHPUT = (*SUITE, "-k", "throughput", "--dut", "mine")
CASE = "pvp:frame_bytes=64"

FAULTS = """
from collections.abc import Iterator
from contextlib import contextmanager

from pytest_vswitch.topologies import sim

faults = iter([sim.DutFaults({}), sim.DutFaults(), sim.DutFaults()])

@contextmanager
def provision(lab, host) -> Iterator[sim.SimulatedDut]:
    yield sim.SimulatedDut(faults=next(faults))

sim.provision = provision
"""

TWO_TESTS = """
import pytest

@pytest.mark.parametrize("frame_bytes", [64, 128])
def test_rate(pvp, measure, threshold, frame_bytes):
    threshold.check(measure.throughput(pvp, frame_bytes=frame_bytes))
"""


def test_missed_threshold(session: Session) -> None:
    session.sim_lab(thresholds=f"{{'{CASE}': {{ndr_pps: 10e6}}}}")
    result = session(*THROUGHPUT)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(
        [
            "NDR 9.18 Mpps: 815 kpps (8.15 %) below the threshold of 10.0 Mpps; frames were "
            "lost first in guest forwarder: virtio0 -> virtio1 (* lost frames at 9.67 Mpps)",
            f"FAILED  {CASE} (simulated)",
            "  missed: NDR 9.18 Mpps: *",
        ]
    )
    result.stdout.no_fnmatch_line("*test_pvp.py:[0-9]*")
    (case,) = session.record.cases
    assert case.verdict == "failed"
    assert [check.met for check in case.checks] == [False]


def test_met_threshold(session: Session) -> None:
    session.sim_lab(thresholds=f"{{'{CASE}': {{ndr_pps: 9e6}}}}")
    result = session(*THROUGHPUT)
    assert result.ret == 0
    result.stdout.fnmatch_lines([f"PASSED  {CASE} (simulated)", "  met: NDR 9.18 Mpps: *"])
    assert [case.verdict for case in session.record.cases] == ["passed"]


def test_no_threshold(session: Session) -> None:
    session.sim_lab(thresholds="{'pvp:frame_bytes=1518': {ndr_pps: 9e6}}")
    result = session(*THROUGHPUT)
    assert result.ret == 0
    result.stdout.fnmatch_lines([f"MEASURED  {CASE} (simulated)"])
    assert [case.verdict for case in session.record.cases] == ["measured"]


def test_repeats_and_thresholds_from_them(session: Session) -> None:
    """The median of three, less a margin, becomes a threshold that the same DUT meets."""
    lab = session.sim_lab(seed=7)
    result = session(*THROUGHPUT, "--repeat", "3")
    result.stdout.fnmatch_lines(["*; median of 3 searches: *"])
    (case,) = session.record.cases
    assert [measurement.repeat for measurement in case.measurements] == [1, 2, 3]
    assert all(measurement.trials for measurement in case.measurements)

    assert session.vswitch("threshold", "--from-run", "latest").ret == 0
    assert CASE in lab.read_text()
    again = session(*THROUGHPUT, "--repeat", "3")
    assert again.ret == 0
    again.stdout.fnmatch_lines([f"PASSED  {CASE} (simulated)", "  met: NDR *", "  met: PDR *"])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("dies_after_s=2.5", "guest forwarder ended with status -11 (SIGSEGV) 2.5 s after *"),
        ("miscounting_hop=1", "the counters of this trial do not reconcile, so it has no result:"),
        ("corrupt_one_in=10", "sim does not forward 64-byte frames correctly:"),
    ],
)
def test_a_fault_is_an_error_and_the_next_test_is_spared(
    session: Session, fault: str, message: str
) -> None:
    """In the middle of a test: told in its own words, and the next gets a fresh topology."""
    session.write("conftest.py", FAULTS.replace("{}", fault))
    session.write("test_mine.py", TWO_TESTS)
    result = session("--quick", "--dut", "sim", "--search", "binary")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["*ERROR at *test_rate?64?*", message, f"ERROR  {CASE} *"])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*.py:[0-9]*:*Error*")
    broken, spared = session.record.cases
    assert broken.verdict == "error"
    assert broken.error.startswith(message.rstrip("*"))
    assert (spared.verdict, spared.error) == ("measured", "")


def test_a_topology_that_does_not_come_up(session: Session) -> None:
    session.write("conftest.py", FAULTS.replace("{}", "dies_after_s=0"))
    session.write("test_mine.py", TWO_TESTS)
    result = session("--quick", "--dut", "sim", "--search=binary")
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["*ERROR at setup of test_rate?64?*", "guest forwarder ended *"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_ctrl_c_leaves_the_case_incomplete(session: Session) -> None:
    session.write(
        "test_mine.py",
        "def test_first(pvp, measure):\n    measure.throughput(pvp, frame_bytes=64)\n"
        "def test_second(pvp, measure):\n    measure.throughput(pvp, frame_bytes=128)\n"
        "    raise KeyboardInterrupt\n"
        "def test_third(pvp):\n    pass\n",
    )
    result = session("--quick", "--dut", "sim", "--search=binary")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(
        ["INCOMPLETE: the run ended before its last case.", "INCOMPLETE  pvp:frame_bytes=128 *"]
    )
    record = session.record
    assert not record.finished
    assert [case.verdict for case in record.cases] == ["measured", "incomplete"]
    assert record.cases[1].measurements
    assert (session.runs[0] / "report.html").is_file()


def test_a_failed_assertion_of_the_user_is_a_failure(session: Session) -> None:
    session.write(
        "test_mine.py",
        "def test_mine(pvp, measure):\n"
        "    assert not measure.throughput(pvp, frame_bytes=64).case.measurements\n",
    )
    result = session("--quick", "--dut", "sim", "--search=binary")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["test_mine.py:2: AssertionError"])
    assert json.loads((session.runs[0] / "results.json").read_text())["finished"]
