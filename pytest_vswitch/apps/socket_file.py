"""Wait for the socket that a program listens on: the sign that it can be asked."""

from __future__ import annotations

import time

from pytest_vswitch.hosts.host import Host, Process

_LOOK_S = 0.02


def appears(host: Host, process: Process, path: str, *, timeout_s: float) -> bool:
    """Whether it is there before the program has ended and the time is over."""
    deadline = time.monotonic() + timeout_s
    while not host.exists(path):
        if process.status() is not None or time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_S)  # polls for a file
    return True
