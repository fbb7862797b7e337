"""A pytest plugin: memif ports get none of the options that a test gives them.

But their role and their socket, without which there is no link.
"""

from __future__ import annotations

from pytest_vswitch.apps import memif
from pytest_vswitch.topologies import memif_link


def _device(port: memif.Options, number: int) -> str:
    return f"net_memif{number},role={port.role},id=0,socket={port.socket},socket-abstract=no"


setattr(memif.Options, "device", _device)  # noqa: B010 (mypy: a method)
# What is waited for will not come.
setattr(memif_link, "_WAIT_S", 4.0)  # noqa: B010 (mypy: it is final)
