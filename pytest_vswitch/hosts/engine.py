"""What is done on a host, on the host itself: the same code behind every door.

For this machine it is called directly; for another, the agent calls it there. Runs on the
DUT: standard library only, Python 3.8.
"""

from __future__ import annotations

import contextlib
import glob
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Sequence

from pytest_vswitch.hosts import leftovers, reservation
from pytest_vswitch.hosts.child import REACT_S, Child
from pytest_vswitch.hosts.leftovers import JOURNAL, MARK, Leftover
from pytest_vswitch.hosts.reservation import Claimant, Owner, Refusal
from pytest_vswitch.hosts.undo import Change, UndoJournal

_LISTENS_S = 2.0
"""A program makes its socket's file a moment before it listens."""
OUTPUT_LIMIT = 16 << 20
"""A command that prints more is not one of ours that went well [bytes]."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int | None
    """Exit status (negative: the signal); None: it was killed, see `why`."""
    output: bytes
    why: str = ""
    """Why there is no status, e.g. that it did not end in time."""


class LocalEngine:
    """This machine, for one run."""

    def __init__(self, run: str, state: Path | None = None) -> None:
        """A `state` of its own, a test's or a simulation's, takes the sockets, too."""
        self._run = run
        self._state = state or reservation.STATE
        self._directory = self._state / run
        self.scratch = str((state or reservation.RUNTIME) / run)
        self._environment = {**os.environ, "LC_ALL": "C.UTF-8", MARK: run}
        self._journal = UndoJournal(self._directory / JOURNAL)

    # --- programs ---

    def run(
        self,
        argv: Sequence[str],
        stdin: bytes,
        timeout_s: float,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Ended:
        """Run to the end. Raises OSError when it cannot be started."""
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment,
            start_new_session=True,
        )
        with process:
            try:
                return _follow(process, stdin, time.monotonic() + timeout_s, timeout_s, cancelled)
            except BaseException:  # Ctrl-C
                _kill(process)
                raise

    def spawn(self, argv: Sequence[str], name: str) -> Child:
        return Child(argv, self._environment, name)

    def which(self, program: str) -> str | None:
        return shutil.which(program)

    def uid(self) -> int:
        return os.geteuid()

    # --- files ---

    def read(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def read_all(self, pattern: str) -> dict[str, bytes]:
        found = {}
        for path in self.glob(pattern):
            with contextlib.suppress(OSError):
                found[path] = Path(path).read_bytes()
        return found

    def write(self, path: str, data: bytes) -> None:
        Path(path).write_bytes(data)

    def append(self, path: str, data: bytes) -> None:
        with open(path, "ab") as file:
            file.write(data)

    def read_link(self, path: str) -> str:
        os.stat(path)
        return os.path.realpath(path)

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def glob(self, pattern: str) -> list[str]:
        return sorted(glob.glob(pattern))

    def connect(self, address: str | int) -> socket.socket:
        """Raises OSError."""
        family = socket.AF_INET if isinstance(address, int) else socket.AF_UNIX
        stream = socket.socket(family, socket.SOCK_STREAM)
        stream.settimeout(REACT_S)
        try:
            if isinstance(address, int):
                stream.connect(("127.0.0.1", address))
            else:
                _connect(stream, address)
        except BaseException:
            stream.close()
            raise
        stream.settimeout(None)
        return stream

    # --- the run's hold on this machine ---

    def claim(self, claimant: Claimant, queue: bool) -> Refusal | None:
        """Take this machine for the run; who holds it, if it cannot be had now.

        With `queue`, a place in the queue is kept as long as this process lives.
        """
        refusal = reservation.claim(self._directory, claimant, queue=queue)
        if refusal is None and self.scratch != str(self._directory):
            self.note(Change("made", self.scratch))
            os.makedirs(self.scratch, mode=0o711)
        return refusal

    def release(self) -> list[str]:
        """Undo what is still changed, and give this machine, or the place in its queue, back.

        Remarks on what it found. Raises HostError naming what stays.
        """
        reservation.withdraw(self._state, self._run)
        owner = reservation.read_owner(self._directory)
        if owner and owner.program != reservation.this_program():
            return []  # the claim has failed: the run holds this machine by another name
        return leftovers.clean(self._directory)

    def taken(self) -> str:
        """Who took this machine from the run; empty while the run holds it."""
        return reservation.taken(self._directory)

    def note(self, change: Change) -> None:
        """Write a change down before it is made. Raises OSError."""
        self._journal.note(change)

    def undo(self, change: Change) -> str:
        """Undo it and strike it out; a remark if others had changed it. Raises OSError."""
        return self._journal.undo(change)

    # --- other runs ---

    def owners(self) -> list[Owner]:
        return reservation.owners(self._state)

    def queue(self) -> list[Claimant]:
        return reservation.queue(self._state)

    def leftovers(self) -> list[Leftover]:
        return leftovers.find(self._state)

    def clean(self, run: str) -> list[str]:
        """Undo what a dead run left; remarks on what others had changed."""
        remarks: list[str] = []
        for left in leftovers.find(self._state):
            if left.run == run:
                remarks += leftovers.clean(left.directory, rebooted=left.rebooted)
        return remarks

    def evict(self, run: str, by: str, force: bool) -> None:
        """Take this machine from a run, which learns by whom at its next trial."""
        reservation.evict(self._state, run, by=by, force=force)


def _follow(
    process: subprocess.Popen[bytes],
    stdin: bytes,
    deadline: float,
    timeout_s: float,
    cancelled: Callable[[], bool],
) -> Ended:
    """Feed and read a command until it ends, or is to be ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    feed, out = process.stdin.fileno(), process.stdout.fileno()
    os.set_blocking(feed, False)
    rest = memoryview(stdin)
    if not rest:
        process.stdin.close()
    chunks: list[bytes] = []
    size = 0
    while True:
        left = deadline - time.monotonic()
        writing = [feed] if rest else []
        readable, writable, _ = select.select([out], writing, [], max(0.0, min(left, 0.1)))
        if writable:
            try:
                rest = rest[os.write(feed, rest[:65536]) :]
            except BrokenPipeError:  # it does not want to know
                rest = memoryview(b"")
            if not rest:
                process.stdin.close()
        if readable:
            chunk = os.read(out, 65536)
            if not chunk:
                break
            chunks.append(chunk)
            size += len(chunk)
        why = ""
        if size > OUTPUT_LIMIT:
            why = f"printed more than {OUTPUT_LIMIT >> 20} MiB"
        elif left <= 0:
            why = f"did not end within {timeout_s:g} s"
        elif cancelled():
            why = "was called off"
        if why:
            _kill(process)
            return Ended(None, b"".join(chunks), why)
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):  # it closed its output and goes on
            return Ended(process.wait(0.1), b"".join(chunks))
        if time.monotonic() > deadline or cancelled():
            _kill(process)
            why = "was called off" if cancelled() else f"did not end within {timeout_s:g} s"
            return Ended(None, b"".join(chunks), why)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill it and all it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(REACT_S)


def _connect(stream: socket.socket, path: str) -> None:
    """Raises OSError."""
    deadline = time.monotonic() + _LISTENS_S
    while True:
        try:
            return stream.connect(path)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.01)  # polls for who listens
