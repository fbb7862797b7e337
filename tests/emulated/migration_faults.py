"""What can be wrong with servers, switch and guest: methods that take the place of good ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.emulated.migration_guest import Guest, Testpmd
from tests.emulated.migration_host import Host
from tests.emulated.migration_qemu import BROADCAST, Qemu
from tests.emulated.migration_world import Pf, Switch, World, packed

MAC = packed("02:00:c6:12:d9:01")
Spoil = Callable[[World, list[Host]], None]


def of(kind: type, **methods: Callable[..., Any]) -> Spoil:
    """Other methods, of each part of that kind: there, or that comes to be."""

    def spoil(world: World, hosts: list[Host]) -> None:
        there = (world.switch, *world.pfs, *hosts)
        before = world.spoil

        def later(part: object) -> None:
            before(part)
            _override(part, kind, methods)

        world.spoil = later
        for part in there:
            _override(part, kind, methods)

    return spoil


def both(*spoils: Spoil) -> Spoil:
    def spoil(world: World, hosts: list[Host]) -> None:
        for one in spoils:
            one(world, hosts)

    return spoil


def _override(part: object, kind: type, methods: Mapping[str, Callable[..., Any]]) -> None:
    if isinstance(part, kind):
        part.__class__ = type(kind.__name__, (part.__class__,), dict(methods))


def moved(testpmd: Testpmd) -> bool:
    """Whether its guest is at the target."""
    return testpmd.guest.qemu.pf.number == 1


def returned(testpmd: Testpmd) -> bool:
    """Whether its virtio port has come back to the bond."""
    return moved(testpmd) and testpmd.slaves == [1, 0]


# --- the bond ------------------------------------------------------------------------------


def inactive(when: Callable[[Testpmd, int], bool]) -> Spoil:
    """When a slave becomes active, virtio is not any more."""

    def activate(self: Any, number: int) -> None:
        super(type(self), self).activate(number)
        if when(self, number):
            self.active.remove(0)

    return of(Testpmd, activate=activate)


def stays_active(number: int) -> Spoil:
    """A slave that was removed is an active one still."""

    def remove(self: Any, slave: str, bond: str) -> str:
        said: str = super(type(self), self).remove(slave, bond)
        if int(slave) == number:
            self.active.append(number)
        return said

    return of(Testpmd, remove=remove)


def by_either_slave(when: Callable[[Testpmd], bool]) -> Spoil:
    """The card gives a VF's frames to the bridge, and the bond takes them of virtio."""

    def poll(self: Any) -> None:
        primary = self.primary
        if when(self) and 0 in self.slaves:
            self.primary = 0
        super(type(self), self).poll()
        self.primary = primary

    def takes(self: Any, target: bytes) -> bool:
        testpmd = self.qemu and self.qemu.guest and self.qemu.guest.testpmd
        if testpmd and len(testpmd.slaves) == 2 and when(testpmd):
            return False
        return bool(super(type(self), self).takes(target))

    return both(of(Testpmd, poll=poll), of(Pf, takes=takes))


def polls_nothing(when: Callable[[Testpmd], bool]) -> Spoil:
    """The bond does not fail over: it takes no frame of the slave that is left."""

    def poll(self: Any) -> None:
        if not when(self):
            super(type(self), self).poll()

    return of(Testpmd, poll=poll)


def forwards_wrongly(when: Callable[[Testpmd], bool]) -> Spoil:
    def forwarded(self: Any, frame: bytes) -> bytes:
        right: bytes = super(type(self), self).forwarded(frame)
        return right if not when(self) else right[:20] + b"\xff\xff" + right[22:]

    return of(Testpmd, forwarded=forwarded)


def tells_of_no_link(self: Any, bond: str) -> str:
    """The move leaves the bond without a link, by its own words."""
    said: str = super(type(self), self).show_bond(bond)
    if moved(self) and self.slaves == [0]:
        return said.replace("Active Slaves (1): [0]", "Active Slaves: []")
    return said


def forgets_its_slave(self: Any) -> None:
    """`device_del` takes the bond's other slave along."""
    super(type(self), self).release()
    self.guest.testpmd.active.clear()


def deaf_at_the_target(self: Any, kind: str, frame: bytes) -> None:
    if kind != "virtio" or self.qemu.pf.number == 0:
        super(type(self), self).receive(kind, frame)


# --- servers and switch --------------------------------------------------------------------


def keeps_the_address(self: Any, pf: Pf, mac: bytes) -> None:
    """Of the guest, whatever the PF is told."""
    if pf.vf is not None and pf.vf.given != MAC:
        super(type(self), self).give(pf, mac)


def never_gives_the_address(self: Any, pf: Pf, mac: bytes) -> None:
    if pf.number == 0 or mac != MAC:
        super(type(self), self).give(pf, mac)


def learns_once(self: Any, source: bytes, port: int) -> None:
    self.table.setdefault(source, port)


def sends_to_the_old_port_too(self: Any, port: int, target: bytes) -> list[int]:
    outputs: list[int] = super(type(self), self).outputs(port, target)
    return [0, 1] if outputs == [1] else outputs


def doubles_from_the_target(self: Any, port: int, frame: bytes) -> None:
    for _ in range(5 if port == 1 else 1):
        super(type(self), self).receive(port, frame)


# --- QEMU ----------------------------------------------------------------------------------


def says(status: str, instead_of: str) -> Spoil:
    """Once."""

    def query_status(self: Any) -> dict[str, object]:
        told: dict[str, object] = super(type(self), self).query_status()
        incoming = "-incoming" in self.given or instead_of == "postmigrate"
        if told["status"] == instead_of and incoming and not getattr(self, "has_said", False):
            self.has_said = True
            return {**told, "status": status}
        return told

    return of(Qemu, query_status=query_status)


def announces_by_other_frames(self: Any) -> None:
    """A switch learns by them; who waits for RARP does not."""
    self.pf.sent_by_tap((BROADCAST + self.mac + b"\x88\xb5").ljust(60, b"\0"))


def does_not_stand_still(self: Any, target: Any) -> None:
    """It says that the guest is stopped, and it forwards on."""
    advance = self.world.advance

    def forwards_on(ms: float) -> None:
        self.guest.stopped = False
        advance(ms)

    self.world.advance = forwards_on
    try:
        super(type(self), self).pass_on(target)
    finally:
        del self.world.advance


def holds_on(self: Any) -> None:
    """The guest's kernel does not let the VF go."""


def never_lets_go(self: Any, id: str) -> None:  # QEMU calls it so
    """The guest does not answer `device_del`."""


MUTANTS: tuple[tuple[str, Spoil], ...] = (
    ("frames return exactly at first", forwards_wrongly(lambda t: not moved(t))),
    (
        "the VF is the primary, both slaves are active, at first",
        inactive(lambda t, number: number == 1 and not moved(t)),
    ),
    ("frames go by the VF at first", by_either_slave(lambda t: not moved(t))),
    ("virtio is the primary and only slave without the VF", stays_active(1)),
    ("the VF has given the guest's address up", of(Host, give=keeps_the_address)),
    (
        "the bond forwards by virtio without the VF",
        polls_nothing(lambda t: t.slaves == [0] and not moved(t)),
    ),
    ("the bond is left alone by device_del", of(Qemu, release=forgets_its_slave)),
    ("QEMU waits at the target (1.3.7)", says("prelaunch", "inmigrate")),
    ("the source has let the guest go (1.3.8)", says("paused", "postmigrate")),
    ("the guest runs at the target (1.3.10)", says("paused", "running")),
    ("virtio is the primary and only slave at the target", of(Testpmd, show_bond=tells_of_no_link)),
    ("the switch sends frames to the new place", of(Switch, learn=learns_once)),
    ("the switch sends frames to the new place", of(Qemu, announce=holds_on)),
    ("the switch sends none to the old place", of(Switch, outputs=sends_to_the_old_port_too)),
    ("the bond forwards by virtio at the target", of(Guest, receive=deaf_at_the_target)),
    ("the new VF has the guest's address", of(Host, give=never_gives_the_address)),
    (
        "the VF is the primary, both slaves are active, at the target",
        inactive(lambda t, number: number == 1 and moved(t)),
    ),
    (
        "frames go by the VF at the target",
        by_either_slave(lambda t: moved(t) and t.slaves == [0, 1]),
    ),
    ("the VF is the only slave", stays_active(0)),
    ("frames go by the VF alone", polls_nothing(lambda t: t.slaves == [1])),
    (
        "the VF is the primary, both slaves are active, at the end",
        inactive(lambda t, number: number == 0 and moved(t)),
    ),
    ("frames go by the VF at the end", by_either_slave(returned)),
    (
        "the guest is announced where it is now",
        of(Qemu, announce=announces_by_other_frames),
    ),
    ("no frame is doubled but those that stood by", of(Switch, receive=doubles_from_the_target)),
    ("no frame is changed", forwards_wrongly(lambda t: moved(t) and t.slaves == [0])),
    (
        "the silence is as long as QEMU's standstill at least",
        of(Qemu, pass_on=does_not_stand_still),
    ),
    (
        "frames return exactly at the end",
        forwards_wrongly(lambda t: returned(t) and not t.guest.qemu.world.busy),
    ),
)
"""What fails, and what is wrong then."""
