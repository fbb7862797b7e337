"""The host's disk fills up, its clock jumps, it is booted again, its power fails."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable

import pytest

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import changes
from tests.machines import faults
from tests.machines.fixtures import MakeMachine
from tests.machines.machine import Machine
from tests.remote.conftest import furnished
from tests.remote.door import (
    FILE,
    HASTY_S,
    KERNEL_FILES,
    KNOB,
    MADE,
    Facts,
    at_work,
    failing,
    looked_at,
    opened,
    wait_until_as_found,
)

Befall = Callable[[Machine], None]

FULL = "No space left on device"
READ_ONLY = "Read-only file system"


@pytest.mark.parametrize(
    ("spoil", "mend", "why"),
    [
        (faults.fill_disk, faults.empty_disk, FULL),
        (faults.read_only, faults.writable, READ_ONLY),
    ],
)
def test_where_no_journal_can_be_kept_nothing_is_changed(
    dut: Machine, before: Facts, spoil: Befall, mend: Befall, why: str
) -> None:
    spoil(dut)
    words = f"cannot keep a journal there, so nothing is changed: .*{why}"
    with failing(words), opened(dut):
        pytest.fail("it is held")
    with looked_at(dut) as host:  # leaves no file, so needs no room
        assert host.run(["echo", "here"]).output == "here\n"
    mend(dut)
    with opened(dut) as host, at_work(host):
        pass
    wait_until_as_found(dut, before)


@pytest.mark.parametrize("path", ["/run", "/tmp", "/dev/shm"])
def test_where_nothing_is_written_may_be_full(dut: Machine, before: Facts, path: str) -> None:
    """Nor is there need of room where a run's sockets are."""
    faults.fill_disk(dut, path)
    with opened(dut) as host, at_work(host) as program:
        program.write("here\n")
        program.read_until(re.compile("here\n"), timeout_s=60, what="echo")
    faults.empty_disk(dut, path)
    wait_until_as_found(dut, before)


def test_a_disk_that_is_full_in_mid_run(dut: Machine, before: Facts) -> None:
    """No change is made that cannot be undone; what was changed is undone once there is room."""
    with (
        failing(FULL) as said,
        opened(dut) as host,
        at_work(host),
    ):
        faults.fill_disk(dut)
        with (
            failing(f"no undo journal, so no changes: .*{FULL}"),
            contextlib.ExitStack() as changed,
        ):
            for value in range(2, 1000):  # the last block of the journal has room for some
                changed.enter_context(changes.rewriting(host, KNOB, f"{value}\n"))
    assert not (dut.root / MADE[1:]).exists()
    assert FILE in said[0]
    faults.empty_disk(dut)
    with opened(dut, "run-2"):
        pass
    wait_until_as_found(dut, before)


def test_a_root_that_turns_read_only_in_mid_run(dut: Machine, before: Facts) -> None:
    """As after an error of the disk."""
    with failing(READ_ONLY), opened(dut) as host, at_work(host):
        faults.read_only(dut)
        with (
            failing(f"no undo journal, so no changes: .*{READ_ONLY}"),
            changes.rewriting(host, KNOB, "2\n"),
        ):
            pytest.fail("it was changed")
    faults.writable(dut)
    with opened(dut, "run-2"):
        pass
    wait_until_as_found(dut, before)


@pytest.mark.parametrize("hours", [-1, 1])
@pytest.mark.usefixtures("hasty")
def test_a_clock_that_jumps(machines: MakeMachine, hours: int) -> None:
    """No deadline is by the clock: none ends early, each ends."""
    dut = furnished(machines("dut", faketime=True, kernel_files=KERNEL_FILES))
    # Under libfaketime, not under any clock, clock_nanosleep does not work (EINVAL).
    (start,) = (dut.root / "etc").glob("python3*/sitecustomize.py")
    start.write_text("import select, time\ntime.sleep = lambda s: select.select([], [], [], s)\n")
    before = dut.snapshot()
    with opened(dut, reconnect_s=HASTY_S) as host, at_work(host) as program:
        assert "FAKETIME" in host.run(["env"]).output
        faults.shift_clock(dut, hours)
        shifted = int(host.run(["date", "+%s"]).output) - time.time()
        assert abs(shifted - hours * 3600) < 600
        with failing(r"did not end within 0.5 s"):
            host.run(["sleep", "1000"], timeout_s=0.5)
        assert program.status(within_s=0.5) is None
        program.write("here\n")
        program.read_until(re.compile("here\n"), timeout_s=60, what="echo")
        # Longer than the agent waits for a controller of which it hears nothing.
        host.run(["python3", "-c", f"import time; time.sleep({2 * HASTY_S})"])
    with contextlib.suppress(HostError), opened(dut, reconnect_s=HASTY_S) as host, at_work(host):
        faults.shift_clock(dut, 0)
        dut.kill_sshd()
        host.run(["true"])
    wait_until_as_found(dut, before)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("orderly", [True, False], ids=["reboot", "power cut"])
def test_a_host_that_is_booted_again(dut: Machine, before: Facts, orderly: bool) -> None:
    with (
        failing(rf"root@{dut.address}: lost .*it has been booted again"),
        opened(dut) as host,
        at_work(host),
    ):
        if orderly:
            dut.reboot()
        else:
            dut.power_off()
            dut.boot()
        host.run(["true"])
    assert (dut.root / FILE[1:]).read_text() == "ours"
    with looked_at(dut) as host:
        (left,) = host.engine.leftovers()
        assert left.rebooted
        # Newest first; what is in memory only is forgotten with the boot.
        assert [change.path for change in left.changes] == [MADE, FILE]
        assert host.engine.clean(left.run) == []
    wait_until_as_found(dut, before)


@pytest.mark.usefixtures("hasty")
def test_a_host_whose_power_stays_off(dut: Machine, before: Facts) -> None:
    with (
        failing(rf"root@{dut.address}: lost \d+ s ago: .*no answer from"),
        opened(dut, reconnect_s=HASTY_S) as host,
        at_work(host),
    ):
        dut.power_off()
        host.run(["true"])
    dut.boot()
    told: list[str] = []
    with opened(dut, "run-2", tell=told.append):
        pass
    assert f"removed what run run-1 left: {MADE} (made), {FILE} (rewrote" in told[0]
    wait_until_as_found(dut, before)
