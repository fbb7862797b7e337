"""What runs left behind when they were killed or the machine went down, and its removal.

A run owns a directory below `STATE` that names its process; every process it starts
carries the run's id in its environment. Whoever comes next can tell whether the
owner still lives, and undo what a dead one left.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.undo import Change, UndoJournal

STATE = Path("/run/pytest-vswitch")
MARK = "PYTEST_VSWITCH_RUN"


@dataclass(frozen=True, slots=True)
class Owner:
    """The pytest process that a run belongs to."""

    run: str
    pid: int
    start_ticks: int
    """With `boot_id` this tells a process from a later one with the same pid."""
    boot_id: str
    command: str
    since: str
    """Local time, ISO 8601."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """What one dead run left."""

    run: str
    processes: tuple[tuple[int, str], ...]
    """(pid, program) of what still runs."""
    changes: tuple[Change, ...]
    """Newest first."""
    directory: Path


def claim(directory: Path) -> None:
    """Make a run's directory and write down who owns it."""
    directory.mkdir(parents=True, mode=0o700)
    owner = {
        "pid": os.getpid(),
        "start_ticks": _start_ticks(os.getpid()),
        "boot_id": _boot_id(),
        "command": " ".join(sys.argv)[:500],
        "since": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    # Written aside and renamed: a directory without an owner is a dead run's.
    part = directory / "owner.json.part"
    part.write_text(json.dumps(owner))
    part.rename(directory / "owner.json")


def owners(state: Path = STATE) -> list[Owner]:
    """The runs that are alive now."""
    return [owner for path in _runs(state) if (owner := _owner(path)) and _alive(owner)]


def find(state: Path = STATE) -> list[Leftover]:
    """What dead runs left, oldest first."""
    found = []
    for path in _runs(state):
        owner = _owner(path)
        if owner and _alive(owner):
            continue
        # Changes made before a reboot to what lives in the kernel's memory are gone with it.
        rebooted = owner is not None and owner.boot_id != _boot_id()
        changes = [
            change
            for change in UndoJournal(path / "undo.jsonl").pending()
            if not (rebooted and change.path.startswith(("/sys/", "/proc/", "/run/")))
        ]
        found.append(Leftover(path.name, tuple(_marked(path.name)), tuple(changes), path))
    return found


def clean(leftover: Leftover) -> None:
    """Kill its processes, undo its changes, forget it. Raises HostError naming what stays."""
    kill_marked(leftover.run)
    stuck = []
    journal = UndoJournal(leftover.directory / "undo.jsonl")
    for change in leftover.changes:
        try:
            journal.undo(change)
        except OSError as error:
            stuck.append(f"{change}: {error}")
    if stuck:
        raise HostError(
            f"run {leftover.run} left what could not be undone:\n  " + "\n  ".join(stuck)
        )
    shutil.rmtree(leftover.directory, ignore_errors=True)


def kill_marked(run: str) -> None:
    """Kill every process that the run started and wait until none is left."""
    deadline = time.monotonic() + 10
    while marked := list(_marked(run)):
        for pid, _ in marked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise HostError(
                f"cannot be killed: {', '.join(f'{name} ({pid})' for pid, name in marked)}"
            )
        time.sleep(0.02)  # the kernel takes a moment to reap a killed process


def _runs(state: Path) -> list[Path]:
    return sorted(path for path in state.iterdir() if path.is_dir()) if state.is_dir() else []


def _owner(directory: Path) -> Owner | None:
    try:
        return Owner(run=directory.name, **json.loads((directory / "owner.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _alive(owner: Owner) -> bool:
    return owner.boot_id == _boot_id() and owner.start_ticks == _start_ticks(owner.pid)


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


def _start_ticks(pid: int) -> int:
    """Start time of a process in clock ticks since boot; -1 if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return -1
    return int(stat.rpartition(")")[2].split()[19])


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
