"""A host behind an agent, without SSH: the agent's pipes are a child's of this process."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import bootstrap
from pytest_vswitch.hosts.link import Link, begin
from pytest_vswitch.hosts.opening import RemoteHost
from pytest_vswitch.hosts.remote import RemoteEngine
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.hosts.wire import Unpacker
from tests.hosts.machine import DEADLINE_S, running, wait_until

_serial = itertools.count()


class Pipe:
    """A shell command by its standard input and output; see `link.Stream`."""

    def __init__(self, command: str) -> None:
        self.process = subprocess.Popen(
            ["sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout

    def read(self, size: int) -> bytes:
        return self._out.read(size) or b""

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._in.write(rest) or 0 :]

    def stderr_tail(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read().decode() if self.process.poll() is not None else ""

    def exit_status(self, within_s: float) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(within_s)
        return None

    def close(self) -> None:
        """As when a connection is lost: at any byte, without a word."""
        self.process.kill()
        self.process.wait(DEADLINE_S)


class Cable:
    """Starts agents and relays; can be cut and mended."""

    def __init__(self, python: str = sys.executable, state: Path | None = None) -> None:
        self._command = bootstrap.COMMAND.replace("python3", python, 1)
        self._state = {"state": str(state)} if state else {}
        self._is_cut = threading.Event()
        self.pipes: list[Pipe] = []

    def open(self, given: Mapping[str, object]) -> tuple[Pipe, Unpacker]:
        if self._is_cut.is_set():
            raise HostError("the cable is cut")
        pipe = Pipe(self._command)
        self.pipes.append(pipe)
        return pipe, begin(pipe, {**given, **self._state})

    def blink(self) -> None:
        """Lose the connection of now; the next can be had at once."""
        self.pipes[-1].close()

    def cut(self) -> None:
        self._is_cut.set()
        self.blink()

    def mend(self) -> None:
        self._is_cut.clear()

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.close()
            for end in (pipe.process.stdin, pipe.process.stdout, pipe.process.stderr):
                assert end is not None
                end.close()


class PipedHost(RemoteHost):
    """This machine, behind an agent."""

    def __init__(
        self, run: str, transcript: Transcript, cable: Cable, reconnect_s: float = DEADLINE_S
    ) -> None:
        self.cable = cable
        self.link = Link("piped", cable.open, {"run": run, "reconnect_s": reconnect_s})
        self._remote = RemoteEngine(self.link, reconnect_s)
        super().__init__("piped", self._remote, run, transcript)
        self.agent = 0
        """Its pid, once the host is held."""

    def append(self, path: str, data: bytes) -> None:
        self._remote.append(path, data)

    def __enter__(self) -> PipedHost:
        super().__enter__()
        (owner,) = self.engine.owners()
        self.agent = owner.pid
        return self


@contextlib.contextmanager
def piped(
    logs: Path, *, python: str = sys.executable, reconnect_s: float = DEADLINE_S
) -> Iterator[PipedHost]:
    """As `machine.machine`, behind an agent; fails if anything is left afterwards."""
    with tempfile.TemporaryDirectory(prefix="vswitch-", dir="/var/tmp") as directory:
        state = Path(directory) / "state"
        cable = Cable(python, state)
        run = f"t{os.getpid()}-pipe{next(_serial)}"
        try:
            host = PipedHost(run, Transcript(logs), cable, reconnect_s)
            try:
                with host:
                    yield host
            finally:
                host.link.close()
                wait_until(lambda: not running(host.agent), "end of the agent")
            assert list(state.iterdir()) == []
        finally:
            cable.close()
