"""Live migration of a virtual machine between two vhost-user back-ends (guide, chapter 2).

    generator -+- port 0 and 1 of the source - vSwitch - vhost0, vhost1 - the guest
               +- port 0 and 1 of the target - vSwitch - vhost0, vhost1 - waits for it

The generator's ports flood, as the guide's switch does: each frame goes to both places. At
the one without the guest it ends as `TX-dropped` of a vhost-user port that nobody is at, by
design; a frame is lost when it ends so at both.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pytest_vswitch import registry
from pytest_vswitch.apps import users_guest
from pytest_vswitch.errors import DutError, InputError, NotHere
from pytest_vswitch.hosts import hugepages
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.hugepages import Hugepages
from pytest_vswitch.lab.preflight import check_lcores, require_ports
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.machine import memory
from pytest_vswitch.topologies import endpoints, lcores, ports
from pytest_vswitch.topologies.axes import Axes
from pytest_vswitch.topologies.counts import PortCounts, since
from pytest_vswitch.topologies.endpoints import VIRTIO_PORTS, guest_testpmd
from pytest_vswitch.topologies.endpoints.guest_testpmd import GuestTestpmd
from pytest_vswitch.topologies.lcores import Wanted
from pytest_vswitch.topologies.move import Move, Moved, Traveller
from pytest_vswitch.topologies.places import SOURCE, TARGET, Place, opened
from pytest_vswitch.topologies.ports import PORTS
from pytest_vswitch.topologies.topology import (
    Facts,
    Flow,
    Hop,
    MemifPort,
    NicPort,
    Node,
    plain_flow,
)
from pytest_vswitch.topologies.vswitches import Reading

NAME: Final = "live_migration"
AXES: Final = Axes(("guest-testpmd",), vswitch="testpmd")

TWO_OF_ALL = (
    "both places are on one machine: two vSwitches poll on the same CPUs, and the guest's "
    "memory is copied by the CPUs that forward"
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counters of both places and of the guest at one moment."""

    places: tuple[Reading | None, Reading | None]
    """None: the place is broken, and the guest could not go there."""
    guest: tuple[PortCounts, PortCounts]


def preflight(lab: Lab, host: Host) -> None:
    """Raise InputError for what the lab or the host lacks; nothing is changed."""
    _require_lab(lab, NAME)
    registry.vswitch(lab.dut.vswitch).preflight(lab, host)
    guest_testpmd.preflight(lab, host)
    if not host.is_root():
        raise InputError(
            f"{NAME} on {host.name} needs root: for hugepages, DPDK's physical addresses and "
            "the run's state in /run; run pytest as root"
        )
    for half in halves(lab):
        ports.preflight(half, host)
    check_lcores(lab, set(lcores.available(host)))
    lcores.plan_for(lab, host)
    needed_mb, available_mb = sum(needs_mb(lab)), memory.read(host).available_mb
    if available_mb < needed_mb:
        raise InputError(
            f"{host.name}: not enough memory: {NAME} has two of all, which needs {needed_mb} MB, "
            f"{available_mb} MB are available; lower dut.memory_mb or guest.memory_mb in the lab"
        )


def _require_lab(lab: Lab, name: str) -> None:
    """Raise InputError for a lab with which no guest can be moved."""
    if lab.guest.nic == "sriov":
        raise NotHere(f"{name} has virtio ports only: with --nic sriov, bonded_migration is it")
    nics = lab.ports[0].kind == "nic"
    require_ports(lab, name, 2 * PORTS if nics else PORTS)
    if lab.target is not None and lab.target.host != lab.dut.host:
        raise InputError(
            f"{lab.where('target', 'host')}: {name} moves a guest between two back-ends of one "
            f"machine so far: write `{lab.dut.host}`, or take `target` out"
        )
    if lab.guest.hypervisor != "qemu":
        raise InputError(
            f"{lab.where('guest', 'hypervisor')}: {name} tells QEMU itself what to do: write `qemu`"
        )
    if users_guest.is_wanted(lab):
        raise InputError(
            f"{lab.where('guest')}: {name} moves the built-in guest only: a guest of your own "
            "has a disk, which would have to be shared by both places"
        )
    if not registry.vswitch(lab.dut.vswitch).LISTENS:
        raise InputError(
            f"{lab.where('dut', 'vswitch')}: {name} needs a vSwitch that listens on its "
            "vhost-user sockets, so that QEMU can leave and come: write `testpmd`"
        )


def announced_by_the_back_end(lab: Lab) -> Lab:
    """The lab, with virtio's `guest_announce` off unless it says otherwise.

    With it on, the guest's testpmd (DPDK 22.11) crashed now and then on shared cores: it
    announces from another thread than forwards, which is suspected.
    """
    virtio = {"guest_announce": "off", **lab.guest.virtio}
    return lab.model_copy(update={"guest": lab.guest.model_copy(update={"virtio": virtio})})


def halves(lab: Lab) -> tuple[Lab, Lab]:
    """The lab with the ports of the source, and with those of the target.

    Of NICs the lab names four, all wired to one switch; memif ports are made anew.
    """
    there = lab.ports[PORTS : 2 * PORTS] if lab.ports[0].kind == "nic" else lab.ports[:PORTS]
    return lab, lab.model_copy(update={"ports": list(there)})


def needs_mb(lab: Lab) -> tuple[int, ...]:
    """Memory of each program that shares it [MiB]."""
    return (lab.dut.memory_mb, lab.dut.memory_mb, lab.guest.memory_mb, lab.guest.memory_mb)


@contextlib.contextmanager
def provision(lab: Lab, host: Host) -> Iterator[LiveMigration]:
    """Both places, and a guest that forwards at the source; everything ends with the block.

    Raises InputError for a lab that does not fit, HostError for what the host lacks,
    DutError, with its last words, for a program that does not come up.
    """
    preflight(lab, host)
    lab = announced_by_the_back_end(lab)
    cores = lcores.plan_for(lab, host, [Wanted("guest", guest_testpmd.vcpus(lab))])
    with contextlib.ExitStack() as stack:
        pages = stack.enter_context(hugepages.reserve(host, lab.dut.hugepages, needs_mb(lab)))
        here, there = (
            stack.enter_context(opened(half, host, name, cores, pages))
            for half, name in zip(halves(lab), (SOURCE, TARGET), strict=True)
        )
        running = stack.enter_context(contextlib.ExitStack())
        mine = cores.endpoints[0]
        seat = endpoints.Place(0, here.vhosts, False, mine.vcpus, mine.cpus, pages)
        guest = running.enter_context(guest_testpmd.start(lab, here.host, seat))
        here.vswitch.forward()
        there.vswitch.forward()
        traveller = Traveller((here, there), guest.machine.guest, guest.forwarder, running)
        yield LiveMigration(
            traveller,
            guest,
            generator_cpu=cores.generator_cpu,
            pages=pages,
            remarks=(*cores.remarks, TWO_OF_ALL),
        )


class LiveMigration:
    """Two places, and a guest at one of them; see `topologies.topology.Topology`."""

    name = NAME
    variant: Mapping[str, str] = {}

    def __init__(
        self,
        traveller: Traveller,
        guest: GuestTestpmd,
        *,
        generator_cpu: int | None,
        pages: Hugepages,
        remarks: Sequence[str],
    ) -> None:
        """`guest` is what the traveller was at its first place."""
        self.traveller = traveller
        self.places = traveller.places
        self.generator_cpu = generator_cpu
        """CPU left for a traffic generator on this host; None if it shares the others'."""
        self.ports = [_flooded(*pair) for pair in zip(*(p.ports for p in self.places), strict=True)]
        self._guest = guest
        self._pages = pages
        self._remarks = remarks

    @property
    def guest(self) -> GuestTestpmd:
        """The guest where it is now."""
        machine = replace(self._guest.machine, guest=self.traveller.guest)
        return replace(self._guest, machine=machine, forwarder=self.traveller.forwarder)

    @functools.cached_property
    def macs(self) -> tuple[str, ...]:
        """Addresses of the guest's ports, as its testpmd names them."""
        infos = (self.traveller.forwarder.port_info(number) for number in range(VIRTIO_PORTS))
        return tuple(info.mac.lower() for info in infos)

    def migrate(self, move: Move, watch: Callable[[], None]) -> Moved:
        """See `Traveller.migrate`."""
        return self.traveller.migrate(move, watch)

    # --- what it is ---

    @functools.cached_property
    def facts(self) -> Facts:
        """Read from the programs when first asked for."""
        inside = self.guest.facts
        remarks = []
        if isinstance(self.ports[0], MemifPort):
            remarks.append("memif ports (shared memory) stand for NICs: no DMA, no PCIe, no wire")
        remarks += inside.remarks
        if self._pages.size_kb is None:
            remarks.append(f"no hugepages: {self._pages.reason}")
        switch = self.traveller.here.vswitch
        return Facts(
            versions={**switch.versions, **inside.versions},
            virtio_features=inside.virtio_features,
            nic=", ".join(f"{port.name} ({switch.driver(port.name)})" for port in self.ports),
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
        names = tuple(port.name for port in self.ports)
        vhosts = tuple(vhost.name for vhost in self.places[0].vhosts)
        return (
            Node("generator", "generator", names),
            Node(both(self.places), "host", (*names, *vhosts)),
            Node(self.guest.name, self.guest.where, ("virtio0", "virtio1")),
        )

    def peer(self, port: int) -> int:
        return 1 - port

    def flow(self, port: int) -> Flow:
        return plain_flow(port, self.peer(port))

    def transform(self, frame: bytes, port: int) -> bytes:
        return self.guest.transform(frame, port)

    # --- what it counts ---

    def snapshot(self) -> Snapshot:
        here, there = (self._read(place) for place in self.places)
        return Snapshot((here, there), self.guest.counts())

    def _read(self, place: Place) -> Reading | None:
        try:
            return place.vswitch.read()
        except DutError:
            if place is self.traveller.there and self.traveller.alone:
                return None
            raise

    def path(self, tx_port: int, before: object, after: object) -> Sequence[Hop]:
        return self.road(tx_port, before, after, announced=0)

    def road(self, tx_port: int, before: object, after: object, *, announced: int) -> Sequence[Hop]:
        """The hops of both places together: at any moment the guest is at one of them.

        `announced` RARP frames came out at the end, that no generator has sent: they are
        taken off what their sender, the guest or its back-end, and all after it counted.
        """
        assert isinstance(before, Snapshot)
        assert isinstance(after, Snapshot)
        into, out_of = tx_port, self.peer(tx_port)

        read = [
            (place.name, then, now)
            for place, then, now in zip(self.places, before.places, after.places, strict=True)
            if then is not None and now is not None
        ]

        def at_both(name: str) -> Sequence[PortCounts]:
            return [since(then.ports[name], now.ports[name]) for _, then, now in read]

        ports, vhosts = at_both(self.ports[into].name), at_both(f"vhost{into}")
        back_vhosts, back_ports = at_both(f"vhost{out_of}"), at_both(self.ports[out_of].name)
        inner = [since(before.guest[port], after.guest[port]) for port in (into, out_of)]
        switches = both(self.places)
        delivered = sum(counts.tx for counts in vhosts)
        # Each place got a copy of every frame, and the books of both are in this sum.
        copies = [counts.rx + sum(counts.rx_drops.values()) for counts in ports]
        dropped = sum(
            sum(one.rx_drops.values()) + sum(two.tx_drops.values())
            for one, two in zip(ports, vhosts, strict=True)
        )
        returned = sum(counts.rx for counts in back_vhosts) - announced
        answered = inner[1].tx - (announced if self._guest_announces else 0)
        return (
            Hop(
                f"{switches}: {self.ports[into].name} -> vhost{into}",
                entered=copies[0],
                left=delivered,
                drops={"dropped at both places": dropped - sum(copies[1:])},
                facts={
                    f"at the {name}": str(counts.tx)
                    for (name, _, _), counts in zip(read, vhosts, strict=True)
                },
            ),
            Hop(
                f"vhost{into} -> virtio{into}",
                entered=delivered,
                left=inner[0].rx,
                drops=inner[0].rx_drops,
            ),
            Hop(
                f"{self.guest.name}: virtio{into} -> virtio{out_of}",
                entered=inner[0].rx,
                left=answered,
                drops=inner[1].tx_drops,
                facts={"announcements (RARP)": str(announced)} if announced else {},
            ),
            Hop(f"virtio{out_of} -> vhost{out_of}", entered=answered, left=returned),
            Hop(
                f"{switches}: vhost{out_of} -> {self.ports[out_of].name}",
                entered=returned,
                left=sum(counts.tx for counts in back_ports) - announced,
                drops={"TX-dropped": sum(sum(counts.tx_drops.values()) for counts in back_ports)},
            ),
        )

    @functools.cached_property
    def _guest_announces(self) -> bool:
        """Whether virtio lets it (VIRTIO_NET_F_GUEST_ANNOUNCE); the back-end does it otherwise."""
        return self.guest.machine.guest.property(0, "guest_announce") == "on"

    def check_alive(self) -> None:
        check_sockets(self.places)
        self.traveller.check_alive()


def both(places: Sequence[Place]) -> str:
    """What hops and drawings call the vSwitches of both places, which are alike."""
    return f"both {places[0].vswitch.name}s"


def check_sockets(places: Sequence[Place]) -> None:
    """Raise DutError when a socket that a generator needs was removed."""
    for place in places:
        for port in place.ports:
            if isinstance(port, MemifPort) and not place.host.exists(port.socket):
                raise DutError(
                    f"{place.name}: the socket of {port.name}, {port.socket}, was removed: "
                    "no generator can connect any more"
                )


def _flooded(here: MemifPort | NicPort, there: MemifPort | NicPort) -> MemifPort | NicPort:
    """What the generator attaches to: both memif servers; or the wire to the guide's switch."""
    if isinstance(here, MemifPort) and isinstance(there, MemifPort):
        return replace(here, also=(there.socket,))
    return here
