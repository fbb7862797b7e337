"""Ctrl-C and a termination: everything ends in order, and nothing measured is lost."""

from __future__ import annotations

import signal

import pytest

from tests.system.conftest import Start
from tests.system.machine import Machine
from tests.system.session import ENDLESS


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 2), (signal.SIGTERM, 143)],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_an_interrupted_search(
    start: Start, machine: Machine, number: signal.Signals, status: int
) -> None:
    """Steps: SIGINT or SIGTERM to pytest in its second trial.

    Verify: exit status as the shell expects it, nothing left, the trials that ended kept,
    a report that says INCOMPLETE.
    """
    session = start("interrupted", *ENDLESS)
    session.wait_for_trials(1)
    session.process.send_signal(number)
    assert session.end(30) == status, session.output
    assert machine.traces(session.run) == []

    assert "Traceback" not in session.output
    assert "INCOMPLETE  pvp:frame_bytes=64" in session.output
    assert "INCOMPLETE" in (session.directory / "report.html").read_text()
    assert not session.record["finished"]
    (case,) = session.record["cases"]
    assert case["verdict"] == "incomplete"
    assert case["measurements"][0]["trials"] == session.trials


def test_an_interrupted_boot(start: Start, machine: Machine) -> None:
    """Steps: SIGINT while the guest boots. Verify: nothing is left, and no case began."""
    session = start("interrupted", *ENDLESS)
    transcript = session.directory / "transcript.log"
    session.wait(
        lambda: transcript.exists() and "[guest shell runs" in transcript.read_text(),
        "the guest boots",
    )
    session.process.send_signal(signal.SIGINT)
    assert session.end(30) == 2, session.output
    assert machine.traces(session.run) == []
    assert session.record["cases"] == []
    assert not session.record["finished"]
