"""What runs left behind when they were killed or the machine went down, and its removal.

Every process that a run starts carries the run's id in its environment, and every change
stands in its journal. Whoever comes next can end and undo what a dead run left. Runs on
the DUT: standard library only, Python 3.8.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import reservation
from pytest_vswitch.hosts.reservation import STATE
from pytest_vswitch.hosts.undo import Change, UndoJournal, survives_reboot, undo_all

MARK = "PYTEST_VSWITCH_RUN"

JOURNAL = "undo.jsonl"


@dataclass(frozen=True)
class Leftover:
    """What one dead run left."""

    run: str
    processes: tuple[tuple[int, str], ...]
    """(pid, program) of what still runs."""
    changes: tuple[Change, ...]
    """Newest first."""
    directory: Path
    rebooted: bool = False
    """Whether the host has booted since, which undoes all but files on disks."""


def find(state: Path = STATE) -> list[Leftover]:
    """What dead runs left, newest first, as it has to be undone. Raises HostError."""
    found = []
    for path in reversed(reservation.runs(state)):
        owner = reservation.read_owner(path)
        if owner and owner.program.alive:
            continue
        rebooted = owner is not None and owner.program.boot_id != reservation.boot_id()
        try:
            pending = UndoJournal(path / JOURNAL).pending()
        except PermissionError:
            raise HostError(f"run {path.name} is another user's: run this as root") from None
        changes = [change for change in pending if not rebooted or survives_reboot(change)]
        found.append(Leftover(path.name, tuple(_marked(path.name)), tuple(changes), path, rebooted))
    return found


def clean(directory: Path, *, rebooted: bool = False) -> list[str]:
    """Kill a run's processes, undo its changes, forget it; remarks on what others had changed.

    What cannot be undone does not keep the rest. Raises HostError naming what stays.
    """
    run = directory.name
    stuck = []
    try:
        kill_marked(run)
    except HostError as error:
        stuck.append(str(error))
    try:
        outcome = undo_all(UndoJournal(directory / JOURNAL), rebooted)
    except OSError as error:
        raise HostError(f"run {run}: its journal cannot be read: {error}") from None
    stuck += outcome.stuck
    if stuck:
        raise HostError(f"run {run} left what could not be undone:\n  " + "\n  ".join(stuck))
    shutil.rmtree(directory, ignore_errors=True)
    return list(outcome.remarks)


def kill_marked(run: str) -> None:
    """Kill every process that the run started and wait until none is left."""
    deadline = time.monotonic() + 10
    nothing = False
    while True:
        marked = _marked(run)
        if nothing and not marked:
            return
        nothing = not marked  # looked at twice: in the midst of exec, a process has no environment
        for pid, _ in marked:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise HostError(
                f"cannot be killed: {', '.join(f'{name} ({pid})' for pid, name in marked)}"
            )
        time.sleep(0.02)  # the kernel takes a moment to reap a killed process


def _marked(run: str) -> list[tuple[int, str]]:
    wanted = f"{MARK}={run}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                name = (entry / "comm").read_text().strip()
                if int(entry.name) != os.getpid():
                    found.append((int(entry.name), name))
        except OSError:  # gone meanwhile, or a zombie
            continue
    return found
