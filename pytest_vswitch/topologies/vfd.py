"""VFd: a PF that sets what its virtual functions may, and a testpmd on each of two VFs.

    wire == PF -- testpmd, which forwards nothing and is told the functions (guide, chapter 5);
             |    or the kernel's driver, told by `ip link`
             |-- VF 0 -- testpmd (macswap): what it receives goes back to the wire
             |-- VF 1 -- testpmd (rxonly)

The VFs' programs run on the host instead of in guests: what the PF does to a VF is the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pytest_vswitch.apps import dpdk, vf_control
from pytest_vswitch.errors import InputError, NotHere
from pytest_vswitch.hosts import hugepages
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.ports import NicPortSpec
from pytest_vswitch.lab.preflight import check_lcores, require_ports
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.machine import nics
from pytest_vswitch.machine.nics import PCI
from pytest_vswitch.topologies import lcores, macswap, ports
from pytest_vswitch.topologies.axes import Axes
from pytest_vswitch.topologies.lcores import LcorePlan
from pytest_vswitch.topologies.topology import Facts, Flow, Hop, NicPort, Node, plain_flow
from pytest_vswitch.topologies.vfd_ports import (
    KERNEL_DRIVERS,
    TESTPMD_DRIVERS,
    Pf,
    Setter,
    TestpmdPf,
    kernel_port,
)
from pytest_vswitch.topologies.vfd_programs import (
    CLASSES,
    MEMORY_MB,
    PF,
    VFS,
    Program,
    Testpmds,
    Vf,
    functions,
)

NAME: Final = "vfd"
AXES: Final = Axes(("testpmd",), vswitch="testpmd")


@dataclass(slots=True)
class Vfd:
    """The running testpmds; see `topologies.topology.Topology`."""

    ports: Sequence[NicPort]
    vfs: Sequence[Vf]
    _pf: Pf
    generator_cpu: int | None = None
    """CPU left for a traffic generator on this host; None if it shares the others'."""
    memory: str = ""
    remarks: tuple[str, ...] = ()
    commands: tuple[tuple[str, tuple[str, ...]], ...] = ()
    name: str = NAME
    variant: Mapping[str, str] = field(default_factory=dict)

    @property
    def pf(self) -> Setter:
        return self._pf.control

    @property
    def road(self) -> str:
        """By which commands the functions are set: `dpdk` or `kernel`."""
        return self._pf.road

    @property
    def driver(self) -> str:
        """Of the PF, as who has it says. Raises DutError for one without such functions."""
        return self._pf.driver

    @property
    def emulated(self) -> bool:
        """Whether the NIC is QEMU's."""
        return self._pf.emulated

    def start(self) -> None:
        self._pf.start()
        for vf in self.vfs:
            vf.start()

    def end(self) -> None:
        """The VFs' programs first: their drivers talk to the PF's."""
        for vf in self.vfs:
            vf.program.end()
        self._pf.end()

    @contextlib.contextmanager
    def traffic_classes(self) -> Iterator[None]:
        """The port with `CLASSES` of them, and VFs with a queue for each; started anew."""
        self.end()
        try:
            self._pf.start()
            self.pf.set("port stop 0")
            self.pf.set(vf_control.data_center_bridging(0, CLASSES))
            self.pf.set("port start 0")
            for vf in self.vfs:
                vf.start(CLASSES)
            yield
        finally:
            self.end()
            self.start()

    @property
    def facts(self) -> Facts:
        return Facts(
            versions={
                "host dpdk": self.vfs[0].control.testpmd.version,
                **self._pf.versions,
            },
            virtio_features="",
            nic=f"{self.driver} ({self.ports[0].bdf})",
            accelerator="none",
            memory=self.memory,
            remarks=self.remarks,
            commands=self.commands,
        )

    @property
    def nodes(self) -> Sequence[Node]:
        name = self.ports[0].name
        return (
            Node("generator", "generator", (name,)),
            Node("PF testpmd" if self.road == "dpdk" else "PF driver", "host", (name,)),
            *(Node(f"VF {vf.number} testpmd", "host", (f"vf{vf.number}",)) for vf in self.vfs),
        )

    def peer(self, port: int) -> int:
        """Frames come out where they went in."""
        return port

    def flow(self, port: int) -> Flow:
        """To VF 0."""
        plain = plain_flow(port, 1)
        return dataclasses.replace(plain, dst_mac=self.vfs[0].mac)

    def transform(self, frame: bytes, port: int) -> bytes:
        del port
        return macswap.transform(frame)

    def snapshot(self) -> object:
        return self.vfs[0].control.statistics()

    def path(self, tx_port: int, before: object, after: object) -> Sequence[Hop]:
        """What VF 0 took and gave."""
        assert isinstance(before, vf_control.Statistics)
        assert isinstance(after, vf_control.Statistics)
        into = after.rx_packets - before.rx_packets
        out = after.tx_packets - before.tx_packets
        return (Hop(f"{self.ports[tx_port].name}: VF 0", into, out),)

    def check_alive(self) -> None:
        self._pf.check_alive()
        for vf in self.vfs:
            vf.program.check_alive()


def preflight(lab: Lab, host: Host) -> None:
    """Raise NotHere where the first port has no such functions, InputError for what is missing."""
    require_ports(lab, NAME, 1)
    port = lab.ports[0]
    where = lab.where("ports", 0)
    if port.kind != "nic" or port.driver == "uio_pci_generic":
        raise NotHere(
            f"{NAME} needs a NIC of {', '.join(KERNEL_DRIVERS)} (82576, 82599, X710, ...) as its "
            f"first port, with `driver: vfio-pci`, `igb_uio` or `kernel`; {where} is not that"
        )
    driver = _kernel_driver(host, port.bdf)
    if driver not in (*KERNEL_DRIVERS, port.driver, "") or (
        port.driver == "kernel" and driver not in KERNEL_DRIVERS
    ):
        raise NotHere(
            f"{NAME} needs a NIC of {', '.join(KERNEL_DRIVERS)}: {where}, {port.bdf} on "
            f"{host.name}, is one of {driver or 'no driver'}"
        )
    dpdk.require(lab, host, "dut")
    if not host.is_root():
        raise InputError(f"{NAME} on {host.name} needs root: for the NIC and its VFs")
    ports.preflight(_with_first_port(lab), host)
    nics.refuse_management(host, port.bdf)
    if _by_kernel(port, driver):
        ports.require_programs(host, [("ip", "iproute2", ""), ("bridge", "iproute2", "")])
    if had := _functions_of(host, port.bdf):
        raise InputError(
            f"{lab.where('ports', 0, 'bdf')}: {port.bdf} on {host.name} has {had} virtual "
            "functions of somebody, which would go with its driver: "
            f"`echo 0 > {PCI}/{port.bdf}/sriov_numvfs` removes them"
        )
    check_lcores(lab, set(lcores.available(host)))
    _cores(lab, host)


@contextlib.contextmanager
def provision(lab: Lab, host: Host) -> Iterator[Vfd]:
    """Bind the PF or bring it up, make the VFs, start the programs; undone with the block.

    Raises InputError for a lab that does not fit, HostError for what the host lacks, DutError,
    with its last words, for a program that does not come up.
    """
    preflight(lab, host)
    spec = lab.ports[0]
    assert spec.kind == "nic"  # preflight has refused others
    driver = _kernel_driver(host, spec.bdf)
    by_kernel = _by_kernel(spec, driver)
    numbers = range(VFS) if by_kernel else range(PF, VFS)
    with contextlib.ExitStack() as stack:
        cores = _cores(lab, host)
        sizes = (MEMORY_MB,) * len(numbers)
        pages = stack.enter_context(hugepages.reserve(host, lab.dut.hugepages, sizes))
        pf: Pf
        if by_kernel:
            pf, made = stack.enter_context(kernel_port(host, spec.bdf, driver))
            testpmds = Testpmds(lab, host, cores, pages, "kernel", [spec.bdf, *made])
        else:
            stack.enter_context(ports.bound(_with_first_port(lab), host))
            made = stack.enter_context(functions(host, spec.bdf, spec.driver))
            testpmds = Testpmds(lab, host, cores, pages, spec.driver, [spec.bdf, *made])
            pf = TestpmdPf(Program(testpmds.of(PF)))
        line_rate_bps = spec.line_rate_gbps * 1e9
        topology = Vfd(
            (NicPort(spec.name, spec.bdf, spec.generator or "", line_rate_bps),),
            [Vf(number, Program(testpmds.of(number))) for number in range(VFS)],
            pf,
            generator_cpu=cores.generator_cpu,
            memory=str(pages),
            remarks=cores.remarks,
            commands=tuple(
                (testpmds.name(number), tuple(testpmds.argv(number, 1))) for number in numbers
            ),
        )
        stack.callback(topology.end)
        topology.start()
        yield topology


def _by_kernel(port: NicPortSpec, driver: str) -> bool:
    """Whether `ip link` sets the functions: with DPDK an igb has none."""
    return port.driver == "kernel" or driver in set(KERNEL_DRIVERS) - set(TESTPMD_DRIVERS)


def _kernel_driver(host: Host, bdf: str) -> str:
    """That a PCI device has now; empty: none."""
    link = f"{PCI}/{bdf}/driver"
    return host.read_link(link).rpartition("/")[2] if host.exists(link) else ""


def _functions_of(host: Host, bdf: str) -> int:
    """How many VFs it has now; 0 if it cannot have any."""
    knob = f"{PCI}/{bdf}/sriov_numvfs"
    return int(host.read_text(knob)) if host.exists(knob) else 0


def _with_first_port(lab: Lab) -> Lab:
    return lab.model_copy(update={"ports": lab.ports[:1]})


def _cores(lab: Lab, host: Host) -> LcorePlan:
    return lcores.plan_for(lab, host, [lcores.Wanted("peer", 2) for _ in range(VFS)])
