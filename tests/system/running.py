"""An open run on this machine, and what becomes of a trial in which something dies."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_vswitch import __version__
from pytest_vswitch.errors import DutError, HostError
from pytest_vswitch.lab import loader
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.measure.runner import Progress, TrialRunner
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.results import record, run_directory
from pytest_vswitch.results.certification import Wired
from pytest_vswitch.results.run import Run
from pytest_vswitch.traffic.profile import PLAIN, Profile
from tests.system.machine import Machine, process, processes
from tests.system.session import ROOT

ERROR_S = 30
"""How soon a fault has to be an error."""


def local() -> Lab:
    """This machine, as the lab file that comes with the suites has it."""
    return loader.load("local", loader.search_path(ROOT))


def open_run(reports: Path, lab: Lab | None = None, *, wait_s: float = 0.0) -> Run:
    """A run of that lab, or of the local one; to be closed."""
    facts = record.Run(
        id=run_directory.new_id(),
        started="",
        command=tuple(sys.argv),
        tool_version=__version__,
        simulated=False,
    )
    return Run(lab or local(), facts, reports, wait_s=wait_s)


@contextlib.contextmanager
def opened(directory: Path, lab: Lab | None = None) -> Iterator[Run]:
    """A run; at its end, nothing of it may be left on the machine."""
    machine = Machine()
    with open_run(directory, lab) as run:
        yield run
    assert machine.traces(run.facts.id) == []


def trial(
    wired: Wired,
    rate_pps: float,
    duration_s: float,
    frame_bytes: int = 64,
    progress: Callable[[Progress], None] = lambda _: None,
    profile: Profile = PLAIN,
) -> Trial:
    """One trial; its books balance, or BooksError is raised."""
    runner = TrialRunner(
        wired.topology,
        wired.generator,
        frame_bytes,
        record=lambda _: None,
        progress=progress,
        profile=profile,
    )
    return runner.run(rate_pps, duration_s)


def trial_with_pause(wired: Wired, pid: int, pause_s: float, rate_pps: float) -> Trial:
    """A trial of 3 s, half a second into which a process gets no CPU for so long."""
    thaws: list[threading.Timer] = []

    def freeze(now: Progress) -> None:
        if now.elapsed_s > 0.5 and not thaws:
            os.kill(pid, signal.SIGSTOP)
            thaws.append(threading.Timer(pause_s, os.kill, (pid, signal.SIGCONT)))
            thaws[0].start()

    try:
        return trial(wired, rate_pps, 3.0, progress=freeze)
    finally:
        for thaw in thaws:
            thaw.join()


def kill(program: str, number: signal.Signals = signal.SIGKILL) -> Callable[[str], None]:
    """What kills the one process of a run (by its id) that has `program` in its command line."""
    return lambda run: os.kill(process(run, program), number)


def check_named(run: Run, wired: Wired, do: Callable[[str], object], says: str) -> None:
    """A whole trial, and a second, long one in the middle of which `do` breaks something.

    Within 30 s there must be an error that says what broke (a regular expression); the
    first trial is kept, and the topology ends without a trace.
    """
    trials: list[Trial] = []
    running = threading.Event()

    def progress(now: Progress) -> None:
        if now.number == 2 and now.elapsed_s > 0.5:
            running.set()

    runner = TrialRunner(
        wired.topology,
        wired.generator,
        64,
        record=trials.append,
        progress=progress,
        margin_s=ERROR_S,
    )
    runner.run(2000, 0.5)
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(runner.run, 2000, 2 * ERROR_S)
        assert running.wait(ERROR_S)
        do(run.directory.path.name)
        error = pending.exception(timeout=ERROR_S)
    assert isinstance(error, DutError | HostError), error
    with pytest.raises(type(error), match=f"(?s){says}"):
        raise error
    assert len(trials) == 1

    run.unwire()
    left = {path.name for path in Path(run.host.scratch).iterdir()}
    assert left <= {"owner.json", "undo.jsonl"}
    assert processes(run.directory.path.name) == {}
