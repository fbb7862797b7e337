"""Another host's engine, as if it were here: each call is a request to its agent."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import wire
from pytest_vswitch.hosts.child import GRACE_S, REACT_S, TAKE_S
from pytest_vswitch.hosts.engine import Ended
from pytest_vswitch.hosts.leftovers import Leftover
from pytest_vswitch.hosts.link import Link
from pytest_vswitch.hosts.reservation import (
    LEAVE_S,
    Claimant,
    Owner,
    Refusal,
    claimant_of,
    owner_of,
)
from pytest_vswitch.hosts.undo import Change

UNDO_S = 120.0
"""How long a host may take to undo what a run changed [s]."""


class RemoteChild:
    """A program on another host; see `child.Child`."""

    def __init__(self, link: Link, number: int, pid: int) -> None:
        self._link = link
        self._number = number
        self._output = link.output(number)
        self._status: int | None = None
        self.pid = pid

    def read(self) -> bytes:
        return self._output.get()

    def write(self, data: bytes) -> None:
        with _as_os_error():
            for start in range(0, len(data), wire.CHUNK):
                chunk = data[start : start + wire.CHUNK]
                self._link.call("write", chunk, of=self._number, timeout_s=TAKE_S)

    def status(self, within_s: float = 0.0) -> int | None:
        if self._status is None:
            self._status, _ = self._link.call(
                "status", of=self._number, within_s=within_s, timeout_s=within_s
            )
        return self._status

    def signal(self, number: int) -> None:
        self._link.call("signal", of=self._number, number=number)

    def stop(self, stop_with: bytes) -> float:
        ended, _ = self._link.call(
            "stop", stop_with, of=self._number, timeout_s=GRACE_S + TAKE_S + REACT_S
        )
        self._status = ended["status"]
        return float(ended["seconds"])


class RemoteEngine:
    """The engine behind a link; see `engine.LocalEngine`. Raises HostError when it is lost."""

    def __init__(self, link: Link, reconnect_s: float) -> None:
        self._link = link
        self._reconnect_s = reconnect_s
        try:
            facts, _ = link.call("facts")
        except BaseException:
            link.close()
            raise
        self._uid = int(facts["uid"])
        self._boot_id = facts["boot_id"]
        self.scratch: str = facts["scratch"]
        self.python: str = facts["executable"]
        """Path of the Python that the agent runs on."""

    # --- programs ---

    def run(
        self,
        argv: Sequence[str],
        stdin: bytes,
        timeout_s: float,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Ended:
        del cancelled  # Ctrl-C cancels the request
        how, output = self._link.call(
            "run", stdin, argv=list(argv), limit_s=timeout_s, timeout_s=timeout_s
        )
        return Ended(how["status"], output, how["why"])

    def spawn(self, argv: Sequence[str], name: str) -> RemoteChild:
        number = self._link.send("spawn", argv=list(argv), name=name)
        pid, _ = self._link.finish(number, "spawn")
        return RemoteChild(self._link, number, pid)

    def which(self, program: str) -> str | None:
        found: str | None = self._link.call("which", program=program)[0]
        return found

    def uid(self) -> int:
        return self._uid

    # --- files ---

    def read(self, path: str) -> bytes:
        return self._link.call("read", path=path)[1]

    def read_all(self, pattern: str) -> dict[str, bytes]:
        sizes, data = self._link.call("read_all", pattern=pattern)
        found, start = {}, 0
        for path, size in sizes:
            found[path] = data[start : start + size]
            start += size
        return found

    def write(self, path: str, data: bytes) -> None:
        for start in range(0, max(len(data), 1), wire.CHUNK):
            chunk = data[start : start + wire.CHUNK]
            self._link.call("put", chunk, path=path, append=start > 0)

    def append(self, path: str, data: bytes) -> None:
        for start in range(0, len(data), wire.CHUNK):
            self._link.call("put", data[start : start + wire.CHUNK], path=path, append=True)

    def read_link(self, path: str) -> str:
        return str(self._link.call("read_link", path=path)[0])

    def exists(self, path: str) -> bool:
        return bool(self._link.call("exists", path=path)[0])

    def glob(self, pattern: str) -> list[str]:
        return list(self._link.call("glob", pattern=pattern)[0])

    def connect(self, address: str | int) -> socket.socket:
        number = self._link.send("connect", address=address)
        self._link.finish(number, "connect")
        ours, theirs = socket.socketpair()
        _join(self._link, number, theirs)
        return ours

    # --- the run's hold on the host ---

    def claim(self, claimant: Claimant, queue: bool) -> Refusal | None:
        refused, _ = self._link.call("claim", claimant=asdict(claimant), queue=queue)
        if refused is None:
            given = {"attach": f"{self.scratch}/agent", "boot_id": self._boot_id}
            self._link.keep(given, self._reconnect_s)
            return None
        owner = refused["owner"]
        before = tuple(map(claimant_of, refused["before"]))
        return Refusal(owner_of(owner) if owner else None, before)

    def release(self) -> list[str]:
        return list(self._link.call("release", timeout_s=UNDO_S)[0])

    def taken(self) -> str:
        return str(self._link.call("taken")[0])

    def note(self, change: Change) -> None:
        self._link.call("note", change=asdict(change))

    def undo(self, change: Change) -> str:
        return str(self._link.call("undo", change=asdict(change), timeout_s=UNDO_S)[0])

    # --- other runs ---

    def owners(self) -> list[Owner]:
        return [owner_of(fields) for fields in self._link.call("owners")[0]]

    def queue(self) -> list[Claimant]:
        return [claimant_of(fields) for fields in self._link.call("queue")[0]]

    def leftovers(self) -> list[Leftover]:
        return [
            Leftover(
                fields["run"],
                tuple((pid, program) for pid, program in fields["processes"]),
                tuple(Change(**change) for change in fields["changes"]),
                Path(fields["directory"]),
                fields["rebooted"],
            )
            for fields in self._link.call("leftovers")[0]
        ]

    def clean(self, run: str) -> list[str]:
        return list(self._link.call("clean", run=run, timeout_s=UNDO_S)[0])

    def evict(self, run: str, by: str, force: bool) -> None:
        self._link.call("evict", run=run, by=by, force=force, timeout_s=2 * LEAVE_S)

    def close(self) -> None:
        """End the agent, too."""
        self._link.close()


def _join(link: Link, number: int, end: socket.socket) -> None:
    """Pass bytes between a stream of the agent's and a socket here, until either ends."""

    def inwards(output: queue.SimpleQueue[bytes]) -> None:
        with contextlib.suppress(OSError):
            while data := output.get():
                end.sendall(data)
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)

    def outwards() -> None:
        with contextlib.suppress(OSError, HostError):
            while data := end.recv(wire.CHUNK):
                link.call("write", data, of=number, timeout_s=TAKE_S)
        with contextlib.suppress(OSError, HostError):
            link.call("close", of=number)
        end.close()

    for work, arguments in ((inwards, (link.output(number),)), (outwards, ())):
        threading.Thread(
            target=work, args=arguments, name=f"{link.name} stream {number}", daemon=True
        ).start()


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    """A console takes every failure of its program's input for an OSError."""
    try:
        yield
    except HostError as error:
        raise OSError(str(error)) from None
