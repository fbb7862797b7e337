"""This machine, as a host: its processes, files and sockets."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.console import Console
from pytest_vswitch.hosts.host import Completed
from pytest_vswitch.hosts.leftovers import MARK, STATE, Leftover, claim, clean
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.hosts.undo import Change, UndoJournal

GRACE_S = 1.5
"""How long a program may take to end by itself before it is killed [s]."""

TAKE_S = 5.0
"""How long a program may take to read what is written to it [s]."""

_REACT_S = 10.0
"""How long the kernel may take to end a killed program, or a program to be connected to [s]."""


class LocalProcess:
    """A program on this machine; see `hosts.host.Process`."""

    def __init__(self, host: LocalHost, argv: Sequence[str], name: str, stop_with: str) -> None:
        self.name = name
        self._host = host
        self._stop_with = stop_with
        log = host.transcript.program(host.name, name, argv)
        # A group of its own: Ctrl-C is for pytest, which then ends its programs in order.
        # The kernel kills it should pytest be killed, so that it does not poll on alone.
        self._popen = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=host.environment,
            bufsize=0,
        )
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        # A program that no longer reads must not block who writes to it.
        os.set_blocking(self._popen.stdin.fileno(), False)
        self.console = Console(name, self._read, self._write, log)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def write(self, text: str) -> None:
        self.console.write(text)

    def read_until(self, pattern: re.Pattern[str], *, timeout_s: float, what: str) -> str:
        return self.console.read_until(pattern, timeout_s=timeout_s, what=what)

    def status(self, *, within_s: float = 0.0) -> int | None:
        if self._popen.returncode is None:
            if within_s:
                handle = os.pidfd_open(self.pid)
                try:
                    select.select([handle], [], [], within_s)
                finally:
                    os.close(handle)
            # Not reaped before `stop`, so that its group keeps its number until then.
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return None
            by_itself = ended.si_code == os.CLD_EXITED
            return ended.si_status if by_itself else -ended.si_status
        return self._popen.returncode

    def signal(self, number: int) -> None:
        if self.status() is None:
            os.kill(self.pid, number)

    def tail(self, lines: int = 15) -> str:
        return self.console.tail(lines)

    def stop(self) -> None:
        """Ask it to end, wait `GRACE_S`, then kill it and all it started.

        Raises HostError if even that does not end it.
        """
        if self._popen.returncode is not None:
            return
        began = time.monotonic()
        try:
            if self.status() is None:
                self._ask_to_end()
        finally:
            os.killpg(self.pid, signal.SIGKILL)
        try:
            self._popen.wait(_REACT_S)
        except subprocess.TimeoutExpired:
            raise HostError(f"{self.name} (pid {self.pid}) cannot be killed") from None
        assert self._popen.stdin is not None
        with contextlib.suppress(OSError):
            self._popen.stdin.close()
        self.console.close()
        self._host.transcript.note(
            self._host.name,
            f"[{self.name} ended: status {self.status()}, "
            f"{time.monotonic() - began:.3f} s to stop]",
        )

    def _ask_to_end(self) -> None:
        if self._stop_with:
            with contextlib.suppress(OSError):
                self._write(self._stop_with.encode())
        else:
            os.kill(self.pid, signal.SIGTERM)
        self.status(within_s=GRACE_S)

    def _read(self) -> bytes:
        assert self._popen.stdout is not None
        data: bytes = self._popen.stdout.read(65536)
        # Only the reader closes it: a process that left the group may hold the other end, and
        # a reader that still waits would go on with whatever file got the same number.
        if not data:
            self._popen.stdout.close()
        return data

    def _write(self, data: bytes) -> None:
        """More than a pipe holds goes in as fast as the program reads."""
        pipe = self._popen.stdin
        assert pipe is not None
        rest = memoryview(data)
        while rest := rest[pipe.write(rest) or 0 :]:
            if not select.select([], [pipe], [], TAKE_S)[1]:
                raise BlockingIOError("it has stopped reading")

    def __enter__(self) -> LocalProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class LocalHost:
    """This machine, for one run; see `hosts.host.Host`. What it changed ends with its block."""

    name = "local"
    cache = "/var/cache/pytest-vswitch"

    def __init__(self, run_id: str, transcript: Transcript, state: Path = STATE) -> None:
        self.transcript = transcript
        self.environment = {**os.environ, "LC_ALL": "C.UTF-8", MARK: run_id}
        self._run_id = run_id
        self._directory = state / run_id
        self._undo = UndoJournal(self._directory / "undo.jsonl")

    @property
    def scratch(self) -> str:
        return str(self._directory)

    def __enter__(self) -> LocalHost:
        claim(self._directory)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Raises HostError when something stays; `vswitch doctor` then still knows of it."""
        clean(Leftover(self._run_id, (), tuple(self._undo.pending()), self._directory))

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

        try:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )
        except OSError as error:
            note("not started", f"{error.strerror}\n")
            missing = isinstance(error, FileNotFoundError)
            what = "there is no program" if missing else f"{error.strerror}:"
            raise HostError(f"{self.name}: {what} `{argv[0]}`") from None
        with process:
            try:
                given = stdin.encode() if isinstance(stdin, str) else stdin
                raw, _ = process.communicate(given, timeout_s)
                output = raw.decode(errors="replace")
            except subprocess.TimeoutExpired:
                output = _kill(process)
                note("killed", output)
                raise HostError(
                    f"{self.name}: `{shlex.join(argv)}` did not end within {timeout_s:g} s; "
                    f"it said:\n{output[-2000:]}"
                ) from None
            except BaseException:  # Ctrl-C
                _kill(process)
                raise
        note(process.returncode, output)
        if check and process.returncode:
            raise HostError(
                f"{self.name}: `{shlex.join(argv)}` failed with status {process.returncode}:\n"
                f"{output[-2000:].rstrip()}"
            )
        return Completed(tuple(argv), process.returncode, output, raw)

    def ask(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 30.0,
        check: bool = True,
        why: str = "",
    ) -> Completed:
        return self.run(argv, timeout_s=timeout_s, check=check, why=why)

    def spawn(self, argv: Sequence[str], *, name: str, stop_with: str = "") -> LocalProcess:
        if not self.which(argv[0]):
            raise HostError(f"{self.name}: there is no program `{argv[0]}`")
        return LocalProcess(self, argv, name, stop_with)

    def is_root(self) -> bool:
        return os.geteuid() == 0

    def which(self, program: str) -> str | None:
        return shutil.which(program)

    def python(self, module: str) -> list[str]:
        package = Path(__file__).parent.parent.parent
        return ["env", f"PYTHONPATH={package}", sys.executable, "-m", module]

    def read_texts(self, pattern: str) -> Mapping[str, str]:
        found = {}
        for path in self.glob(pattern):
            with contextlib.suppress(OSError):
                found[path] = self.read_text(path)
        return found

    def read_link(self, path: str) -> str:
        return os.path.realpath(path, strict=True)

    def read_text(self, path: str) -> str:
        return Path(path).read_text(errors="replace")

    def write_text(self, path: str, text: str) -> None:
        self.transcript.note(self.name, f"[writes {path}: {text!r}]")
        Path(path).write_text(text)

    def read_bytes(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def write_bytes(self, path: str, data: bytes) -> None:
        self.transcript.note(self.name, f"[writes {path}: {len(data)} bytes]")
        Path(path).write_bytes(data)

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def glob(self, pattern: str) -> list[str]:
        return sorted(glob.glob(pattern))

    @contextlib.contextmanager
    def changing(self, change: Change) -> Iterator[None]:
        try:
            self._undo.note(change)
        except OSError as error:
            raise HostError(f"{self.name}: no undo journal, so no changes: {error}") from None
        try:
            yield
        finally:
            try:
                self._undo.undo(change)
            except OSError as error:
                raise HostError(f"{self.name}: cannot undo {change}: {error}") from error

    def check_reserved(self) -> None:
        pass

    def connect(self, address: str | int) -> socket.socket:
        family = socket.AF_INET if isinstance(address, int) else socket.AF_UNIX
        stream = socket.socket(family, socket.SOCK_STREAM)
        stream.settimeout(_REACT_S)
        try:
            stream.connect(("127.0.0.1", address) if isinstance(address, int) else address)
        except OSError as error:
            stream.close()
            reason = error.strerror or error
            raise HostError(f"{self.name}: cannot connect to {address}: {reason}") from None
        stream.settimeout(None)
        return stream

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


def _kill(process: subprocess.Popen[bytes]) -> str:
    """Kill it and all it started; what it said."""
    os.killpg(process.pid, signal.SIGKILL)
    try:
        return process.communicate(timeout=_REACT_S)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:  # who left the group may hold the pipe
        return "(its output is still held open)"
