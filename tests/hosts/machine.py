"""This machine as a host, with state and cache of a test's own."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript

DEADLINE_S = 60.0
"""For what takes a moment, on a machine that may be very busy [s]."""

_serial = itertools.count()


@contextlib.contextmanager
def machine(logs: Path) -> Iterator[LocalHost]:
    """Transcript and logs go to `logs`, sockets to a short path."""
    with tempfile.TemporaryDirectory(prefix="vswitch-", dir="/var/tmp") as state:
        run_id = f"t{os.getpid()}-{next(_serial)}"
        host = LocalHost(run_id, Transcript(logs), Path(state) / "state")
        host.cache = f"{state}/cache"
        with host:
            yield host


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Raise TimeoutError, naming `what`, if it does not come true in a generous time."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {DEADLINE_S:g} s")
        time.sleep(0.01)  # polls


def running(pid: int) -> bool:
    """Whether that process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False
