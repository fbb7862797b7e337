"""Flow bifurcation: a port of the kernel whose filters direct some traffic to DPDK.

    wire == PF -- kernel: ixgbe or i40e, all that no filter takes
             |-- VF 0 -- testpmd (mac) -- VF 1 --|  what filters take, and back to the wire

The PF keeps its driver. It lies in a network namespace while the run has it: so all that its
kernel counts is this port's, and its addresses go with the namespace. See
`docs/flow_bifurcation.md` and the guide, chapter 3.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_vswitch.apps import dpdk, ethtool, ethtool_filters, testpmd
from pytest_vswitch.apps.ethtool_filters import Dialect, Rule, Target
from pytest_vswitch.apps.testpmd_streams import parse_streams
from pytest_vswitch.errors import DutError, InputError, NotHere
from pytest_vswitch.hosts import changes, hugepages, netns
from pytest_vswitch.hosts.host import Host, Process, check_runs
from pytest_vswitch.hosts.hugepages import Hugepages
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab.ports import NicPortSpec
from pytest_vswitch.lab.preflight import check_lcores, require_ports
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.machine import nics
from pytest_vswitch.topologies import bifurcated_port, lcores, ports
from pytest_vswitch.topologies.axes import Axes
from pytest_vswitch.topologies.bifurcated_port import (
    CARDS,
    SPACE,
    STATION_MAC,
    VF_MACS,
    VFS,
)
from pytest_vswitch.topologies.lcores import LcorePlan
from pytest_vswitch.topologies.topology import Facts, Flow, Hop, NicPort, Node

NAME: Final = "flow_bifurcation"
AXES: Final = Axes(("kernel", "testpmd"), vswitch="nic")

_TESTPMD: Final = "testpmd on the VFs"
_START_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counters at one moment [frames]."""

    kernel: int
    """IPv4 packets that the kernel took from the PF (`InReceives`)."""
    kernel_queues: Mapping[int, int]
    """Frames that the PF's driver received, by queue."""
    ports: Mapping[int, testpmd.PortCounters]
    """Of testpmd, by VF."""
    queues: Mapping[tuple[int, int], int]
    """Frames that testpmd took, by VF and queue."""


class Topology:
    """A PF with two VFs, and testpmd on these; see `topologies.topology.Topology`."""

    name = NAME

    def __init__(
        self,
        wire: NicPort,
        pf: ethtool.Port,
        mac: str,
        driver: ethtool.Driver,
        dialect: Dialect,
        program: testpmd.Testpmd,
        process: Process,
        command: tuple[str, ...],
        cores: LcorePlan,
        pages: Hugepages,
    ) -> None:
        self.ports = (wire,)
        self.pf = pf
        self.mac = mac
        """Of the PF: all frames of the wire carry it."""
        self.driver = driver
        self.dialect: Dialect = dialect
        self.card = CARDS[driver.name]
        self.generator_cpu = cores.generator_cpu
        self._testpmd = program
        self._process = process
        self._command = command
        self._cores = cores
        self._pages = pages

    @functools.cached_property
    def facts(self) -> Facts:
        remarks = [] if self._pages.size_kb else [f"no hugepages: {self._pages.reason}"]
        return Facts(
            versions={"host dpdk": self._testpmd.version, self.driver.name: self.driver.version},
            virtio_features="",
            nic=f"{self.ports[0].name} ({self.ports[0].bdf}), driver {self.driver.name}",
            accelerator="none",
            memory=str(self._pages),
            remarks=(*remarks, *self._cores.remarks),
            commands=((_TESTPMD, self._command),),
        )

    @property
    def variant(self) -> Mapping[str, str]:
        return {}

    @property
    def nodes(self) -> Sequence[Node]:
        name = self.ports[0].name
        return (
            Node("generator", "generator", (name,)),
            Node("kernel", "host", (name,)),
            Node(_TESTPMD, "host", ("VF 0", "VF 1")),
        )

    def peer(self, port: int) -> int:
        """All functions share one wire: frames come out where they went in."""
        return port

    def flow(self, port: int) -> Flow:
        """What the first filter of `rules` takes."""
        del port
        if self.driver.name == "ixgbe":
            return Flow(STATION_MAC, self.mac, "192.0.2.2", "198.51.100.2")
        return Flow(STATION_MAC, self.mac, self.card.station_ip, "192.168.50.108")

    def transform(self, frame: bytes, port: int) -> bytes:
        """As testpmd forwards what VF 0 received: out by VF 1."""
        del port
        return self.forwarded(frame, 0)

    def forwarded(self, frame: bytes, vf: int) -> bytes:
        """What a frame becomes that a VF received: the other one sends it to the station."""
        addresses = (STATION_MAC, VF_MACS[1 - vf])
        return b"".join(bytes.fromhex(a.replace(":", "")) for a in addresses) + frame[12:]

    def snapshot(self) -> Snapshot:
        told = self._testpmd.statistics()
        snmp = netns.read(self.pf.host, self.pf.space, "/proc/net/snmp")
        return Snapshot(
            kernel_received(snmp),
            self.pf.queues(),
            testpmd.parse_counters(told),
            parse_streams(told),
        )

    def path(self, tx_port: int, before: object, after: object) -> Sequence[Hop]:
        assert isinstance(before, Snapshot)
        assert isinstance(after, Snapshot)
        then, now = before, after
        name = self.ports[tx_port].name

        def since(port: int, word: str) -> int:
            return int(getattr(now.ports[port], word)) - int(getattr(then.ports[port], word))

        missed = {"RX-missed": since(0, "rx_missed"), "RX-errors": since(0, "rx_errors")}
        came, went = since(0, "rx_packets"), since(1, "tx_packets")
        return (
            Hop(f"{name} -> VF 0", came + sum(missed.values()), came, missed),
            Hop(f"{_TESTPMD}: VF 0 -> VF 1", came, went, {"TX-dropped": since(1, "tx_dropped")}),
        )

    def check_alive(self) -> None:
        check_runs(self._process)


def kernel_received(snmp: str) -> int:
    """IPv4 packets that came to a namespace's kernel, from its /proc/net/snmp.

    Raises DutError when it is not of that form.
    """
    lines = [line.split() for line in snmp.splitlines() if line.startswith("Ip:")]
    try:
        names, values = lines
        return int(values[names.index("InReceives")])
    except ValueError:
        raise DutError(f"/proc/net/snmp tells no Ip InReceives: {snmp[:200]!r}") from None


def rules(driver: str, dialect: Dialect) -> tuple[Rule, ...]:
    """The guide's filters for plain traffic to VFs."""
    if driver == "ixgbe":
        return (
            ethtool_filters.udp4("192.0.2.2", "198.51.100.2", Target(0, vf=0), 1),
            ethtool_filters.udp4("198.51.100.2", "192.0.2.2", Target(0, vf=1), 2),
        )
    return (ethtool_filters.l3_veb("192.168.50.108", Target(2, vf=0), 8, dialect),)


# --- wiring -------------------------------------------------------------------------------


def preflight(lab: Lab, host: Host) -> None:
    """Raise NotHere where no port has such filters, InputError for what else is missing."""
    require_ports(lab, NAME, 1)
    port = lab.ports[0]
    if not isinstance(port, NicPortSpec):
        raise NotHere(
            f"{NAME} needs a NIC with SR-IOV and filters as its first port (Intel 82599, X540: "
            f"ixgbe; X710, XL710: i40e); {lab.where('ports', 0)} is of kind {port.kind}"
        )
    ports.require_programs(host, [("ethtool", "ethtool", ""), ("ip", "iproute2", "")])
    dpdk.require(lab, host, "dut")
    if not host.is_root():
        raise InputError(f"{NAME} on {host.name} needs root: for the NIC and for hugepages")
    device = f"/sys/bus/pci/devices/{port.bdf}"
    where = lab.where("ports", 0, "bdf")
    if not host.exists(device):
        raise InputError(f"{where}: {host.name} has no PCI device {port.bdf}")
    nics.refuse_management(host, port.bdf)
    link = f"{device}/driver"
    driver = host.read_link(link).rpartition("/")[2] if host.exists(link) else ""
    if driver not in CARDS:
        raise NotHere(
            f"{where}: {NAME} wants the port with its kernel's driver, {' or '.join(CARDS)}; "
            f"{port.bdf} has {driver or 'none'}"
        )
    if host.exists(f"{netns.NAMESPACES}/{SPACE}"):
        raise InputError(
            f"{host.name} has a network namespace {SPACE} already, which this suite wants for "
            f"itself: `vswitch doctor --clean`, or ip netns delete {SPACE}"
        )
    check_lcores(lab, set(lcores.available(host)))
    lcores.plan_for(lab, host, [])


@contextlib.contextmanager
def provision(lab: Lab, host: Host) -> Iterator[Topology]:
    """Wire and start it, with the guide's filters; everything ends with the block.

    Raises InputError for a lab that does not fit, HostError for what the host lacks or
    refuses, DutError, with its last words, for a program that does not come up.
    """
    with started(lab, host) as topology, contextlib.ExitStack() as stack:
        for rule in rules(topology.driver.name, topology.dialect):
            stack.enter_context(topology.pf.filtering(rule, "to a VF (guide, 3.1, 3.2)"))
        yield topology


@contextlib.contextmanager
def started(lab: Lab, host: Host) -> Iterator[Topology]:
    """As `provision`, without filters yet: all traffic is the kernel's."""
    preflight(lab, host)
    port = lab.ports[0]
    assert isinstance(port, NicPortSpec)  # preflight has refused others
    with contextlib.ExitStack() as stack:
        cores = lcores.plan_for(lab, host, [])
        pages = stack.enter_context(
            hugepages.reserve(host, lab.dut.hugepages, (lab.dut.memory_mb,))
        )
        name = bifurcated_port.interface(host, port.bdf)
        here = ethtool.Port(host, "", name)
        driver = ethtool.parse_driver(host.ask(here.command("-i")).output)
        if driver.name not in CARDS:
            raise NotHere(f"{host.name}: ethtool says that {name} has {driver.name}")
        dialect: Dialect = "cookie"
        if driver.name == "i40e":
            kernel = host.ask(["uname", "-r"]).output.strip()
            dialect = ethtool_filters.i40e_dialect(driver.version, kernel)
        bifurcated_port.refuse_used(host, here)
        mac = host.read_text(f"/sys/class/net/{name}/address").strip()
        functions = stack.enter_context(bifurcated_port.functions(host, port.bdf))
        stack.enter_context(here.ntuple())
        pf = stack.enter_context(bifurcated_port.apart(host, name, CARDS[driver.name], driver.name))
        for number, address in enumerate(VF_MACS):
            host.run(
                bifurcated_port.ip("link", "set", "dev", name, "vf", str(number), "mac", address),
                why="so that its frames are known on the wire",
            )
        if not host.exists("/sys/bus/pci/drivers/vfio-pci"):
            host.run(["modprobe", "vfio-pci"], why="the driver for DPDK (guide, 3.1, step 5)")
        for function in functions:
            stack.enter_context(changes.binding(host, function, "vfio-pci"))
        prefix = f"vswitch-{host.scratch.rpartition('/')[2]}"
        stack.enter_context(host.changing(Change("made", f"/var/run/dpdk/{prefix}")))
        parameters = testpmd.Parameters(
            lcores=cores.host_lcores,
            memory_mb=lab.dut.memory_mb,
            file_prefix=prefix,
            hugepages=pages.size_kb is not None,
            devices=functions,
            forward_mode="mac",
            portlist=(0, 1),
            forwarding_cores=cores.host_forwarding,
            queues=CARDS[driver.name].queues,
            options=[f"--eth-peer={vf},{STATION_MAC}" for vf in range(VFS)],
        )
        argv = parameters.argv(dpdk.of_host(lab, host))
        process = stack.enter_context(
            host.spawn(
                argv,
                name=_TESTPMD,
                stop_with="quit\n",
                why="forwards what the filters direct to the VFs (guide, 3.1, step 6)",
            )
        )
        program = testpmd.Testpmd(process, start_timeout_s=_START_S)
        program.start()
        wire = NicPort(port.name, port.bdf, port.generator or "", port.line_rate_gbps * 1e9)
        yield Topology(wire, pf, mac, driver, dialect, program, process, tuple(argv), cores, pages)
