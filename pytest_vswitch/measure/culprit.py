"""Who died says more than who noticed it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from pytest_vswitch.errors import DutError
from pytest_vswitch.topologies.topology import Topology

_DYING_S = 1.0
"""A program's connections close before it has ended: the kernel frees its memory between."""


@contextlib.contextmanager
def named(topology: Topology) -> Iterator[None]:
    """In place of a DutError of the block, raise that of the program which ended, if one did.

    For what meets a program's death at the other end of a socket.
    """
    try:
        yield
    except DutError:
        deadline = time.monotonic() + _DYING_S
        while time.monotonic() < deadline:
            topology.check_alive()
            time.sleep(0.02)  # the condition: a program has ended
        raise
