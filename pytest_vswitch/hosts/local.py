"""This machine, as a host: its processes, files and sockets."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.console import Console
from pytest_vswitch.hosts.host import Completed
from pytest_vswitch.hosts.leftovers import MARK, STATE, claim, kill_marked
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.hosts.undo import Change, UndoJournal

GRACE_S = 1.5
"""How long a program may take to end by itself before it is killed [s]."""


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
        output = self._popen.stdout.fileno()
        self.console = Console(name, lambda: os.read(output, 65536), self._popen.stdin.write, log)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def write(self, text: str) -> None:
        self.console.write(text)

    def read_until(self, pattern: re.Pattern[str], *, timeout_s: float, what: str) -> str:
        return self.console.read_until(pattern, timeout_s=timeout_s, what=what)

    def status(self) -> int | None:
        return self._popen.poll()

    def tail(self, lines: int = 15) -> str:
        return self.console.tail(lines)

    def stop(self) -> None:
        """Ask it to end, wait `GRACE_S`, then kill it and all it started."""
        began = time.monotonic()
        if self.status() is None:
            with contextlib.suppress(OSError):
                if self._stop_with and self._popen.stdin:
                    self._popen.stdin.write(self._stop_with.encode())
                else:
                    self._popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(GRACE_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
        self.console.close()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._host.transcript.note(
            self._host.name,
            f"[{self.name} ended: status {self.status()}, "
            f"{time.monotonic() - began:.3f} s to stop]",
        )

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
        kill_marked(self._run_id)
        for change in self._undo.pending():
            with contextlib.suppress(OSError):
                self._undo.undo(change)
        shutil.rmtree(self._directory, ignore_errors=True)

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str = "",
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
            done = subprocess.run(
                list(argv),
                input=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                env=self.environment,
                start_new_session=True,
                encoding="utf-8",
                errors="replace",
            )
        except subprocess.TimeoutExpired as expired:
            output = (expired.stdout or b"").decode(errors="replace")
            note("killed", output)
            raise HostError(
                f"{self.name}: `{shlex.join(argv)}` did not end within {timeout_s:g} s; "
                f"it said:\n{output[-2000:]}"
            ) from None
        except FileNotFoundError:
            raise HostError(f"{self.name}: there is no program `{argv[0]}`") from None
        note(done.returncode, done.stdout)
        if check and done.returncode:
            raise HostError(
                f"{self.name}: `{shlex.join(argv)}` failed with status {done.returncode}:\n"
                f"{done.stdout[-2000:].rstrip()}"
            )
        return Completed(tuple(argv), done.returncode, done.stdout)

    def spawn(self, argv: Sequence[str], *, name: str, stop_with: str = "") -> LocalProcess:
        if not self.which(argv[0]):
            raise HostError(f"{self.name}: there is no program `{argv[0]}`")
        return LocalProcess(self, argv, name, stop_with)

    def is_root(self) -> bool:
        return os.geteuid() == 0

    def which(self, program: str) -> str | None:
        return shutil.which(program)

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
        self._undo.note(change)
        try:
            yield
        finally:
            self._undo.undo(change)

    def connect(self, path: str) -> socket.socket:
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            stream.connect(path)
        except OSError as error:
            stream.close()
            raise HostError(f"{self.name}: cannot connect to {path}: {error.strerror}") from None
        return stream

    @contextlib.contextmanager
    def console(self, path: str, name: str) -> Iterator[Console]:
        stream = self.connect(path)
        log = self.transcript.program(self.name, name, ["connect", path])
        console = Console(name, lambda: stream.recv(65536), stream.sendall, log)
        try:
            yield console
        finally:
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
            stream.close()
            console.close()
