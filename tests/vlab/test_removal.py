"""The end of a virtual DUT: these come last."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.vlab.virtual import NAME, Virtual, seen, wait_for

pytestmark = pytest.mark.vlab


def test_a_killed_supervisor_takes_the_machine_with_it(vlab: Virtual) -> None:
    qemu, supervisor = int(vlab.place.qemu_pid.read_text()), vlab.place.supervisor()
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{qemu}").exists(), "end of QEMU")


def test_down_leaves_nothing(vlab: Virtual) -> None:
    """Verify: no process, namespace, interface or file more than before `lab up`."""
    assert seen(NAME) != vlab.before
    vlab.vswitch("down")
    assert seen(NAME) == vlab.before
