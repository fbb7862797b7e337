"""Exception paths on a virtual DUT: all three ways, for its kernel has vhost-net."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.opening import open_host
from pytest_vswitch.lab import loader
from pytest_vswitch.measure.conversation import converse
from pytest_vswitch.measure.functional import FunctionalError
from pytest_vswitch.topologies.exception_link import Setup, linked
from pytest_vswitch.topologies.exception_ways import VIRTIO_USER
from tests.machines.disk import PROJECT
from tests.vlab.virtual import Virtual, differences

pytestmark = pytest.mark.vlab

SHORT = ("--quick", "--trial-duration", "0.5", "--precision", "0.5")


def test_all_three_ways(vlab: Virtual, tmp_path: Path) -> None:
    """Steps: the suite, from TAP devices here through both NIC ports of the DUT.

    Verify: nothing is skipped, all pass, one table has them all; the DUT is left as it was.
    """
    vlab.ask("modprobe", "-a", "vfio-pci", "vhost_net")  # a run leaves a module loaded
    before = vlab.snapshot("/etc", "/root")
    argv = [sys.executable, "-m", "pytest", "suites/exception_path", "--dut", vlab.lab, *SHORT]
    argv += ["--reports", str(tmp_path), "-p", "no:cacheprovider", "--wait", "5m"]
    done = subprocess.run(
        argv, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
    table = done.stdout.partition("exception paths compared")[2]
    for way in ("vhost_net", "tap", "af_packet"):
        assert re.search(rf"\n{way} +routed by the kernel, +64 bytes: NDR ", table), table
    assert re.search(r"\nvhost_net +TCP, offloads on , queues used 2 of 2: ", table), table
    left = differences(before, vlab.snapshot("/etc", "/root"))
    assert [line for line in left.splitlines() if "/proc/irq/" not in line] == []


@pytest.fixture
def dut(vlab: Virtual) -> Iterator[Host]:
    with open_host(loader.load(vlab.alone), run="exception-path") as host:
        yield host


def test_offloads_are_worth_it(vlab: Virtual, dut: Host) -> None:
    """Verify: with offloads, frames larger than the MTU cross, and fewer of them."""
    lab = loader.load(vlab.alone)
    frames = {}
    for offloads in (False, True):
        with linked(lab, dut, Setup(VIRTIO_USER, offloads=offloads)) as link:
            found = converse(link)
            sizes = link.testpmd.command("show port xstats all")
            large = re.findall(r"rx_q0_size_1519_max_packets: (\d+)", sizes)
            frames[offloads] = sum(map(int, large))
            assert found.goodput_bps > 0
    assert frames[False] == 0
    assert frames[True] > 0


def test_an_offload_that_is_left_out(vlab: Virtual, dut: Host) -> None:
    """Steps: the guide's --enable-rx-cksum without anybody who fills in checksums.

    Verify: ping works, TCP does not, and it is said why.
    """
    setup = Setup(VIRTIO_USER, offloads=True, forward_mode="io")
    with (
        linked(loader.load(vlab.alone), dut, setup) as link,
        pytest.raises(FunctionalError, match="TCP segments for their checksums"),
    ):
        converse(link)
