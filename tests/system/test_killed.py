"""`kill -9` of pytest in the middle of a search: what is kept, what is left, who cleans up."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_vswitch.hosts import leftovers, reservation
from pytest_vswitch.hosts.undo import Change, UndoJournal
from tests.system.conftest import Start
from tests.system.machine import Machine, processes, wait_until
from tests.system.session import ENDLESS, SHORT, Session, environment, vswitch


def told_trials(session: Session) -> list[int]:
    """Numbers of the trials that the terminal has shown as finished."""
    return [int(number) for number in re.findall(r"  trial (\d+)  .*loss", session.output)]


Survive = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def survive() -> Iterator[Survive]:
    """A process of a run that outlives its pytest."""
    with contextlib.ExitStack() as stack:

        def survive(run: str) -> subprocess.Popen[bytes]:
            environ = {**os.environ, leftovers.MARK: run}
            process = subprocess.Popen(["sleep", "1000"], env=environ, start_new_session=True)
            stack.callback(process.wait)
            stack.callback(process.kill)
            wait_until(lambda: process.pid in processes(run), "sleep runs, with its mark")
            return process

        yield survive


def test_the_next_run_clears_up_after_a_killed_one(
    start: Start, survive: Survive, machine: Machine
) -> None:
    """Steps: kill pytest in its third trial; let one process outlive it; report; doctor; run.

    Verify: the trials that ended are kept, the programs end with pytest, doctor shows what
    is left, the next run removes that and passes; then nothing of either is left.
    """
    killed = start("killed", *ENDLESS)
    killed.wait_for_trials(2)
    killed.process.kill()
    assert killed.end() == -signal.SIGKILL
    run = killed.run
    wait_until(lambda: not processes(run), f"its programs have ended: {processes(run)}", 30)

    assert (killed.directory / "journal.jsonl").read_bytes().endswith(b"\n")
    kept = [trial["number"] for trial in killed.trials]
    assert kept == list(range(1, len(kept) + 1))
    assert set(told_trials(killed)) <= set(kept)

    vswitch("report", run, "--reports", str(killed.reports))
    assert "INCOMPLETE" in (killed.directory / "report.html").read_text()
    (case,) = killed.record["cases"]
    assert case["verdict"] == "incomplete"
    assert [trial["number"] for trial in case["measurements"][0]["trials"]] == kept

    survivor = survive(run)
    shown = vswitch("doctor", "local")
    assert f"run {run} is dead and left:" in shown
    assert f"process sleep ({survivor.pid})" in shown
    assert f"change /var/run/dpdk/vswitch-{run}" in shown
    assert machine.traces(run)

    again = start("again", *SHORT)
    assert again.end() == 0, again.output
    assert f"removed what run {run} left: sleep ({survivor.pid})" in again.output
    assert survivor.wait(0) == -signal.SIGKILL
    assert machine.traces(run) == []
    assert machine.traces(again.run) == []


def test_doctor_undoes_what_outlived_a_run(
    tmp_path: Path, survive: Survive, machine: Machine
) -> None:
    """Steps: a dead run's process, file, directory and hugepages; `vswitch doctor --clean`.

    Verify: it shows and then ends and undoes each of them; a second look finds nothing.
    """
    run = f"dead-{os.getpid()}"
    directory = reservation.STATE / run
    claim = "import sys, pathlib; from pytest_vswitch.hosts.reservation import *;"
    claim += "directory = pathlib.Path(sys.argv[1]);"
    claim += "claim(directory, Claimant(directory.name, 'mona@here', 'pytest', this_program()))"
    argv = [sys.executable, "-c", claim, str(directory)]
    subprocess.run(argv, check=True, env=environment())
    changed, made = tmp_path / "changed", tmp_path / "made"
    pages = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
    had = pages.read_text()
    journal = UndoJournal(directory / "undo.jsonl")
    journal.note(Change("rewrote", str(changed), "as it was"))
    changed.write_text("as it was not")
    journal.note(Change("made", str(made)))
    (made / "deep").mkdir(parents=True)
    journal.note(Change("rewrote", str(pages), had.strip()))
    pages.write_text(str(int(had) + 3))
    survivor = survive(run)
    assert len(machine.traces(run)) >= 3

    (left,) = json.loads(vswitch("doctor", "local", "--json"))["leftovers"]
    assert left["run"] == run
    assert left["processes"] == [{"pid": survivor.pid, "program": "sleep"}]
    assert len(left["changes"]) == 3
    assert survivor.poll() is None, "to show is not to clean"
    assert "cleaned" in vswitch("doctor", "local", "--clean")
    assert survivor.wait(0) == -signal.SIGKILL
    assert changed.read_text() == "as it was"
    assert not made.exists()
    assert machine.traces(run) == []
    assert "nothing is left" in vswitch("doctor", "local")
