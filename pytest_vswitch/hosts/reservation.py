"""Who holds a host, written on that host: one run at a time, and a fair queue.

A run owns a directory below `STATE` that names its process there and the one that it works
for, on the controller. Runs on the DUT: standard library only, Python 3.8.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Iterator

from pytest_vswitch.errors import HostError

STATE = Path("/var/lib/pytest-vswitch")
"""Who owns this host and what is to be undone: on disk, for a power cut."""

RUNTIME = Path("/run/pytest-vswitch")
"""Sockets of the runs."""

LEAVE_S = 30.0
"""How long a run that is told to end may take to put the host in order [s]."""


@dataclass(frozen=True)
class Program:
    """A process that cannot be mistaken for a later one with the same pid."""

    pid: int
    start_ticks: int
    """Start time in clock ticks since boot."""
    boot_id: str
    namespace: str
    """Of process numbers: a container's are not its host's."""

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, a process that can be seen from here."""
        return (self.boot_id, self.namespace) == (boot_id(), _namespace())

    @property
    def alive(self) -> bool:
        """On the machine where this is asked; a zombie is not. In doubt it is."""
        if not self.is_here:
            return self.boot_id == boot_id()
        return self.start_ticks == start_ticks(self.pid)


@dataclass(frozen=True)
class Claimant:
    """Who wants a host, and for what."""

    run: str
    who: str
    """E.g. `mona@ci7`."""
    command: str
    program: Program
    """The process that asks, on the controller."""


@dataclass(frozen=True)
class Owner:
    """Who holds a host."""

    claimant: Claimant
    program: Program
    """The process that holds it, on this host: the agent, or the claimant itself."""
    since: str
    """Local time of this host, ISO 8601."""
    taken_by: str = ""
    """Who has asked it to leave."""

    @property
    def run(self) -> str:
        return self.claimant.run

    @property
    def pid(self) -> int:
        return self.program.pid

    def __str__(self) -> str:
        claimant = self.claimant
        return (
            f"run {claimant.run} of {claimant.who} "
            f"(pid {claimant.program.pid} there, since {self.since}: `{claimant.command}`)"
        )


@dataclass(frozen=True)
class Refusal:
    """Why a host cannot be had now."""

    owner: Owner | None
    """Who holds it; None: nobody does, and others are first in the queue."""
    before: tuple[Claimant, ...]
    """Who waits longer."""

    def __str__(self) -> str:
        ahead = f"{len(self.before)} in the queue before" if self.before else ""
        held = f"in use by {self.owner}" if self.owner else "kept for who waits"
        return f"{held}, {ahead}" if ahead else held


def claim(directory: Path, claimant: Claimant, *, queue: bool = False) -> Refusal | None:
    """Make a run's directory, with who owns it in it; who is in the way, if it cannot be had.

    With `queue`, asking keeps a place in the queue as long as this process lives.
    Raises OSError, e.g. for a disk that is full or read-only.
    """
    state = directory.parent
    state.mkdir(parents=True, exist_ok=True)
    with _locked(state):
        holders = [owner for owner in owners(state) if owner.program != this_program()]
        ticket = _ticket(state, claimant) if queue else None
        before = tuple(
            waiting
            for path, waiting in _tickets(state)
            if ticket is None or path.name < ticket.name
        )
        if holders or before:
            return Refusal(holders[0] if holders else None, before)
        owner = Owner(claimant, this_program(), time.strftime("%Y-%m-%dT%H:%M:%S%z"))
        # Made aside and renamed: a directory without an owner is a dead run's.
        for killed in state.glob(".claim-*"):  # in the midst of this
            shutil.rmtree(killed, ignore_errors=True)
        part = Path(tempfile.mkdtemp(prefix=".claim-", dir=state))
        try:
            part.chmod(0o711)  # other users may see who owns it, and no more
            _write(part / "owner.json", json.dumps(asdict(owner)))
            part.rename(directory)  # fails if that exists: run ids are unique
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        if ticket is not None:
            ticket.unlink()
    return None


def owners(state: Path = STATE) -> list[Owner]:
    """The runs that are alive now."""
    return [owner for path in runs(state) if (owner := read_owner(path)) and owner.program.alive]


def queue(state: Path = STATE) -> list[Claimant]:
    """Who waits, longest first."""
    return [claimant for _, claimant in _tickets(state)]


def evict(state: Path, run: str, *, by: str, force: bool) -> None:
    """Tell a run that it has lost this host; with `force`, end it, too.

    Raises HostError when there is no such run, or when it does not go.
    """
    directory = state / run
    owner = read_owner(directory)
    if owner is None or not owner.program.alive:
        raise HostError(f"run {run} does not hold this host")
    if force and not owner.program.is_here:
        raise HostError(
            f"run {run} is in another container (pid {owner.pid} there): it can only be ended "
            f"there; if it is gone, remove {directory / 'owner.json'}"
        )
    try:
        _write(directory / "taken.json", json.dumps({"by": by}))
    except OSError as error:
        if not force:
            raise HostError(f"run {run} cannot be told: {error}") from None
    # What a killed one leaves is undone by who comes next.
    for number in (signal.SIGTERM, signal.SIGKILL) if force else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(owner.pid, number)
        deadline = time.monotonic() + LEAVE_S
        while time.monotonic() < deadline:
            if not owner.program.alive:
                return
            time.sleep(0.02)  # polls for its end
    if force:
        raise HostError(f"run {run} (pid {owner.pid}) cannot be killed")


def withdraw(state: Path, run: str) -> None:
    """Give up a run's place in the queue, if it has one."""
    for path, waiting in _tickets(state):
        if waiting.run == run:
            path.unlink(missing_ok=True)


def taken(directory: Path) -> str:
    """By whom the run of that directory was told to leave; empty if it was not."""
    try:
        return str(json.loads((directory / "taken.json").read_text())["by"])
    except (OSError, ValueError, KeyError):
        return "" if directory.is_dir() else "someone who removed its directory"


def runs(state: Path) -> list[Path]:
    """Directories of runs, by name, so by age; those being claimed are not there yet."""
    paths = state.iterdir() if state.is_dir() else ()
    return sorted(path for path in paths if path.is_dir() and not path.name.startswith("."))


def read_owner(directory: Path) -> Owner | None:
    try:
        fields = json.loads((directory / "owner.json").read_text())
        return owner_of({**fields, "taken_by": taken(directory)})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def this_program() -> Program:
    pid = os.getpid()
    return Program(pid, start_ticks(pid), boot_id(), _namespace())


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _namespace() -> str:
    return os.readlink("/proc/self/ns/pid")


def start_ticks(pid: int) -> int:
    """Start time of a process in clock ticks since boot; -1 if it is none, or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return -1
    state, *fields = stat.rpartition(")")[2].split()
    return -1 if state in "ZX" else int(fields[18])


@contextlib.contextmanager
def _locked(state: Path) -> Iterator[None]:
    """For the moment that it takes to claim, or to queue."""
    handle = os.open(state, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _ticket(state: Path, claimant: Claimant) -> Path:
    """This process's place in the queue, taken now or before."""
    places = list(_tickets(state))
    for path, waiting in places:
        if waiting.run == claimant.run:
            return path
    last = int(places[-1][0].name.partition("-")[0]) if places else 0
    path = state / ".queue" / f"{last + 1:08}-{os.getpid()}"
    path.parent.mkdir(exist_ok=True)
    holder = {"claimant": asdict(claimant), "program": asdict(this_program())}
    _write(path, json.dumps(holder))
    return path


def _tickets(state: Path) -> list[tuple[Path, Claimant]]:
    """The places of those that still wait, first come first."""
    found = []
    for path in sorted((state / ".queue").glob("[0-9]*-*")):
        try:
            fields = json.loads(path.read_text())
            alive = Program(**fields["program"]).alive
            claimant = claimant_of(fields["claimant"])
        except (OSError, ValueError, TypeError, KeyError):
            continue  # being written, or just removed
        if alive:
            found.append((path, claimant))
        else:
            with contextlib.suppress(OSError):  # another user's, or gone meanwhile
                path.unlink()
    return found


def claimant_of(fields: dict[str, Any]) -> Claimant:
    """From `asdict`. Raises TypeError, KeyError."""
    return Claimant(**{**fields, "program": Program(**fields["program"])})


def owner_of(fields: dict[str, Any]) -> Owner:
    """From `asdict`, or from its file. Raises TypeError, KeyError."""
    claimant, program = claimant_of(fields["claimant"]), Program(**fields["program"])
    return Owner(claimant, program, fields["since"], fields.get("taken_by", ""))


def _write(path: Path, text: str) -> None:
    """To disk, whole."""
    part = path.with_name(f".{path.name}.part")
    with open(part, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
