"""A program on a host: its console, its log, its end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, BinaryIO, Protocol

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.console import Console

if TYPE_CHECKING:
    from pytest_vswitch.hosts.open_host import OpenHost


class EngineChild(Protocol):
    """A program that an engine started; see `child.Child`."""

    @property
    def pid(self) -> int: ...
    def read(self) -> bytes: ...
    def write(self, data: bytes) -> None: ...
    def status(self, within_s: float = 0.0) -> int | None: ...
    def signal(self, number: int) -> None: ...
    def stop(self, stop_with: bytes) -> float: ...


class HostProcess:
    """A program on a host; see `hosts.host.Process`."""

    def __init__(
        self, host: OpenHost, child: EngineChild, name: str, stop_with: str, log: BinaryIO
    ) -> None:
        self.name = name
        self._host = host
        self._child = child
        self._stop_with = stop_with
        self._stopped = False
        self.console = Console(name, child.read, child.write, log)

    @property
    def pid(self) -> int:
        return self._child.pid

    def write(self, text: str, *, why: str = "") -> None:
        self.console.write(text, why=why)

    def read_until(self, pattern: re.Pattern[str], *, timeout_s: float, what: str) -> str:
        return self.console.read_until(pattern, timeout_s=timeout_s, what=what)

    def status(self, *, within_s: float = 0.0) -> int | None:
        return self._child.status(within_s)

    def signal(self, number: int) -> None:
        self._child.signal(number)

    def pin(self, thread: str, cpu: int, *, why: str = "") -> None:
        names = self._host.read_texts(f"/proc/{self.pid}/task/*/comm")
        found = [path.split("/")[-2] for path, name in names.items() if name.strip() == thread]
        if not found:
            raise HostError(f"{self._host.name}: {self.name} has no thread `{thread}`")
        self._host.run(["taskset", "-cp", str(cpu), *found[:1]], why=why)

    def tail(self, lines: int = 15) -> str:
        return self.console.tail(lines)

    def stop(self) -> None:
        """Ask it to end, wait a moment, then kill it and all it started.

        Raises HostError if even that does not end it. Done twice it does no harm.
        """
        if self._stopped:
            return
        self._stopped = True
        try:
            seconds = self._child.stop(self._stop_with.encode())
        finally:
            self.console.close()
        self._host.transcript.note(
            self._host.name,
            f"[{self.name} ended: status {self.status()}, {seconds:.3f} s to stop]",
        )

    def __enter__(self) -> HostProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
