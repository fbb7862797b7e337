"""What runs left behind when they were killed or the machine went down, and its removal.

A run owns a directory below `STATE` that names its process; every process it starts
carries the run's id in its environment. Whoever comes next can tell whether the
owner still lives, and undo what a dead one left.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.undo import Change, UndoJournal

STATE = Path("/run/pytest-vswitch")
MARK = "PYTEST_VSWITCH_RUN"

_VOLATILE = ("/dev/", "/proc/", "/run/", "/sys/", "/var/run/")
"""What a reboot makes anew."""


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

    def __str__(self) -> str:
        return f"run {self.run} (pid {self.pid}, since {self.since}: `{self.command}`)"


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
    """Make a run's directory, with who owns it in it.

    Raises HostError while another process owns a run here: a host serves one at a time.
    """
    state = directory.parent
    state.mkdir(parents=True, exist_ok=True)
    owner = {
        "pid": os.getpid(),
        "start_ticks": _start_ticks(os.getpid()),
        "boot_id": _boot_id(),
        "command": " ".join(sys.argv)[:500],
        "since": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    handle = os.open(state, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # two runs that begin at once
        for other in owners(state):
            if other.pid != os.getpid():
                raise HostError(f"this host is in use by {other}: wait for its end, or end it")
        # Made aside and renamed: a directory without an owner is a dead run's.
        part = Path(tempfile.mkdtemp(prefix=".", dir=state))
        part.chmod(0o711)  # other users may see who owns it, and no more
        (part / "owner.json").write_text(json.dumps(owner))
        part.rename(directory)  # fails if that exists: run ids are unique
    finally:
        os.close(handle)


def owners(state: Path = STATE) -> list[Owner]:
    """The runs that are alive now."""
    return [owner for path in _runs(state) if (owner := _owner(path)) and _alive(owner)]


def find(state: Path = STATE) -> list[Leftover]:
    """What dead runs left, newest first, as it has to be undone. Raises HostError."""
    found = []
    for path in reversed(_runs(state)):
        owner = _owner(path)
        if owner and _alive(owner):
            continue
        # Changes made before a reboot to what lives in the kernel's memory are gone with it.
        rebooted = owner is not None and owner.boot_id != _boot_id()
        try:
            pending = UndoJournal(path / "undo.jsonl").pending()
        except PermissionError:
            raise HostError(f"run {path.name} is another user's: run this as root") from None
        changes = [c for c in pending if not (rebooted and c.path.startswith(_VOLATILE))]
        found.append(Leftover(path.name, tuple(_marked(path.name)), tuple(changes), path))
    return found


def clean(leftover: Leftover) -> None:
    """Kill its processes, undo its changes, forget it. Raises HostError naming what stays."""
    stuck = []
    try:
        kill_marked(leftover.run)
    except HostError as error:
        stuck.append(str(error))
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
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise HostError(
                f"cannot be killed: {', '.join(f'{name} ({pid})' for pid, name in marked)}"
            )
        time.sleep(0.02)  # the kernel takes a moment to reap a killed process


def _runs(state: Path) -> list[Path]:
    """By name, so by age; those that are being claimed are not there yet."""
    paths = state.iterdir() if state.is_dir() else ()
    return sorted(path for path in paths if path.is_dir() and not path.name.startswith("."))


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
    """Start time of a process in clock ticks since boot; -1 if it is none, or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return -1
    state, *fields = stat.rpartition(")")[2].split()
    return -1 if state in "ZX" else int(fields[18])


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
