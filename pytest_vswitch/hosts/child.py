"""A program on this machine and all that it starts.

Runs on the DUT too, within the agent: standard library only, Python 3.8.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from typing import Mapping, Sequence

from pytest_vswitch.errors import HostError

GRACE_S = 1.5
"""How long a program may take to end by itself before it is killed [s]."""

TAKE_S = 5.0
"""How long a program may take to read what is written to it [s]."""

REACT_S = 10.0
"""How long the kernel may take to end a killed program [s]."""


# The kernel kills it with its parent from the moment that this is asked for; a parent that
# died just before is told by its number.
_TIED = (
    *("setpriv", "--pdeathsig", "KILL", "--", "sh", "-c"),
    '[ "$PPID" = "$0" ] || exit 1; exec "$@"',
)


class Child:
    """One program, with its output and error as one stream."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], name: str) -> None:
        """Start it, from a thread that lives as long as it shall. Raises OSError."""
        self.name = name
        # A group of its own: Ctrl-C is for who started it, and who then ends it in order.
        self._popen = subprocess.Popen(
            [*_TIED, str(os.getpid()), *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
            bufsize=0,
        )
        assert self._popen.stdin is not None
        # A program that no longer reads must not block who writes to it.
        os.set_blocking(self._popen.stdin.fileno(), False)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def read(self) -> bytes:
        """The next output; nothing at its end. For one thread only."""
        assert self._popen.stdout is not None
        data: bytes = self._popen.stdout.read(65536)
        # Only the reader closes it: a process that left the group may hold the other end, and
        # a reader that still waits would go on with whatever file got the same number.
        if not data:
            self._popen.stdout.close()
        return data

    def write(self, data: bytes) -> None:
        """To its standard input, as fast as it reads. Raises OSError if it does not."""
        pipe = self._popen.stdin
        assert pipe is not None
        rest = memoryview(data)
        while rest:
            rest = rest[pipe.write(rest) or 0 :]
            if rest and not select.select([], [pipe], [], TAKE_S)[1]:
                raise BlockingIOError("it has stopped reading")

    def status(self, within_s: float = 0.0) -> int | None:
        """Exit status (negative: the signal), or None while it runs; waits up to `within_s`."""
        if self._popen.returncode is not None:
            return self._popen.returncode
        deadline = time.monotonic() + within_s
        # Not reaped before `stop`, so that its group keeps its number until then.
        while True:
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is not None:
                by_itself = ended.si_code == os.CLD_EXITED
                return ended.si_status if by_itself else -ended.si_status
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._wait(left)

    def signal(self, number: int) -> None:
        if self.status() is None:
            os.kill(self.pid, number)

    def stop(self, stop_with: bytes) -> float:
        """Ask it to end, wait `GRACE_S`, then kill it and all it started; how long that took [s].

        Raises HostError if even that does not end it. Done twice it does no harm.
        """
        if self._popen.returncode is not None:
            return 0.0
        began = time.monotonic()
        try:
            if self.status() is None:
                self._ask_to_end(stop_with)
        finally:
            os.killpg(self.pid, signal.SIGKILL)
        try:
            self._popen.wait(REACT_S)
        except subprocess.TimeoutExpired:
            raise HostError(f"{self.name} (pid {self.pid}) cannot be killed") from None
        assert self._popen.stdin is not None
        with contextlib.suppress(OSError):
            self._popen.stdin.close()
        return time.monotonic() - began

    def _ask_to_end(self, stop_with: bytes) -> None:
        if stop_with:
            with contextlib.suppress(OSError):
                self.write(stop_with)
        else:
            os.kill(self.pid, signal.SIGTERM)
        self.status(within_s=GRACE_S)

    def _wait(self, within_s: float) -> None:
        if not hasattr(os, "pidfd_open"):  # before Python 3.9
            time.sleep(min(within_s, 0.01))
            return
        handle = os.pidfd_open(self.pid)
        try:
            select.select([handle], [], [], within_s)
        finally:
            os.close(handle)
