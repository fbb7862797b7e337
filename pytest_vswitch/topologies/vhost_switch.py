"""vhost-switch: DPDK's vhost sample between one NIC port and a guest with two virtio ports.

The sample learns a guest's MAC address from what the guest sends, gives it a VMDq pool of the
NIC and a VLAN of its own, and switches by MAC address and VLAN tag. A frame goes

    port 0 -> NIC, VLAN 1000 -> vhost0 -> virtio0 -> guest -> virtio1 -> vhost1 -> port 0, VLAN 1001

See `docs/vhost_switch.md`, and DPDK's "Vhost Sample Application".
"""

from __future__ import annotations

import contextlib
import functools
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pytest_vswitch.apps import dpdk, testpmd, vhost_switch, vhost_switch_build
from pytest_vswitch.apps.dpdk import Dpdk
from pytest_vswitch.apps.vhost_switch import (
    DeviceStatistics,
    NicStatistics,
    Options,
    Registered,
    VhostSwitch,
)
from pytest_vswitch.errors import DutError, InputError, NotHere
from pytest_vswitch.hosts import hugepages
from pytest_vswitch.hosts.host import Host, Process, check_runs
from pytest_vswitch.hosts.hugepages import Hugepages
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab.preflight import check_lcores, require_ports
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies import lcores, ports
from pytest_vswitch.topologies.axes import Axes
from pytest_vswitch.topologies.lcores import LcorePlan
from pytest_vswitch.topologies.topology import Facts, Flow, Hop, NicPort, Node, plain_flow

NAME: Final = "vhost_switch"
AXES: Final = Axes(("virtio-user",), vswitch="dpdk-vhost")

GUEST: Final = "guest testpmd"
GUEST_MEMORY_MB: Final = 128
DEVICES: Final = 2
"""Virtio ports of the guest (guide: testpmd forwards between an even number of them)."""
FAR_MAC: Final = "02:00:c6:12:00:aa"
"""Of a station on the wire that guests send to."""

_START_S: Final = 120.0
"""An emulated host takes its time."""
_LEARN_S: Final = 30.0
_LISTENS: Final = re.compile(r"waiting for client connection")
"""What virtio-user says as the server, of its first port: it then waits for the back-end."""
_EMULATED_BPS: Final = 2e6
"""What is offered to an emulated NIC: its full queues lose frames that nobody counts [bit/s]."""
_RED_HAT: Final = "0x1af4"
"""Subsystem vendor of the NICs that QEMU emulates."""


def guest_mac(device: int) -> str:
    return f"52:54:00:02:d9:{device + 1:02x}"


@dataclass(frozen=True, slots=True)
class GuestOptions:
    """How the guest's testpmd forwards."""

    mode: str = "macswap"
    """`macswap`, or `mac`, which writes addresses of its own."""
    topology: str = "paired"
    """`paired`: in by one port, out by the other; `loop`: out by the same."""
    peers: Mapping[int, str] | None = None
    """With `mac`: whom each port sends to."""
    device_arguments: str = ""
    """Of each virtio-user device, e.g. `,mrg_rxbuf=0`."""
    learn: bool = True
    """Whether it sends first, so that its addresses are learned (`start tx_first`)."""
    options: Sequence[str] = ()
    """Further ones of its own."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counters at one moment."""

    nic: NicStatistics
    devices: Mapping[int, DeviceStatistics]
    guest: Mapping[int, testpmd.PortCounters]


class Topology:
    """A running vhost-switch with its guest; see `topologies.topology.Topology`."""

    name = NAME

    def __init__(
        self,
        port: NicPort,
        switch: VhostSwitch,
        telemetry: Process,
        guest: testpmd.Testpmd,
        guest_process: Process,
        commands: tuple[tuple[str, tuple[str, ...]], ...],
        cores: LcorePlan,
        pages: Hugepages,
    ) -> None:
        self.ports = (port,)
        self.switch = switch
        self.guest = guest
        self.guest_process = guest_process
        self.generator_cpu = cores.generator_cpu
        """CPU left for a traffic generator on this host; None if it shares the others'."""
        self.learned: Sequence[Registered] = ()
        """By virtio port of the guest."""
        self._telemetry = telemetry
        self._commands = commands
        self._cores = cores
        self._pages = pages

    def learn(self) -> None:
        """Wait until both addresses of the guest are learned. Raises DutError."""
        found = {known.mac: known for known in self.switch.registered(DEVICES, timeout_s=_LEARN_S)}
        if not found:  # in a plan, nobody says anything
            return
        missing = [mac for mac in map(guest_mac, range(DEVICES)) if mac not in found]
        if missing:
            raise DutError(
                f"{vhost_switch.NAME} learned {', '.join(found)}, not the guest's "
                f"{', '.join(missing)}: the guest sends by other addresses than its own"
            )
        self.learned = [found[guest_mac(device)] for device in range(DEVICES)]

    @functools.cached_property
    def facts(self) -> Facts:
        """Read from the programs when first asked for."""
        port = self.ports[0]
        remarks = [] if self._pages.size_kb else [f"no hugepages: {self._pages.reason}"]
        if port.line_rate_bps == _EMULATED_BPS:
            remarks.append(
                "the NIC is QEMU's, which does not count what its full queues lose: "
                f"{_EMULATED_BPS / 1e6:g} Mbit/s stand for its line rate"
            )
        return Facts(
            versions={"host dpdk": self.switch.version, "guest dpdk": self.guest.version},
            virtio_features="",
            nic=f"{port.name} ({port.bdf})",
            accelerator="none",
            memory=str(self._pages),
            remarks=(*remarks, *self._cores.remarks),
            commands=self._commands,
        )

    @property
    def variant(self) -> Mapping[str, str]:
        return {}

    @property
    def nodes(self) -> Sequence[Node]:
        name = self.ports[0].name
        return (
            Node("generator", "generator", (name,)),
            Node(vhost_switch.NAME, "host", (name, "vhost0", "vhost1")),
            Node(GUEST, "container", ("virtio0", "virtio1")),
        )

    def peer(self, port: int) -> int:
        """Frames come out where they went in: the sample has one NIC port (22.11)."""
        return port

    def flow(self, port: int) -> Flow:
        """The guest's address and its VLAN, without which no frame reaches it."""
        plain = plain_flow(port, 1)
        vlan = self.learned[0].vlan if self.learned else 1000
        return Flow(plain.src_mac, guest_mac(0), plain.src_ip, plain.dst_ip, vlan)

    def transform(self, frame: bytes, port: int) -> bytes:
        """MAC addresses swapped by the guest, in the VLAN of its other port."""
        del port
        vlan = self.learned[1].vlan if self.learned else 1001
        tag = frame[12:14] + struct.pack("!H", vlan)
        return frame[6:12] + frame[:6] + tag + frame[16:]

    def snapshot(self) -> Snapshot:
        """The sample's table last: it is waited for, so all that was under way has passed."""
        devices = self.switch.statistics()
        guest = self.guest.counters()
        nic = vhost_switch.nic_statistics(self._telemetry)
        return Snapshot(nic, devices, guest)

    def path(self, tx_port: int, before: object, after: object) -> Sequence[Hop]:
        assert isinstance(before, Snapshot)
        assert isinstance(after, Snapshot)
        then, now = before, after
        name = self.ports[tx_port].name

        def nic(counter: str) -> int:
            return int(getattr(now.nic, counter)) - int(getattr(then.nic, counter))

        def device(number: int, counter: str) -> int:
            none = DeviceStatistics(0, 0, 0, 0)
            vid = self.learned[number].device if self.learned else number
            latest, earlier = now.devices.get(vid, none), then.devices.get(vid, none)
            return int(getattr(latest, counter)) - int(getattr(earlier, counter))

        def guest(port: int, counter: str) -> int:
            return int(getattr(now.guest[port], counter)) - int(getattr(then.guest[port], counter))

        missed = {
            "RX-missed": nic("missed"),
            "RX-errors": nic("errors"),
            "RX-nombuf": nic("no_mbuf"),
        }
        into = device(0, "rx_total")
        taken = into - device(0, "rx_dropped")
        out = device(1, "tx_total")
        return (
            Hop(f"{name} -> VMDq pool of vhost0", nic("rx") + sum(missed.values()), into, missed),
            Hop(
                f"{vhost_switch.NAME}: vhost0 -> virtio0",
                into,
                taken,
                {"RX dropped": device(0, "rx_dropped")},
            ),
            Hop(
                f"{GUEST}: virtio0 -> virtio1",
                taken,
                guest(1, "tx_packets"),
                {
                    "RX-missed": guest(0, "rx_missed"),
                    "RX-errors": guest(0, "rx_errors"),
                    "TX-dropped": guest(1, "tx_dropped"),
                },
            ),
            Hop("virtio1 -> vhost1", guest(1, "tx_packets"), out),
            # The sample throws away what the NIC's ring has no room for, and tells nobody.
            Hop(f"{vhost_switch.NAME}: vhost1 -> {name}", out, nic("tx")),
        )

    def check_alive(self) -> None:
        check_runs(self.switch.process)
        check_runs(self.guest_process)


def preflight(lab: Lab, host: Host) -> None:
    """Raise NotHere where no port can have VMDq, InputError for what else is missing."""
    require_ports(lab, NAME, 1)
    if lab.ports[0].kind != "nic":
        raise NotHere(
            f"{NAME} needs a NIC with VMDq (Intel 82576, 82599, X710, ...) as its first port; "
            f"{lab.where('ports', 0)} is of kind {lab.ports[0].kind}, which dpdk-vhost refuses "
            "(`Failed to get VMDq info`); the virtual DUT has such a NIC: `--dut vlab`"
        )
    dpdk.require(lab, host, "guest")
    ports.require_programs(host, [("dpdk-telemetry.py", "dpdk", "")])
    if not host.is_root():
        raise InputError(f"{NAME} on {host.name} needs root: for the NIC and for hugepages")
    ports.preflight(lab, host)
    check_lcores(lab, set(lcores.available(host)))
    lcores.plan_for(lab, host, [lcores.Wanted("peer", 2)])


@contextlib.contextmanager
def provision(lab: Lab, host: Host) -> Iterator[Topology]:
    """Wire and start it, forwarding; everything ends with the block.

    Raises InputError for a lab that does not fit, HostError for what the host lacks,
    DutError, with its last words, for a program that does not come up.
    """
    with started(lab, host, Options(), GuestOptions()) as topology:
        yield topology


@contextlib.contextmanager
def started(
    lab: Lab,
    host: Host,
    options: Options,
    guest: GuestOptions,
    *,
    vdevs: Sequence[str] = (),
) -> Iterator[Topology]:
    """As `provision`, with options of the guide; its guest has been learned if it `learn`s."""
    preflight(lab, host)
    with contextlib.ExitStack() as stack:
        built = vhost_switch_build.prepare(host)
        cores = lcores.plan_for(lab, host, [lcores.Wanted("peer", 2)])
        needs_mb = (max(lab.dut.memory_mb, vhost_switch.MEMORY_MB), GUEST_MEMORY_MB)
        pages = stack.enter_context(hugepages.reserve(host, lab.dut.hugepages, needs_mb))
        only_first = lab.model_copy(update={"ports": lab.ports[:1]})
        bound = stack.enter_context(ports.bound(only_first, host))
        (port,) = bound.ports
        assert isinstance(port, NicPort)  # preflight has refused others
        vendor = f"/sys/bus/pci/devices/{port.bdf}/subsystem_vendor"
        if host.exists(vendor) and host.read_text(vendor).strip() == _RED_HAT:
            port = replace(port, line_rate_bps=_EMULATED_BPS)
        prefix = f"vswitch-{host.scratch.rpartition('/')[2]}"
        sockets = [f"{host.scratch}/vhost{device}" for device in range(DEVICES)]
        # A program that was killed leaves its sockets; the next one would refuse to bind them.
        for path in (f"/var/run/dpdk/{prefix}", f"/var/run/dpdk/{prefix}-guest", *sockets):
            stack.enter_context(host.changing(Change("made", path)))
        parameters = vhost_switch.Parameters(
            lcores=cores.host_lcores,
            memory_mb=needs_mb[0],
            file_prefix=prefix,
            hugepages=pages.size_kb is not None,
            device=bound.devargs[0],
            vdevs=vdevs,
            sockets=sockets,
            options=options,
        )
        argv = parameters.argv(built.path, built.version)
        guest_argv = _guest(
            dpdk.of_peer(lab, host), sockets, cores, pages, guest, prefix, listens=options.client
        )

        def run_switch() -> Process:
            return stack.enter_context(
                host.spawn(
                    argv,
                    name=vhost_switch.NAME,
                    why="the sample, with a vhost-user socket for each virtio port of the guest "
                    "(guide, Running the Sample Code)",
                )
            )

        def run_guest() -> Process:
            return stack.enter_context(
                host.spawn(
                    guest_argv,
                    name=GUEST,
                    stop_with="quit\n",
                    why="two virtio-user ports (guide, Running virtio_user with vhost-switch)",
                )
            )

        if options.client:  # then the guest listens, and its prompt comes when both are there
            guest_process = run_guest()
            guest_process.read_until(_LISTENS, timeout_s=_START_S, what="its vhost-user sockets")
            switch = VhostSwitch(run_switch(), sockets=DEVICES, start_timeout_s=_START_S)
        else:
            switch = VhostSwitch(run_switch(), sockets=DEVICES, start_timeout_s=_START_S)
            guest_process = run_guest()
        forwarder = testpmd.Testpmd(guest_process, start_timeout_s=_START_S)
        telemetry = stack.enter_context(
            host.spawn(
                vhost_switch.telemetry(prefix),
                name="dpdk-telemetry",
                stop_with="quit\n",
                why="the NIC's counters, which the sample does not print",
            )
        )
        if guest.mode != "macswap":
            forwarder.command(f"set fwd {guest.mode}")
        topology = Topology(
            port,
            switch,
            telemetry,
            forwarder,
            guest_process,
            ((vhost_switch.NAME, tuple(argv)), (GUEST, tuple(guest_argv))),
            cores,
            pages,
        )
        if guest.learn:
            forwarder.command(
                "start tx_first",
                timeout_s=_LEARN_S,
                why="the sample learns an address from what the guest sends "
                "(guide, Running DPDK in the Virtual Machine)",
            )
            topology.learn()
        yield topology


def _guest(
    version: Dpdk,
    sockets: Sequence[str],
    cores: LcorePlan,
    pages: Hugepages,
    guest: GuestOptions,
    prefix: str,
    *,
    listens: bool,
) -> list[str]:
    """The command line of the guest's testpmd."""
    (given,) = cores.endpoints
    cpus = given.cpus
    spread = ",".join(map(str, cores.host_cpus))
    server = ",server=1" if listens else ""
    parameters = testpmd.Parameters(
        lcores=",".join(f"{n}@{cpu}" for n, cpu in enumerate(cpus))
        if cpus
        else f"0@({spread}),1@({spread})",
        memory_mb=GUEST_MEMORY_MB,
        file_prefix=f"{prefix}-guest",
        hugepages=pages.size_kb is not None,
        single_file_segments=pages.size_kb is not None,
        vdevs=[
            f"net_virtio_user{device},path={socket},queues=1,mac={guest_mac(device)}"
            f"{server}{guest.device_arguments}"
            for device, socket in enumerate(sockets)
        ],
        forward_mode="macswap",
        port_topology="loop" if guest.topology == "loop" else "paired",
        mbufs=4096,
        options=[
            *(f"--eth-peer={port},{mac}" for port, mac in (guest.peers or {}).items()),
            *guest.options,
        ],
    )
    return parameters.argv(version)
