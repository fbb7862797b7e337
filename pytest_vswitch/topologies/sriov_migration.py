"""Live migration of a virtual machine with an SR-IOV VF (guide, chapter 1).

    generator == switch -+- PF of the source -- VF, and bridge - tap -- the guest
                         +- PF of the target -- VF, and bridge - tap -- waits for it

The guest's testpmd has a bond of virtio (port 0) and VF (port 1, its primary). The VF is taken
out of the bond and of the guest, the guest is moved, and gets a VF of where it is then. Both
places are on one server, or on two. VF and virtio have one address: the switch learns by QEMU's
announcement where the guest is.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_vswitch.apps import testpmd
from pytest_vswitch.apps.bonding import Bond, BondState, parse_state
from pytest_vswitch.apps.migration import VF as VF_ID
from pytest_vswitch.hosts.hugepages import Hugepages
from pytest_vswitch.topologies import macswap, sriov_migration_guest
from pytest_vswitch.topologies.sriov_migration_guest import VIRTIO_ADDRESS
from pytest_vswitch.topologies.sriov_migration_move import SriovMove, Stop
from pytest_vswitch.topologies.sriov_migration_place import MAC, Server
from pytest_vswitch.topologies.standin import ADDRESS
from pytest_vswitch.topologies.topology import Facts, Flow, Hop, NicPort, Node

NAME: Final = "bonded_migration"
VIRTIO, VF = 0, 1
"""Port numbers in the guest (guide, 1.3.3: P0 and P1)."""
_UNPLUG_S = 30.0
_LINK_S = 10.0
"""How long a port that was started may take until its link is up [s]."""
_LOOK_S = 0.02
_STATION: Final = "02:00:c6:12:00:01"


@dataclass(frozen=True, slots=True)
class Look:
    """What the guide looks at between its steps."""

    state: BondState
    """`show bonding config 2`."""
    received: tuple[int, int, int]
    """`show port stats all`: of virtio, VF and bond [frames]."""
    at_pf: tuple[int, int]
    """Frames that went to the bridge, at the source and at the target."""


class SriovMigration:
    """Two places, and a guest with a bond at one; see `topologies.topology.Topology`."""

    name = NAME
    variant: Mapping[str, str] = {"nic": "sriov"}
    bond: Bond

    def __init__(
        self,
        wire: NicPort,
        stops: tuple[Stop, Stop],
        move: SriovMove,
        *,
        generator_cpu: int | None,
        pages: Hugepages,
        command: tuple[str, ...],
        remarks: Sequence[str],
    ) -> None:
        self.ports = (wire,)
        self.stops = stops
        self.here, self.there = stops
        self.move = move
        self.mac = MAC
        self.generator_cpu = generator_cpu
        self._pages = pages
        self._command = command
        self._remarks = remarks

    @property
    def forwarder(self) -> testpmd.Testpmd:
        return self.move.forwarder

    @property
    def server(self) -> Server:
        """Where the guest is."""
        return self.here.server

    # --- the guide's steps ---

    def bring_up(self) -> None:
        """The bond, with the VF as its primary, forwards (1.3.3). Raises DutError."""
        forwarder = self.forwarder
        forwarder.command("show port info all", why="virtio is port 0, the VF port 1 (1.3.3)")
        self._ask_for_address()
        self.bond = Bond.create(forwarder, (VIRTIO, VF), primary=VF)
        forwarder.command(f"set portlist {self.bond.port}", why="the bond only (guide, 1.3.3)")
        forwarder.command("show config fwd")
        forwarder.start()
        self._wait_until_active(VF)

    def remove_vf(self) -> None:
        """The VF leaves the bond and testpmd (end of 1.3.3); frames go to the bridge then."""
        forwarder = self.forwarder
        self.bond.set_primary(VIRTIO)
        self.bond.remove(VF)
        if self.server.asks_by_itself:
            sriov_migration_guest.drop_address(forwarder, VF)
        sriov_migration_guest.detach(forwarder, ADDRESS, VF)
        self.server.take_address()

    def unplug_vf(self) -> None:
        """`device_del vf1`, and wait for the guest to let it go (1.3.4). Raises DutError."""
        machine = self.move.machine
        machine.tell("device_del", "(guide, 1.3.4)", id=VF_ID)
        machine.qmp.wait(
            "DEVICE_DELETED",
            f'"device": "{VF_ID}"',
            timeout_s=_UNPLUG_S,
            what=f"end of {VF_ID}, which the guest must let go",
        )
        sriov_migration_guest.check_gone(self.move.guest)
        self.forwarder.command("show port info all", why="virtio and bond are left (1.3.5)")

    def migrate(self) -> None:
        """Move the guest to where it is not (1.3.6 to 1.3.10).

        Raises MigrationError when it stays, DutError when it runs nowhere.
        """
        self.move.carry_out(self.here, self.there)
        self.bond.testpmd = self.forwarder
        self.here, self.there = self.there, self.here

    def plug_vf(self) -> None:
        """`device_add` of a VF of where the guest is now (1.3.10). Raises DutError."""
        sriov_migration_guest.plug(self.move.machine, self.server)
        sriov_migration_guest.bind_vf(self.move.guest)

    def add_vf(self) -> None:
        """The VF comes to testpmd and to the bond, as its primary (1.3.11). Raises DutError."""
        self.server.give_address()  # its driver asks for it when it is attached
        sriov_migration_guest.attach(self.forwarder, ADDRESS, VF)
        self._ask_for_address()
        self.bond.add(VF)
        self._wait_until_active(VF)  # only an active slave can be the primary of some
        self.bond.set_primary(VF)
        self._use_bond_only()

    def retire_virtio(self) -> None:
        """The virtio port leaves the bond and testpmd (end of 1.3.11). Raises DutError."""
        self.bond.remove(VIRTIO)
        sriov_migration_guest.detach(self.forwarder, VIRTIO_ADDRESS, VIRTIO)

    def return_virtio(self) -> None:
        """And comes back, for the next move. Raises DutError."""
        sriov_migration_guest.attach(self.forwarder, VIRTIO_ADDRESS, VIRTIO)
        self.bond.add(VIRTIO)
        self._wait_until_active(VIRTIO)
        self._use_bond_only()

    def walk(self) -> None:
        """The whole chapter, for a plan: what `measure.vf_migration` does under traffic."""
        self.look()
        for step in (
            self.remove_vf,
            self.unplug_vf,
            self.migrate,
            self.plug_vf,
            self.add_vf,
            self.retire_virtio,
            self.return_virtio,
        ):
            step()
            self.look()

    def look(self) -> Look | None:
        """None where nobody answers: in a plan."""
        shown = self.forwarder.command(f"show bonding config {self.bond.port}")
        received = sriov_migration_guest.received(self.forwarder, (VIRTIO, VF, self.bond.port))
        if not shown or len(received) != 3:
            return None
        here, there = (stop.server.bridged for stop in self.stops)
        return Look(parse_state(shown), received, (here, there))

    def vf_addresses(self) -> tuple[str, ...]:
        """What the guest's VF takes frames for."""
        return sriov_migration_guest.addresses(self.forwarder, VF)

    def _ask_for_address(self) -> None:
        """Where the PF has not given it: "mac_addr add" (1.3.3, 1.3.11)."""
        if self.server.asks_by_itself:
            sriov_migration_guest.ask_for_address(self.forwarder, VF)

    def _wait_until_active(self, slave: int) -> None:
        """The bond looks at links now and then. One that stays down is seen by what comes next."""
        deadline = time.monotonic() + _LINK_S
        while time.monotonic() < deadline:
            shown = self.forwarder.command(
                f"show bonding config {self.bond.port}", why=f"until slave {slave} is active"
            )
            if not shown or slave in parse_state(shown).active:
                return
            time.sleep(_LOOK_S)  # polls testpmd

    def _use_bond_only(self) -> None:
        # testpmd means to forward on every port that was attached, and would not let it go again.
        for command in ("stop", f"set portlist {self.bond.port}", "start"):
            self.forwarder.command(command)

    # --- what it is ---

    @functools.cached_property
    def facts(self) -> Facts:
        machine, forwarder = self.move.machine, self.forwarder
        kvm_on = "kvm" in machine.command
        remarks = [] if self._pages.size_kb else [f"no hugepages: {self._pages.reason}"]
        if len({stop.host.name for stop in self.stops}) == 1:
            remarks.append("both places are on one machine, and share its CPUs")
        return Facts(
            versions={
                "guest dpdk": forwarder.version,
                "qemu": self.move.guest.version,
                "guest kernel": self.move.guest.run("uname -r").strip(),
            },
            virtio_features="",
            nic=f"{self.ports[0].name} ({self.server.driver}), and a VF of it",
            accelerator="kvm" if kvm_on else "tcg",
            memory=str(self._pages),
            remarks=(*remarks, *self._remarks),
            commands=(("QEMU", machine.command), (forwarder.terminal.name, self._command)),
        )

    @property
    def nodes(self) -> Sequence[Node]:
        name = self.ports[0].name
        return (
            Node("generator", "generator", (name,)),
            Node("both PFs", "host", (name, "VF", "bridge")),
            Node(self.forwarder.terminal.name, "guest", ("virtio0", "vf1")),
        )

    def peer(self, port: int) -> int:
        """What the bond takes it sends back (1.3.3: `set portlist 2`)."""
        return port

    def flow(self, port: int) -> Flow:
        del port
        return Flow(_STATION, MAC, "198.18.0.1", "198.19.0.1")

    def transform(self, frame: bytes, port: int) -> bytes:
        del port
        return macswap.transform(frame)

    def snapshot(self) -> testpmd.PortCounters:
        return self.bond.counters()

    def path(self, tx_port: int, before: object, after: object) -> Sequence[Hop]:
        """The bond's: a VF's frames pass no program of the host."""
        assert isinstance(before, testpmd.PortCounters)
        assert isinstance(after, testpmd.PortCounters)
        return (
            Hop(
                f"{self.ports[tx_port].name}: bond -> bond",
                entered=after.rx_packets - before.rx_packets,
                left=after.tx_packets - before.tx_packets,
                drops={"TX-dropped": after.tx_dropped - before.tx_dropped},
            ),
        )

    def check_alive(self) -> None:
        if not self.move.under_way:
            self.move.guest.check_alive()
