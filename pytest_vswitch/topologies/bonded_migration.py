"""Live migration of a virtual machine with a VF, by a bonded port in it (guide, chapter 1).

    generator -+- memif0 of the source - vSwitch - vhost0 - virtio: port 0 of the guest -+
               +- memif1 of the source - vSwitch - vhost1 - "VF":   port 1 of the guest -+- bond
               +- memif0, memif1 of the target: the same

A VF cannot be moved: it is taken out of the bond and of the guest before, and another put in
afterwards. A virtio device that is plugged and unplugged while the guest runs stands for it:
the guest sees the same hot-plug. One generator port floods all four links, as the guide's
switch does; the bond takes what comes by its primary slave, and sends by that, too.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final

from pytest_vswitch.apps import dpdk, guest_image, kvm, qemu, qemu_versions, testpmd
from pytest_vswitch.apps.bonding import Bond
from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts import hugepages
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.hugepages import Hugepages
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies import lcores, live_migration, macswap, sriov_migration_wiring
from pytest_vswitch.topologies.axes import Axes
from pytest_vswitch.topologies.counts import PortCounts, since
from pytest_vswitch.topologies.endpoints import guest_testpmd
from pytest_vswitch.topologies.lcores import Wanted
from pytest_vswitch.topologies.live_migration import both, check_sockets, needs_mb
from pytest_vswitch.topologies.move import Move, Moved, Traveller
from pytest_vswitch.topologies.places import SOURCE, TARGET, Place, opened
from pytest_vswitch.topologies.sriov_migration import SriovMigration
from pytest_vswitch.topologies.standin import ADDRESS, StandIn
from pytest_vswitch.topologies.topology import Facts, Flow, Hop, MemifPort, Node, plain_flow
from pytest_vswitch.topologies.virtual_machine import VirtualMachine
from pytest_vswitch.topologies.vswitches import Reading

NAME: Final = "bonded_migration"
AXES: Final = Axes(("guest-testpmd",), vswitch="testpmd")

VIRTIO, VF = 0, 1
"""Port numbers in the guest, and of the links at each place (guide, 1.3.3: P0 and P1)."""

_MEMORY_MB = 256
_BOOT_TIMEOUT_S = 90.0
_MACS = ("52:54:00:02:d9:01", "52:54:00:02:d9:02")
_SLOT, _PCIE_SLOT = 0x10, 0x18


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counters of both places, and of the guest's bonded port, at one moment."""

    places: tuple[Reading, Reading]
    bond: testpmd.PortCounters


def preflight(lab: Lab, host: Host) -> None:
    """Raise InputError for what the lab or the host lacks; nothing is changed."""
    if lab.guest.nic == "sriov":
        sriov_migration_wiring.preflight(lab, host)
        return
    live_migration.preflight(lab, host)
    if lab.ports[0].kind != "memif":
        raise InputError(
            f"{lab.where('ports', 0)}: {NAME} has a virtio device stand for the VF, and needs "
            "ports of kind `memif`; with `--nic sriov` it is a VF of a card"
        )


def provision(lab: Lab, host: Host) -> AbstractContextManager[BondedMigration | SriovMigration]:
    """With a virtio device in place of a VF, or with `guest.nic: sriov` the real thing."""
    if lab.guest.nic == "sriov":
        return sriov_migration_wiring.provision(lab, host)
    return _standing_in(lab, host)


def provision_between(
    lab: Lab, host: Host, there: Host
) -> AbstractContextManager[BondedMigration | SriovMigration]:
    """As `provision`, where the target is a server of its own."""
    if lab.guest.nic != "sriov":
        return provision(lab, host)  # which says that it is for one server
    return sriov_migration_wiring.provision(lab, host, there)


@contextlib.contextmanager
def _standing_in(lab: Lab, host: Host) -> Iterator[BondedMigration]:
    """Both places, and a guest at the source with a bond of two; everything ends with the block.

    Raises InputError for a lab that does not fit, HostError for what the host lacks,
    DutError, with its last words, for a program that does not come up.
    """
    preflight(lab, host)
    lab = live_migration.announced_by_the_back_end(lab)
    cores = lcores.plan_for(lab, host, [Wanted("guest", guest_testpmd.vcpus(lab))])
    with contextlib.ExitStack() as stack:
        pages = stack.enter_context(hugepages.reserve(host, lab.dut.hugepages, needs_mb(lab)))
        here, there = (
            stack.enter_context(opened(lab, host, name, cores, pages)) for name in (SOURCE, TARGET)
        )
        running = stack.enter_context(contextlib.ExitStack())
        program = qemu_versions.program(lab, host)
        image = guest_image.prepare(host, kernel=lab.guest.kernel, testpmd=dpdk.of_peer(lab, host))
        accelerator = kvm.choose(host, lab.guest.accelerator, image, program)
        vcpus = cores.endpoints[0].vcpus
        parameters = qemu.Parameters(
            image=image,
            accelerator=accelerator.name,
            vcpus=vcpus,
            cpus=cores.endpoints[0].cpus,
            memory_mb=lab.guest.memory_mb,
            hugepage_kb=pages.size_kb,
            guest_hugepages=_MEMORY_MB // 2 + 32,
            ports=[qemu.VhostUserPort(here.vhosts[VIRTIO].socket, _MACS[VIRTIO], _SLOT)],
            virtio=lab.guest.virtio,
            removable=qemu.VhostUserPort(here.vhosts[VF].socket, _MACS[VF], _PCIE_SLOT),
        )
        guest = running.enter_context(
            qemu.boot(here.host, parameters, program=program, timeout_s=_BOOT_TIMEOUT_S)
        )
        standin = StandIn(_MACS[VF], lab.guest.virtio)
        standin.bind(guest)
        forwarding = testpmd.Parameters(
            lcores=",".join(f"{lcore}@{lcore}" for lcore in range(vcpus)),
            memory_mb=_MEMORY_MB,
            file_prefix="guest",
            hugepages=True,
            driver_directory=image.driver_directory,
            forward_mode="macswap",
            port_topology="chained",
            forwarding_cores=1,
            mbufs=4096,
            descriptors=256,
        )
        argv = forwarding.argv(image.testpmd)
        guest.start(argv)
        forwarder = testpmd.Testpmd(guest.testpmd)
        bond = Bond.create(forwarder, (VIRTIO, VF), primary=VF)
        forwarder.command(f"set portlist {bond.port}", why="the bond only (guide, 1.3.3)")
        forwarder.start()
        here.vswitch.forward()
        there.vswitch.forward()
        yield BondedMigration(
            Traveller((here, there), guest, forwarder, running),
            VirtualMachine(
                guest, image, accelerator, lab.guest.virtio, (parameters.ports[0].address, ADDRESS)
            ),
            bond,
            standin,
            command=tuple(argv),
            generator_cpu=cores.generator_cpu,
            pages=pages,
            remarks=(*cores.remarks, live_migration.TWO_OF_ALL, "a virtio device stands for a VF"),
        )


class BondedMigration:
    """Two places, and a guest with a bond at one; see `topologies.topology.Topology`."""

    name = NAME
    variant: Mapping[str, str] = {}

    def __init__(
        self,
        traveller: Traveller,
        machine: VirtualMachine,
        bond: Bond,
        standin: StandIn,
        *,
        command: tuple[str, ...],
        generator_cpu: int | None,
        pages: Hugepages,
        remarks: Sequence[str],
    ) -> None:
        """`machine` is what the traveller was at its first place; `command` its testpmd's."""
        self.traveller = traveller
        self.places = traveller.places
        self.bond = bond
        self.generator_cpu = generator_cpu
        """CPU left for a traffic generator on this host; None if it shares the others'."""
        self.ports = [_all_links(self.places)]
        self.primary = VF
        self._machine = machine
        self._standin = standin
        self._command = command
        self._pages = pages
        self._remarks = remarks

    @property
    def mac(self) -> str:
        """The address by which the guest is reached while the VF is out."""
        return _MACS[VIRTIO]

    # --- the guide's steps, each under traffic ---

    def remove_vf(self) -> None:
        """Take the VF out of the bond, and out of testpmd (end of the guide's 1.3.3)."""
        self.bond.set_primary(VIRTIO)
        self.primary = VIRTIO
        self.bond.remove(VF)
        for command in (f"port stop {VF}", f"port close {VF}"):
            self.traveller.forwarder.command(command)
        self._standin.detach(self.traveller.forwarder)

    def unplug_vf(self) -> None:
        """`device_del vf1`, and wait for the guest to let it go (guide, 1.3.4)."""
        self._standin.unplug(self.traveller.guest)

    def migrate(self, move: Move, watch: Callable[[], None]) -> Moved:
        """Move the guest (guide, 1.3.6 to 1.3.9); see `Traveller.migrate`."""
        moved = self.traveller.migrate(move, watch)
        self.bond.testpmd = self.traveller.forwarder
        return moved

    def plug_vf(self) -> None:
        """`device_add`, as where the guest is now (guide, 1.3.10)."""
        self._standin.plug(self.traveller.guest, self.traveller.here.vhosts[VF].socket)
        self._standin.bind(self.traveller.guest)

    def add_vf(self) -> None:
        """Give the VF to testpmd and to the bond, as its primary (guide, 1.3.11)."""
        forwarder = self.traveller.forwarder
        self._standin.attach(forwarder, VF)
        self.bond.add(VF)
        self.bond.set_primary(VF)
        self.primary = VF
        # testpmd means to forward on every port that was attached, and would not let it go again.
        for command in ("stop", f"set portlist {self.bond.port}", "start"):
            forwarder.command(command)

    # --- what it is ---

    @functools.cached_property
    def facts(self) -> Facts:
        """Read from the programs when first asked for."""
        forwarder, switch = self.traveller.forwarder, self.traveller.here.vswitch
        machine = replace(self._machine, guest=self.traveller.guest)
        inside = machine.facts(
            {"guest dpdk": forwarder.version}, (forwarder.terminal.name, self._command)
        )
        remarks = ["memif ports (shared memory) stand for NICs: no DMA, no PCIe, no wire"]
        remarks += inside.remarks
        if self._pages.size_kb is None:
            remarks.append(f"no hugepages: {self._pages.reason}")
        return Facts(
            versions={**switch.versions, **inside.versions},
            virtio_features=inside.virtio_features,
            nic=f"{self.ports[0].name} ({switch.driver('memif0')}, shared memory)",
            accelerator=inside.accelerator,
            memory=str(self._pages),
            remarks=tuple(dict.fromkeys((*remarks, *switch.remarks, *self._remarks))),
            commands=(
                *(
                    (f"{place.name} {what}", argv)
                    for place in self.places
                    for what, argv in place.vswitch.commands
                ),
                *inside.commands,
            ),
        )

    @property
    def nodes(self) -> Sequence[Node]:
        name = self.ports[0].name
        vhosts = tuple(vhost.name for vhost in self.places[0].vhosts)
        return (
            Node("generator", "generator", (name,)),
            Node(both(self.places), "host", (name, *vhosts)),
            Node(self.traveller.forwarder.terminal.name, "guest", ("virtio0", "virtio1")),
        )

    def peer(self, port: int) -> int:
        """What the bond takes it sends back: its port is its own partner (guide, 1.3.3)."""
        return port

    def flow(self, port: int) -> Flow:
        return plain_flow(port, port + 1)

    def transform(self, frame: bytes, port: int) -> bytes:
        del port
        return macswap.transform(frame)

    # --- what it counts ---

    def snapshot(self) -> Snapshot:
        here, there = (place.vswitch.read() for place in self.places)
        return Snapshot((here, there), self.bond.counters())

    def path(self, tx_port: int, before: object, after: object) -> Sequence[Hop]:
        """By the primary slave, while nothing changes: copies by other links are not looked at."""
        del tx_port
        assert isinstance(before, Snapshot)
        assert isinstance(after, Snapshot)
        number = self.places.index(self.traveller.here)
        switches, slave = both(self.places), self.primary
        port, vhost = self._counts(before, after, number, slave)
        rx = after.bond.rx_packets - before.bond.rx_packets
        tx = after.bond.tx_packets - before.bond.tx_packets
        name = f"memif{slave}"
        return (
            Hop(f"{switches}: {name} -> vhost{slave}", port.rx, vhost.tx, vhost.tx_drops),
            Hop(f"vhost{slave} -> virtio{slave}", vhost.tx, rx),
            Hop(
                f"{self.traveller.forwarder.terminal.name}: bond -> bond",
                entered=rx,
                left=tx,
                drops={"TX-dropped": after.bond.tx_dropped - before.bond.tx_dropped},
            ),
            Hop(f"virtio{slave} -> vhost{slave}", tx, vhost.rx),
            Hop(f"{switches}: vhost{slave} -> {name}", vhost.rx, port.tx, port.tx_drops),
        )

    def links(self, before: object, after: object) -> Sequence[tuple[Hop, Hop]]:
        """Of each link, what its vSwitch made of all that came from either side.

        While slaves come and go no path leads through: a frame that waits in the ring of a
        slave that stands by comes out when that becomes the primary, or never.
        """
        assert isinstance(before, Snapshot)
        assert isinstance(after, Snapshot)
        found = []
        for number, place in enumerate(self.places):
            for slave in (VIRTIO, VF):
                port, vhost = self._counts(before, after, number, slave)
                name = f"{place.name} {place.vswitch.name}"
                inwards = f"{name}: memif{slave} -> vhost{slave}"
                outwards = f"{name}: vhost{slave} -> memif{slave}"
                found.append(
                    (
                        Hop(inwards, port.rx, vhost.tx, vhost.tx_drops),
                        Hop(outwards, vhost.rx, port.tx, port.tx_drops),
                    )
                )
        return found

    def _counts(
        self, before: Snapshot, after: Snapshot, number: int, slave: int
    ) -> tuple[PortCounts, PortCounts]:
        """Of a link's memif and vhost-user port."""
        then, now = before.places[number].ports, after.places[number].ports
        port, vhost = (
            since(then[name], now[name])
            for name in (self.places[number].ports[slave].name, f"vhost{slave}")
        )
        return port, vhost

    def check_alive(self) -> None:
        check_sockets(self.places)
        self.traveller.check_alive()


def _all_links(places: Sequence[Place]) -> MemifPort:
    """One port whose frames go to every port of every place."""
    ports = [port for place in places for port in place.ports if isinstance(port, MemifPort)]
    return replace(ports[0], name="bond", also=tuple(port.socket for port in ports[1:]))
