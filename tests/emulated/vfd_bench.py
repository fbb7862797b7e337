"""The `vfd` topology on an emulated NIC, without a host."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from pytest_vswitch.hosts.host import Process
from pytest_vswitch.measure.vf_bench import Bench
from pytest_vswitch.topologies.topology import NicPort
from pytest_vswitch.topologies.vfd import Vf, Vfd
from pytest_vswitch.topologies.vfd_programs import PF, RING, VFS, Program
from tests.emulated.dut import Dut, Generator
from tests.emulated.testpmd import Testpmd

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
    vfs = [Vf(n, Program(spawner(dut, n, version)), notice_s=0.0) for n in range(VFS)]
    topology = Vfd((PORT,), vfs, Program(spawner(dut, PF, version)))
    topology.start()
    try:
        yield Bench(topology, Generator(dut, topology), wait_s=0.0, trial_s=1.0, sample=150)
    finally:
        topology.end()
