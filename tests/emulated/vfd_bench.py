"""The `vfd` topology on an emulated NIC, without a host."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import cast

from pytest_vswitch.apps import ip_link_vf
from pytest_vswitch.hosts.host import Host, Process
from pytest_vswitch.measure.vf_bench import Bench
from pytest_vswitch.measure.vf_kernel import known_lacks
from pytest_vswitch.topologies.topology import NicPort
from pytest_vswitch.topologies.vfd import Vfd
from pytest_vswitch.topologies.vfd_ports import KernelPf, Pf, TestpmdPf
from pytest_vswitch.topologies.vfd_programs import PF, RING, VFS, Program, Vf
from tests.emulated.dut import Dut, Generator
from tests.emulated.ip_link import PF_NAME, IpLink
from tests.emulated.nic import mac_of
from tests.emulated.testpmd import Testpmd
from tests.emulated.vf_kernel import KernelDut

PORT = NicPort("nic0", "0000:03:00.0", "ens1f0", 10e9)


def spawner(
    dut: Dut, number: int, version: str
) -> Callable[[int], contextlib.AbstractContextManager[Process]]:
    @contextlib.contextmanager
    def spawn(queues: int) -> Iterator[Process]:
        argv = ["testpmd", f"--rxq={queues}", f"--rxd={RING}"]
        with Testpmd(dut, number, argv, version=version) as program:
            dut.programs[number] = program
            yield program

    return spawn


@contextlib.contextmanager
def bench(dut: Dut, *, version: str = "22.11.11") -> Iterator[Bench]:
    """Running, with as few frames as show shares of traffic classes."""
    with _running(dut, TestpmdPf(Program(spawner(dut, PF, version))), version) as running:
        yield running


@contextlib.contextmanager
def kernel_bench(
    dut: KernelDut, *, version: str = "22.11.11", emulated: bool = False
) -> Iterator[Bench]:
    """With the kernel's driver on the PF; `emulated`: taken for QEMU's."""
    control = ip_link_vf.KernelControl(cast(Host, IpLink(dut)), PF_NAME)
    for number in range(VFS):
        control.set(ip_link_vf.mac_address(number, mac_of(number).hex(":")))
    with _running(dut, KernelPf(control, dut.driver, "6.1.0", emulated), version) as running:
        running.lacks = known_lacks(running.topology)
        yield running


@contextlib.contextmanager
def _running(dut: Dut, pf: Pf, version: str) -> Iterator[Bench]:
    vfs = [Vf(n, Program(spawner(dut, n, version)), notice_s=0.0) for n in range(VFS)]
    topology = Vfd((PORT,), vfs, pf)
    try:
        topology.start()
        yield Bench(topology, Generator(dut, topology), wait_s=0.0, trial_s=1.0, sample=150)
    finally:
        topology.end()
