"""What a dead run has changed on a virtual DUT is put back: after kill -9, and after power cuts.

With VLAB_EVERY_STEP=1 in the environment, the power is cut after each step of `at_work`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pytest_vswitch import cli
from pytest_vswitch.lab import loader
from tests.machines.disk import PROJECT
from tests.vlab.at_work import RUN, STEPS
from tests.vlab.virtual import Virtual, differences, wait_for

pytestmark = pytest.mark.vlab

OWNER = f"/var/lib/pytest-vswitch/{RUN}/owner.json"

VOLATILE = ("/run/pytest-vswitch", "/tmp", "/dev/shm")
KEPT = ("/etc", "/root", "/srv", "/usr/local", "/var/lib/pytest-vswitch")
"""Directories that a boot makes anew, and some that it does not."""

CUT_AFTER = tuple(STEPS) if os.environ.get("VLAB_EVERY_STEP") else ("functions", "program")


@contextlib.contextmanager
def at_work(
    vlab: Virtual, *, last: str = "program", reconnect_s: float = 300.0
) -> Iterator[subprocess.Popen[str]]:
    """A controller whose run has changed the DUT up to the step `last`; killed at the end."""
    vlab.ask("modprobe", "vfio-pci")
    lab = loader.load(vlab.lab)
    assert lab.dut.ssh is not None
    ssh = lab.dut.ssh.model_copy(update={"reconnect_s": reconnect_s})
    argv = [sys.executable, "-m", "tests.vlab.at_work", lab.dut.host, ssh.model_dump_json(), last]
    with subprocess.Popen(
        argv, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            for name in list(STEPS)[: list(STEPS).index(last) + 1]:
                assert process.stdout.readline() == f"step {name}\n"
            yield process
        finally:
            process.kill()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(60)


def look(vlab: Virtual) -> dict[str, str]:
    return vlab.snapshot(*KEPT, *VOLATILE)


def look_after_boot(vlab: Virtual) -> dict[str, str]:
    """What another boot has as this one had: not the numbers of most interrupts."""
    numbered = re.compile(r"setting /proc/irq/\d{2,}/")
    return {name: what for name, what in vlab.snapshot(*KEPT).items() if not numbered.match(name)}


@pytest.fixture(scope="module")
def before(vlab: Virtual) -> Iterator[dict[str, str]]:
    """The DUT as it is, with no run on it."""
    vlab.ask("systemctl", "disable", "--now", "irqbalance")  # it moves interrupts as it likes
    vlab.ask("mkdir", "-p", "/run/pytest-vswitch", "/var/lib/pytest-vswitch")  # these stay
    vlab.ask("modprobe", "vfio-pci")
    yield look(vlab)
    vlab.ask("systemctl", "enable", "--now", "irqbalance")


def test_every_step_shows(vlab: Virtual, before: dict[str, str]) -> None:
    """Verify: a snapshot tells of each kind of change, and of none after a run that ended."""
    with at_work(vlab) as process:
        told = differences(before, look(vlab))
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == 0
    for what in (
        *("01:00.0/driver_override", "drivers/vfio-pci", "02:00.0/sriov_numvfs", "nr_hugepages"),
        *("irq/4/smp_affinity_list", "vm/swappiness", "file /root/at-work", "mount /root/at-work"),
        *("link br-at-work", "link tap-at-work", "file /etc/at-work.conf", "file /etc/hosts"),
        "process sleep 3600",
    ):
        assert what in told
    assert differences(before, look(vlab)) == ""


def test_a_killed_controller(vlab: Virtual, before: dict[str, str]) -> None:
    """Verify: the agent puts everything back by itself, when nobody comes again."""
    with at_work(vlab, reconnect_s=2.0) as process:
        kill(process)
        wait_for(lambda: not vlab.ask("ls", "/var/lib/pytest-vswitch"), "end of the run")
    assert differences(before, look(vlab)) == ""


def test_a_killed_agent(vlab: Virtual, before: dict[str, str]) -> None:
    """Steps: kill -9 of the controller, then of its agent on the DUT; `doctor --clean`."""
    with at_work(vlab) as process:
        kill(process)
        agent = json.loads(vlab.ask("cat", OWNER))["program"]["pid"]
        vlab.ask("kill", "-9", str(agent))
        assert "link br-at-work" in differences(before, look(vlab))
        assert cli.main(["doctor", vlab.alone, "--clean"]) == 0
    assert differences(before, look(vlab)) == ""


@pytest.fixture(scope="module")
def fresh(vlab: Virtual, before: dict[str, str]) -> dict[str, str]:
    """The DUT as a power cut and a boot leave it without any run, and two files written before."""
    vlab.ask("tee", "/srv/synced", stdin="kept")
    vlab.ask("sync", "/srv/synced")
    vlab.ask("tee", "/srv/written", stdin="lost")
    vlab.cut_power()
    vlab.vswitch("up")
    return look_after_boot(vlab)


def test_a_power_cut_keeps_what_was_synced(fresh: dict[str, str]) -> None:
    assert "file /srv/synced" in fresh
    assert "file /srv/written" not in fresh


@pytest.mark.parametrize("last", CUT_AFTER)
def test_a_power_cut(
    vlab: Virtual, fresh: dict[str, str], last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Steps: cut the power after a step, boot, `doctor --clean`. Verify: it is as before."""
    with at_work(vlab, last=last):
        vlab.cut_power()
    vlab.vswitch("up")
    assert cli.main(["doctor", vlab.alone]) == 0
    assert f"run {RUN} is dead and left" in capsys.readouterr().out
    assert cli.main(["doctor", vlab.alone, "--clean"]) == 0
    assert capsys.readouterr().out.endswith("cleaned\n")
    assert differences(fresh, look_after_boot(vlab)) == ""
