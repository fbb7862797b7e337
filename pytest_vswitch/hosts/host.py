"""The one door to a host: processes, files and sockets, with every change undone.

Nothing outside this package starts a process, opens a socket to a host or
touches its files. Commands are argument lists, never shell strings.
"""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.console import Console
from pytest_vswitch.hosts.undo import Change


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended."""

    argv: tuple[str, ...]
    status: int
    """Exit status; negative: the signal that ended it."""
    output: str
    """Standard output and error as one text, in the order written."""
    raw: bytes = b""
    """The same, as it was written."""


class Process(Protocol):
    """A program that runs on a host until its `with` block ends."""

    @property
    def name(self) -> str:
        """What errors and transcripts call it, e.g. `host testpmd`."""

    @property
    def pid(self) -> int: ...

    def write(self, text: str, *, why: str = "") -> None:
        """To its standard input. Raises DutError if it is gone."""

    def read_until(self, pattern: re.Pattern[str], *, timeout_s: float, what: str) -> str:
        """Output from the last read up to and with `pattern`.

        Raises, with the last output, DutError when the program ends first, DeadlineError
        when `what` (the fact that is waited for) did not appear within `timeout_s`.
        """

    def status(self, *, within_s: float = 0.0) -> int | None:
        """Exit status, or None while it runs; its end is waited for up to `within_s`."""

    def signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""

    def pin(self, thread: str, cpu: int, *, why: str = "") -> None:
        """Pin its thread of that name to a CPU. Raises HostError when it has none."""

    def tail(self, lines: int = 15) -> str:
        """Its last output, for error messages."""

    def __enter__(self) -> Process: ...

    def __exit__(self, *_: object) -> None: ...


def check_runs(process: Process, *, within_s: float = 0.0) -> None:
    """Raise DutError, with its last words, if it is gone, or ends `within_s`."""
    if (status := process.status(within_s=within_s)) is not None:
        last = process.tail().replace("\n", "\n    ")
        raise DutError(
            f"{process.name} is gone (exit status {status}); its last output:\n    {last}"
        )


def end(process: Process, *, within_s: float = 20.0) -> None:
    """SIGKILL; returns when it is gone. Raises DutError if it does not go."""
    process.signal(signal.SIGKILL)
    if process.status(within_s=within_s) is None:
        raise DutError(f"{process.name} outlived SIGKILL for {within_s:g} s")


class Host(Protocol):
    """A machine under test, or beside it."""

    @property
    def name(self) -> str: ...

    @property
    def scratch(self) -> str:
        """Directory on the host for this run's sockets and files; gone afterwards."""

    @property
    def cache(self) -> str:
        """Directory on the host for what later runs can use again."""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | bytes = "",
        timeout_s: float = 30.0,
        check: bool = True,
        why: str = "",
    ) -> Completed:
        """Run to the end. Raises HostError on expiry, and on failure if `check`."""

    def ask(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 30.0,
        check: bool = True,
        why: str = "",
    ) -> Completed:
        """As `run`, for a command that only looks: a plan carries it out, too."""

    def spawn(
        self,
        argv: Sequence[str],
        *,
        name: str,
        stop_with: str = "",
        why: str = "",
    ) -> Process:
        """Start a program that ends with its `with` block; `why`, as with `run`.

        It is asked to end by writing `stop_with` to it (a signal if empty), then killed.
        """

    def is_root(self) -> bool:
        """Whether commands run with root's rights."""

    def which(self, program: str) -> str | None:
        """Path of a program on the host's PATH, or None."""

    def python(self, module: str) -> list[str]:
        """The command that runs a module of this package there, as `python -m` does."""

    def read_text(self, path: str) -> str:
        """Raises OSError."""

    def read_texts(self, pattern: str) -> Mapping[str, str]:
        """The files that match a glob pattern and can be read, by path, in one go."""

    def read_link(self, path: str) -> str:
        """Where a symbolic link leads, every link resolved. Raises OSError."""

    def write_text(self, path: str, text: str) -> None: ...
    def read_bytes(self, path: str) -> bytes: ...
    def write_bytes(self, path: str, data: bytes) -> None: ...
    def exists(self, path: str) -> bool: ...
    def glob(self, pattern: str) -> list[str]: ...

    def changing(self, change: Change) -> AbstractContextManager[None]:
        """Write `change` to the undo journal; the block makes it; its end undoes it."""

    def check_reserved(self) -> None:
        """Raise HostError, naming who took it, when this run no longer holds the host."""

    def connect(self, address: str | int) -> socket.socket:
        """Connect to a Unix stream socket on the host, or to a TCP port of its loopback.

        Raises HostError.
        """

    def console(self, path: str, name: str) -> AbstractContextManager[Console]:
        """Connect to a Unix stream socket that a program talks on; its words are logged."""
