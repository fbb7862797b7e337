"""A host that is open for one run: its engine, here or elsewhere, with a transcript."""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from pytest_vswitch.errors import HostError, ReservationLost
from pytest_vswitch.hosts import reservation
from pytest_vswitch.hosts.console import Console
from pytest_vswitch.hosts.engine import Ended
from pytest_vswitch.hosts.host import Completed
from pytest_vswitch.hosts.host_process import EngineChild, HostProcess
from pytest_vswitch.hosts.leftovers import Leftover
from pytest_vswitch.hosts.reservation import Claimant, Owner, Refusal
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.hosts.undo import Change

_ASK_AGAIN_S = 0.5
"""How often one who waits for a host looks whether it is free [s]."""


class Engine(Protocol):
    """What is done on a host; see `engine.LocalEngine`."""

    @property
    def scratch(self) -> str: ...
    def run(self, argv: Sequence[str], stdin: bytes, timeout_s: float) -> Ended: ...
    def spawn(self, argv: Sequence[str], name: str) -> EngineChild: ...
    def which(self, program: str) -> str | None: ...
    def uid(self) -> int: ...
    def read(self, path: str) -> bytes: ...
    def read_all(self, pattern: str) -> Mapping[str, bytes]: ...
    def write(self, path: str, data: bytes) -> None: ...
    def read_link(self, path: str) -> str: ...
    def exists(self, path: str) -> bool: ...
    def glob(self, pattern: str) -> list[str]: ...
    def connect(self, address: str | int) -> socket.socket: ...
    def claim(self, claimant: Claimant, queue: bool) -> Refusal | None: ...
    def release(self) -> list[str]: ...
    def taken(self) -> str: ...
    def note(self, change: Change) -> None: ...
    def undo(self, change: Change) -> str: ...
    def owners(self) -> list[Owner]: ...
    def queue(self) -> list[Claimant]: ...
    def leftovers(self) -> list[Leftover]: ...
    def clean(self, run: str) -> list[str]: ...
    def evict(self, run: str, by: str, force: bool) -> None: ...


class OpenHost:
    """One host for one run; see `hosts.host.Host`. What the run changed ends with its block.

    Without a `with` block it may look at the host and run commands, and holds nothing.
    """

    cache = "/var/cache/pytest-vswitch"

    def __init__(self, name: str, engine: Engine, run: str, transcript: Transcript) -> None:
        self.name = name
        self.engine = engine
        self.transcript = transcript
        self.wait_s = 0.0
        """How long to queue for a host that is in use [s]."""
        self.tell: Callable[[str], None] = lambda text: None
        """Where a person reads what happens meanwhile."""
        self.why_not_root = ""
        """What kept us from becoming root there, if that was tried."""
        self._run = run

    @property
    def scratch(self) -> str:
        return self.engine.scratch

    # --- holding it ---

    def __enter__(self) -> OpenHost:
        self._claim()
        try:
            self._clean()
        except BaseException:
            self.engine.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Raises HostError when something stays; `vswitch doctor` then still knows of it."""
        for remark in self.engine.release():
            self._remark(remark)

    def in_use(self) -> list[Owner]:
        """Who holds it; not those of whom this machine knows that they are gone."""
        return [owner for owner in self.engine.owners() if not _is_gone(owner)]

    def wait_until_free(self, run: str, within_s: float) -> None:
        """Wait for the end of another run. Raises HostError when it does not come."""
        deadline = time.monotonic() + within_s
        while any(owner.run == run for owner in self.engine.owners()):
            if time.monotonic() > deadline:
                raise HostError(
                    f"{self.name}: run {run} has not left within {within_s:g} s; `--force` ends it"
                )
            time.sleep(_ASK_AGAIN_S)

    def check_reserved(self) -> None:
        if by := self.engine.taken():
            raise ReservationLost(f"{self.name} was taken from this run, by {by}")

    def _claim(self) -> None:
        """Raises HostError, saying who holds it, when it cannot be had in time."""
        claimant = Claimant(
            run=self._run,
            who=whoami(),
            command=shlex.join(sys.argv)[:500],
            program=reservation.this_program(),
        )
        try:
            self._queue_up(claimant)
        except BaseException:
            # Nobody is to wait for one who waits no more.
            with contextlib.suppress(HostError, OSError):
                self.engine.release()
            raise

    def _queue_up(self, claimant: Claimant) -> None:
        deadline = time.monotonic() + self.wait_s
        told = ""
        ended = set()
        while True:
            try:
                refusal = self.engine.claim(claimant, self.wait_s > 0)
            except OSError as error:
                raise HostError(
                    f"{self.name}: cannot keep a journal there, so nothing is changed: {error}"
                    f"{self._missing_rights()}"
                ) from None
            if refusal is None:
                return
            owner = refusal.owner
            if owner and owner.run not in ended and _is_gone(owner):
                # Nobody else can know that, nor will it come back.
                ended.add(owner.run)
                self.tell(f"{self.name}: ending {owner}, whose pytest is gone")
                with contextlib.suppress(HostError):  # it has just ended by itself
                    self.engine.evict(owner.run, f"{claimant.who}, as its pytest is gone", True)
                continue
            if time.monotonic() >= deadline:
                advice = (
                    f"waited {self.wait_s:g} s in vain" if self.wait_s else "`--wait 30m` queues"
                )
                raise HostError(f"{self.name} is {refusal}; {advice}")
            if told != str(refusal):
                told = str(refusal)
                self.tell(f"{self.name}: waiting: {told}")
            time.sleep(_ASK_AGAIN_S)

    def _missing_rights(self) -> str:
        if self.is_root():
            return ""
        advice = "log in as root, or let the user become root with sudo (`ssh.sudo_password`)"
        return f"\nit takes root's rights: {advice}\n{self.why_not_root}".rstrip()

    def _clean(self) -> None:
        """Undo what dead runs left. Raises HostError."""
        for left in self.engine.leftovers():
            remarks = self.engine.clean(left.run)
            what = [f"{name} ({pid})" for pid, name in left.processes]
            what += list(map(str, left.changes))
            self.tell(
                f"{self.name}: removed what run {left.run} left: "
                f"{', '.join(what) or 'its directory'}"
            )
            for remark in remarks:
                self._remark(remark)

    def _remark(self, remark: str) -> None:
        self.transcript.note(self.name, f"[{remark}]")
        self.tell(f"{self.name}: {remark}")

    # --- commands and programs ---

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | bytes = "",
        timeout_s: float = 30.0,
        check: bool = True,
        why: str = "",
    ) -> Completed:
        began = time.monotonic()

        def note(status: object, output: str) -> None:
            seconds = time.monotonic() - began
            self.transcript.command(
                self.name, argv, status=status, output=output, seconds=seconds, why=why
            )

        given = stdin.encode() if isinstance(stdin, str) else stdin
        try:
            ended = self.engine.run(argv, given, timeout_s)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            note("not started", f"{reason}\n")
            missing = isinstance(error, FileNotFoundError)
            what = "there is no program" if missing else f"{reason}:"
            raise HostError(f"{self.name}: {what} `{argv[0]}`") from None
        output = ended.output.decode(errors="replace")
        note(ended.why if ended.status is None else ended.status, output)
        if ended.status is None:
            raise HostError(
                f"{self.name}: `{shlex.join(argv)}` {ended.why}; it said:\n{output[-2000:]}"
            )
        if check and ended.status:
            raise HostError(
                f"{self.name}: `{shlex.join(argv)}` failed with status {ended.status}:\n"
                f"{output[-2000:].rstrip()}"
            )
        return Completed(tuple(argv), ended.status, output, ended.output)

    def ask(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 30.0,
        check: bool = True,
        why: str = "",
    ) -> Completed:
        return self.run(argv, timeout_s=timeout_s, check=check, why=why)

    def spawn(
        self, argv: Sequence[str], *, name: str, stop_with: str = "", why: str = ""
    ) -> HostProcess:
        if not self.which(argv[0]):
            raise HostError(f"{self.name}: there is no program `{argv[0]}`")
        log = self.transcript.program(self.name, name, argv, why=why)
        try:
            child = self.engine.spawn(argv, name)
        except OSError as error:
            log.close()
            raise HostError(f"{self.name}: cannot start `{argv[0]}`: {error.strerror}") from None
        return HostProcess(self, child, name, stop_with, log)

    def is_root(self) -> bool:
        return self.engine.uid() == 0

    def which(self, program: str) -> str | None:
        return self.engine.which(program)

    def python(self, module: str) -> list[str]:
        package = Path(__file__).parent.parent.parent
        return ["env", f"PYTHONPATH={package}", sys.executable, "-m", module]

    # --- files and sockets ---

    def read_text(self, path: str) -> str:
        return self.engine.read(path).decode(errors="replace")

    def read_texts(self, pattern: str) -> Mapping[str, str]:
        found = self.engine.read_all(pattern)
        return {path: data.decode(errors="replace") for path, data in found.items()}

    def read_link(self, path: str) -> str:
        return self.engine.read_link(path)

    def write_text(self, path: str, text: str) -> None:
        self.transcript.note(self.name, f"[writes {path}: {text!r}]")
        self.engine.write(path, text.encode())

    def read_bytes(self, path: str) -> bytes:
        return self.engine.read(path)

    def write_bytes(self, path: str, data: bytes) -> None:
        self.transcript.note(self.name, f"[writes {path}: {len(data)} bytes]")
        self.engine.write(path, data)

    def exists(self, path: str) -> bool:
        return self.engine.exists(path)

    def glob(self, pattern: str) -> list[str]:
        return self.engine.glob(pattern)

    @contextlib.contextmanager
    def changing(self, change: Change) -> Iterator[None]:
        try:
            self.engine.note(change)
        except OSError as error:
            raise HostError(f"{self.name}: no undo journal, so no changes: {error}") from None
        try:
            yield
        finally:
            try:
                remark = self.engine.undo(change)
            except OSError as error:
                raise HostError(f"{self.name}: cannot undo {change}: {error}") from error
            if remark:
                self._remark(remark)

    def connect(self, address: str | int) -> socket.socket:
        try:
            return self.engine.connect(address)
        except OSError as error:
            reason = error.strerror or error
            raise HostError(f"{self.name}: cannot connect to {address}: {reason}") from None

    @contextlib.contextmanager
    def console(self, path: str, name: str) -> Iterator[Console]:
        stream = self.connect(path)
        log = self.transcript.program(self.name, name, ["connect", path])

        def write(data: bytes) -> None:
            if stream.send(data, socket.MSG_DONTWAIT) != len(data):
                raise BlockingIOError("it has stopped reading")

        console = Console(name, lambda: stream.recv(65536), write, log)
        try:
            yield console
        finally:
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)  # the reader sees the end
            console.close()
            stream.close()


def _is_gone(owner: Owner) -> bool:
    """Whether the pytest that an agent works for was one of this machine's, and has died."""
    program = owner.claimant.program
    return program.is_here and not program.alive


def whoami() -> str:
    """Who asks, for those who find a host in use: `user@machine`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's nameless user
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
