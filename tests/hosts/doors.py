"""Every way to a host, for what must be the same behind each: `DOORS`, by name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from pytest_vswitch.hosts.open_host import OpenHost
from tests.hosts.machine import machine
from tests.hosts.pipes import piped

Door = Callable[[Path], AbstractContextManager[OpenHost]]
"""Opens a host for a run; transcript and logs go to that directory."""

DOORS: dict[str, Door] = {"local": machine, "agent": piped}
