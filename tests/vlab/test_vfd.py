"""VFd on the virtual DUT's 82576: its kernel's PF driver, DPDK's VF driver, frames.

With VLAB_EVERY_STEP=1 in the environment, the run is killed, and the power is cut, after each
step of `vfd_at_work`.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as Xml
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pytest_vswitch import cli
from tests.machines.disk import PROJECT
from tests.vlab.vfd_at_work import RUN
from tests.vlab.virtual import Virtual, differences, wait_for

pytestmark = pytest.mark.vlab

PAGE = PROJECT / "docs/vfd.md"
KEPT = ("/etc", "/root", "/var/lib/pytest-vswitch")
VOLATILE = ("/run/dpdk", "/run/pytest-vswitch", "/dev/hugepages", "/tmp")
EVERY = bool(os.environ.get("VLAB_EVERY_STEP"))
KILLED = ("sriov_numvfs = 2", "vf 0 trust on")
CUT = ("vf 0 vlan 100",)


def table() -> dict[str, str]:
    """What the page says of each test: `shown`, `refused ...` or `told ...`."""
    text = PAGE.read_text().partition("with the kernel's PF\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| 5\..*\| `(test_\w+)` \|.*\| ([^|]+) \|$", text, re.MULTILINE)
    return dict(rows)


def look(vlab: Virtual, *directories: str) -> dict[str, str]:
    """Without interrupts: an igb takes others with virtual functions."""
    found = vlab.snapshot(*directories)
    return {name: what for name, what in found.items() if "/proc/irq/" not in name}


@pytest.fixture(scope="module")
def before(vlab: Virtual) -> dict[str, str]:
    """The DUT as it is, with no run on it."""
    vlab.ask("mkdir", "-p", "/run/dpdk", "/run/pytest-vswitch", "/var/lib/pytest-vswitch/.queue")
    vlab.ask("modprobe", "vfio-pci")  # a run leaves a module loaded
    return look(vlab, *KEPT, *VOLATILE)


def test_the_suite(vlab: Virtual, before: dict[str, str], tmp_path: Path) -> None:
    """Steps: the whole suite, from TAP devices here through the DUT's VFs.

    Verify: what the page says is shown passes; the rest is left out, each with its reason; the DUT
    is left as it was.
    """
    told = tmp_path / "told.xml"
    argv = [sys.executable, "-m", "pytest", "suites/vfd", "--dut", vlab.lab, "--wait", "5m"]
    argv += ["--reports", str(tmp_path), "-p", "no:cacheprovider", "--junitxml", str(told)]
    done = subprocess.run(
        argv, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout
    why = {}
    for case in Xml.parse(told).iter("testcase"):
        skipped = case.find("skipped")
        reason = "" if skipped is None else skipped.attrib["message"]
        if case.attrib["classname"].endswith("test_kernel"):
            why[case.attrib["name"]] = reason
        else:
            assert reason == "for a PF with a testpmd: this one has its kernel's driver"
    assert sorted(why) == sorted(table())
    for name, said in table().items():
        if said == "shown":
            assert (name, why[name]) == (name, "")
        elif said.startswith("refused"):
            assert re.search("is not supported here: .*Operation not supported", why[name]), name
        else:
            assert re.search(
                r"it should be .* it is .*: (QEMU's 82576|the kernel's igb)", why[name]
            )
    assert differences(before, look(vlab, *KEPT, *VOLATILE)) == ""


@contextlib.contextmanager
def at_work(vlab: Virtual, last: str) -> Iterator[subprocess.Popen[str]]:
    """A controller whose run has come to a step; killed at the end."""
    argv = [sys.executable, "-m", "tests.vlab.vfd_at_work", vlab.alone, last]
    with subprocess.Popen(
        argv, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                _, number, what = line.rstrip().split(" ", 2)
                if number == last or (not last.isdecimal() and last in what):
                    break
            else:
                raise AssertionError(f"it ended before `{last}`")
            yield process
        finally:
            process.kill()


def test_every_function_is_told(vlab: Virtual, before: dict[str, str]) -> None:
    """Steps: bring it up and set every function; let the run go on to its end.

    Verify: there are VFs, bound and in use, and the kernel tells of each setting; then it is all
    as it was.
    """
    with at_work(vlab, "vf 0 vlan 100") as process:
        told = differences(before, look(vlab, *KEPT, *VOLATILE))
        for what in ("sriov_numvfs: 0 -> 2", "drivers/vfio-pci", "dpdk-testpmd", "flags: 0x1002"):
            assert what in told
        shown = vlab.ask("/usr/sbin/ip", "link", "show", "dev", "enp1s0")
        settings = shown.partition("vf 0")[2].partition("vf 1")[0]
        for what in ("a0:36:9f:7b:c3:51", "vlan 100, qos 3", "checking off", "trust on"):
            assert what in settings
        assert "max_tx_rate 10Mbps" in settings
        assert process.stdin is not None
        process.stdin.close()
        assert process.stdout is not None
        assert "set\n" in process.stdout.read()
        assert process.wait(60) == 0
    assert differences(before, look(vlab, *KEPT, *VOLATILE)) == ""


def steps(vlab: Virtual, chosen: Sequence[str]) -> list[str]:
    """Those after which a run dies."""
    if not EVERY:
        return list(chosen)
    argv = [sys.executable, "-m", "tests.vlab.vfd_at_work", vlab.alone, "none"]
    done = subprocess.run(
        argv, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=300
    )
    numbers = [line.split(" ")[1] for line in done.stdout.partition("\nset\n")[0].splitlines()]
    assert done.returncode == 0
    assert len(numbers) > 15
    return numbers


def test_a_killed_run(vlab: Virtual, before: dict[str, str]) -> None:
    """Steps: kill -9 of the controller. Verify: the DUT puts everything back by itself."""
    for last in steps(vlab, KILLED):
        with at_work(vlab, last) as process:
            assert differences(before, look(vlab, *KEPT, *VOLATILE)) != ""
            process.kill()
            process.wait(60)
            wait_for(lambda: not vlab.ask("ls", "/var/lib/pytest-vswitch"), "end of the run")
        left = differences(before, look(vlab, *KEPT, *VOLATILE))
        assert left == "", f"after {last}: {left}"


@pytest.fixture(scope="module")
def fresh(vlab: Virtual, before: dict[str, str]) -> dict[str, str]:
    """The DUT as a power cut and a boot leave it without any run."""
    vlab.ask("sync")  # or what runs before have removed is there again
    vlab.cut_power()
    vlab.vswitch("up")
    return look(vlab, *KEPT)


def test_a_power_cut(
    vlab: Virtual, fresh: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Steps: cut the power after a step, boot, `doctor --clean`. Verify: it is as before."""
    for last in steps(vlab, CUT):
        with at_work(vlab, last):
            vlab.cut_power()
        vlab.vswitch("up")
        capsys.readouterr()
        assert cli.main(["doctor", vlab.alone, "--clean"]) == 0
        said = capsys.readouterr().out
        assert f"run {RUN} is dead and left" in said, f"after {last}: {said}"
        assert said.endswith("cleaned\n")
        left = differences(fresh, look(vlab, *KEPT))
        assert left == "", f"after {last}: {left}"
