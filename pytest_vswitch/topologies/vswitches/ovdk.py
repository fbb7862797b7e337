"""Intel DPDK vSwitch: NICs and MEMNIC or KNI ports, a flow from each port to its partner.

The steps are those of its two guides (docs/ovdk.md has them side by side), in a directory of
this run; where they remove what an earlier run left, a leftover is refused here, and what this
run makes is undone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from pytest_vswitch.apps import memnic, ovdk
from pytest_vswitch.apps.ovdk import READY, DataPlane, Directory, Port
from pytest_vswitch.errors import DutError, HostError, InputError
from pytest_vswitch.hosts import changes
from pytest_vswitch.hosts.host import Host, Process, check_runs
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab.ovdk import Ovdk
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.counts import PortCounts
from pytest_vswitch.topologies.topology import NicPort
from pytest_vswitch.topologies.vswitches import Order, Reading

LISTENS: Final = True
MAX_MTU: Final = 1500
LINKS: Final = ("memnic", "kni")
INTERRUPTS_TCG: Final = True
NAME: Final = "Intel DPDK vSwitch"

LEFT: Final = ("/var/run/.rte_config", "/var/run/.rte_hugepage_info")
"""What a primary process of DPDK leaves, of which there is one."""

_READY_S = 60.0
_TOOL_S = 25.0


class Switch:
    """The running Intel DPDK vSwitch; see `vswitches.VSwitch`."""

    name: str = NAME
    queues = 1
    remarks: tuple[str, ...] = ()
    versions: Mapping[str, str]

    def __init__(
        self,
        host: Host,
        directory: Directory,
        programs: Sequence[tuple[Process, tuple[str, ...]]],
        ports: Mapping[str, Port],
        pairs: Sequence[tuple[str, str]],
        nics: frozenset[str],
        version: str,
    ) -> None:
        """`ports` by the topology's names, in order; `nics` count what they missed."""
        self.commands = tuple((process.name, argv) for process, argv in programs)
        self.versions = {"ovdk": version}
        self.ports = ports
        self._host = host
        self._directory = directory
        self._programs = [process for process, _ in programs]
        self._ways = [
            (ports[enter].number, ports[leave].number)
            for pair in pairs
            for enter, leave in (pair, pair[::-1])
        ]
        self._nics = nics

    def driver(self, port: str) -> str:
        return self.ports[port].kind

    def forward(self) -> None:
        """The guides' flow table. Raises DutError when it is not there afterwards."""
        self.check_ports()  # ovs-vswitchd has had time to make them
        self._told(self._directory.ofctl("del-flows"), "flows of an older time")
        for enter, leave in self._ways:
            self._told(
                self._directory.ofctl("add-flow", ovdk.flow(enter, leave)),
                f"from port {enter} to port {leave}",
            )
        self.check_flows()

    def read(self) -> Reading:
        counted = ovdk.parse_ports(self._told(self._directory.ofctl("dump-ports")))
        missing = [name for name, port in self.ports.items() if port.number not in counted]
        if missing:
            raise DutError(f"{NAME} does not count port {missing[0]}")
        return Reading(
            {
                name: _counts(counted[port.number], nic=name in self._nics)
                for name, port in self.ports.items()
            }
        )

    def facts_between(self, before: Reading, after: Reading) -> Mapping[str, str]:
        return {}

    def check_alive(self) -> None:
        for program in self._programs:
            check_runs(program)

    def check_ports(self) -> None:
        """As the guides: `ovs-vsctl show` has every port as it was asked for. Raises DutError."""
        if output := self._told(self._directory.vsctl("show"), "are the ports there?"):
            ovdk.check_ports(output, list(self.ports.values()))

    def check_flows(self) -> None:
        """The bridge has these flows, and no others. Raises DutError."""
        if output := self._told(self._directory.ofctl("dump-flows"), "are the flows there?"):
            ovdk.check_flows(output, self._ways)

    def _told(self, argv: Sequence[str], why: str = "") -> str:
        """What a tool prints. Raises DutError if a program is gone, or else HostError."""
        try:
            return self._host.run(argv, timeout_s=_TOOL_S, why=why).output
        except HostError:
            self.check_alive()
            raise


def _counts(counters: ovdk.Counters, *, nic: bool) -> PortCounts:
    return PortCounts(
        rx=counters.rx,
        tx=counters.tx,
        rx_drops={"rx errs": counters.rx_errors} if nic else {},
        tx_drops={"tx drop": counters.tx_dropped},
        discards={"rx drop": counters.rx_dropped},
    )


def section(lab: Lab) -> Ovdk:
    """The lab's `ovdk`. Raises InputError."""
    if lab.ovdk is None:
        raise InputError(
            f"{lab.where('dut', 'vswitch')}: {NAME} is in no distribution: build a release, and "
            "name its folder in a section `ovdk` of the lab, e.g. "
            "`ovdk: {path: /opt/dpdk-ovs, sources: /opt/memnic}`"
        )
    return lab.ovdk


def preflight(lab: Lab, host: Host) -> None:
    """Raise InputError for a lab without it, a part that was not built, or memif ports."""
    own = section(lab)
    if any(port.kind != "nic" for port in lab.ports):
        raise InputError(
            f"{lab.where('ports', 0)}: {NAME} drives NICs only; a lab with ports of kind "
            f"`{lab.ports[0].kind}` takes another vSwitch"
        )
    release(lab, host)
    if own.ports == "kni" and own.qemu == "guest":
        raise InputError(
            f"{lab.where('ovdk', 'qemu')}: KNI's memory is many files in one device, which only "
            "the QEMU of the release knows: take `qemu: guest` out, or `ports: memnic`"
        )
    if lab.dut.hugepages == "none":
        raise InputError(f"{lab.where('dut', 'hugepages')}: {NAME} needs hugepages")


def release(lab: Lab, host: Host) -> ovdk.Release:
    """Where its programs are. Raises InputError."""
    own = section(lab)
    also = ["ovs-ivshm-mngr"] if own.ports == "kni" else []
    also += ["qemu-system-x86_64"] if own.qemu == "vswitch" else []
    try:
        return ovdk.find(host, own.path, also)
    except InputError as error:
        raise InputError(f"{lab.where('ovdk', 'path')}: {error}") from None


@contextlib.contextmanager
def start(lab: Lab, host: Host, order: Order) -> Iterator[Switch]:
    """Database, bridge and ports, data plane and ovs-vswitchd, as in the guides; no flow yet."""
    own = section(lab)
    built = release(lab, host)
    cores = _cores(lab, order)
    ports = wired_ports(own, order)
    directory = Directory(f"{host.scratch}/ovdk", built)
    bdfs = sorted(order.ports.devargs)
    with contextlib.ExitStack() as stack:
        regions = [memnic.region(port.number).path for port in ports.values() if _shared(port)]
        for path in (*LEFT, *regions):
            stack.enter_context(changes.making(host, path))
        stack.enter_context(changes.making_directory(host, directory.path))
        huge = stack.enter_context(_hugetlbfs(host, f"{directory.path}/huge", order.pages.size_kb))
        host.run(directory.create_database(), why="a database of its own, for this run only")
        serve = directory.serve_database()
        database = stack.enter_context(
            host.spawn(serve, name="ovsdb-server", why="what keeps the bridge and its ports")
        )
        _bridge(host, directory, database, ports.values())
        plane = DataPlane(
            transport=own.ports,
            cores=cores[: 2 + len(bdfs)],
            devices=bdfs,
            memory_mb=lab.dut.memory_mb,
            huge_directory=huge,
            base_virtaddr=own.base_virtaddr,
            guest_ports=len(order.vhosts),
        )
        argv = built.argv("ovs_dpdk", *plane.words())
        data_plane = stack.enter_context(
            host.spawn(argv, name="ovs_dpdk", why="the data plane, which makes shared memory")
        )
        data_plane.read_until(READY, timeout_s=_READY_S, what="the data plane's ports")
        control = directory.switch(cores[-1])
        switch = stack.enter_context(
            host.spawn(control, name="ovs-vswitchd", why="which the data plane asks about flows")
        )
        programs = [(database, serve), (data_plane, argv), (switch, control)]
        running = Switch(
            host,
            directory,
            [(process, tuple(words)) for process, words in programs],
            ports,
            order.pairs,
            frozenset(port.name for port in order.ports.ports if isinstance(port, NicPort)),
            ovdk.version(host, built),
        )
        check_runs(data_plane)
        for path in regions:
            memnic.read_header(host, path)
        running.check_ports()
        yield running


def wired_ports(own: Ovdk, order: Order) -> dict[str, Port]:
    """By the topology's name: NICs in the order of their addresses, as DPDK numbers them."""
    kind = own.physical or ("dpdk" if own.ports == "memnic" else "dpdkphy")
    bdfs = sorted(order.ports.devargs)
    ports = {
        port.name: ovdk.phy_port(own.ports, kind, bdfs.index(bdf))
        for port, bdf in zip(order.ports.ports, order.ports.devargs, strict=True)
    }
    for index, vport in enumerate(order.vhosts):
        ports[vport.name] = ovdk.guest_port(own.ports, index)
    return ports


def _shared(port: Port) -> bool:
    return port.kind == "dpdkmemnic"


def _cores(lab: Lab, order: Order) -> tuple[int, ...]:
    """Each of its threads polls, on a CPU of its own. Raises InputError for too few."""
    cores = order.cores.host_cpus[: ovdk.CORES]
    if order.cores.shared or len(cores) < ovdk.CORES:
        raise InputError(
            f"{lab.where('dut', 'lcores')}: {NAME} needs {ovdk.CORES} CPUs of its own (messages, "
            f"guests, each NIC, ovs-vswitchd), and has {len(cores)} here"
        )
    return cores


@contextlib.contextmanager
def _hugetlbfs(host: Host, path: str, size_kb: int | None) -> Iterator[str]:
    """One of its own: what its files hold is free again when it is unmounted."""
    if size_kb is None:
        raise HostError(f"{host.name}: {NAME} needs hugepages, and there are none for it")
    host.run(["mkdir", "--", path])
    with host.changing(Change("mounted", path, "0", "hugetlbfs none")):
        size = f"pagesize={size_kb}K"
        host.run(["mount", "-t", "hugetlbfs", "-o", size, "--", "none", path])
        yield path


def _bridge(host: Host, directory: Directory, database: Process, ports: Iterable[Port]) -> None:
    """The bridge and its ports, in the database. Raises DutError, HostError."""
    tasks = [(directory.add_bridge(), "the bridge")]
    tasks += [(directory.vsctl(*port.words()), f"port {port.number}") for port in ports]
    for argv, why in tasks:
        try:
            host.run(argv, timeout_s=_TOOL_S, why=why)
        except HostError:
            check_runs(database)
            raise
