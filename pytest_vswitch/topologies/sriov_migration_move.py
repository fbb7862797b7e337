"""The move of a guest whose VF is out, step by step as the guide has it (1.3.6 to 1.3.10)."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Final

from pytest_vswitch.apps import guest as guest_app
from pytest_vswitch.apps.guest import Guest
from pytest_vswitch.apps.guest_image import GuestImage
from pytest_vswitch.apps.migration import (
    Parameters,
    Statistics,
    incoming_argv,
    parse_statistics,
    when,
)
from pytest_vswitch.apps.qmp_console import Machine, started
from pytest_vswitch.apps.testpmd import Testpmd
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.topologies.move import MigrationError, Moved
from pytest_vswitch.topologies.sriov_migration_place import Server

_COMPLETE_S: Final = 120.0
"""How long the copying of the memory may take [s]."""
_RUNS_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Stop:
    """A place that the guest can be at."""

    name: str
    host: Host
    server: Server
    image: GuestImage
    uri: str
    """Where the guest is sent that comes here."""

    @property
    def directory(self) -> str:
        """Of the guest's consoles and QMP."""
        return f"{self.host.scratch}/guest"

    @property
    def words(self) -> tuple[str, ...]:
        """What in QEMU's command line is of this place, beside its directory."""
        return (self.server.tap, self.image.kernel, self.image.initramfs)


@dataclass(slots=True)
class Told:
    """What `info status` said at each end (1.3.7, 1.3.8, 1.3.10); empty in a plan."""

    waiting: str = ""
    left: str = ""
    arrived: str = ""


@dataclass(slots=True)
class SriovMove:
    """The guest, wherever it is by now."""

    guest: Guest
    machine: Machine
    forwarder: Testpmd
    _running: contextlib.ExitStack
    """Ends the guest where it is."""
    under_way: bool = False
    told: Told = field(default_factory=Told)
    moved: Moved | None = None
    """The last one."""

    def close(self) -> None:
        self._running.close()

    def carry_out(self, here: Stop, there: Stop) -> None:
        """Raises MigrationError when the guest stays, DutError when it runs nowhere."""
        self.under_way = True
        try:
            with contextlib.ExitStack() as stack:
                try:
                    target, arrived = self._wait_there(here, there, stack)
                    statistics = self._send(there)
                except DutError as error:
                    self._call_off()
                    raise MigrationError(
                        f"the guest was not moved to the {there.name}: {error}"
                    ) from None
                self.told.left = self.machine.left_status("(guide, 1.3.8: postmigrate)")
                target.qmp.wait("RESUME", timeout_s=_RUNS_S, what="guest that runs there")
                self.told.arrived = target.status("(guide, 1.3.10: running)")
                one_clock = here.host.name == there.host.name
                self._arrive(target, arrived, statistics, stack.pop_all(), one_clock=one_clock)
        finally:
            self.under_way = False

    def _wait_there(
        self, here: Stop, there: Stop, stack: contextlib.ExitStack
    ) -> tuple[Machine, Guest]:
        """The same guest, without its VF, in migration-listen mode (1.3.6, 1.4.6)."""
        argv = incoming_argv(self.machine.command, here.host.scratch, there.host.scratch)
        for mine, theirs in zip(here.words, there.words, strict=True):
            argv = [word.replace(mine, theirs) for word in argv]
        stack.enter_context(there.host.changing(Change("made", there.directory)))
        there.host.run(["mkdir", "-p", there.directory], why="of the QEMU that waits")
        target = stack.enter_context(
            started(there.host, argv, there.directory, "the same guest, in migration-listen mode")
        )
        arrived = stack.enter_context(
            guest_app.connected(there.host, target, "guest", there.directory)
        )
        parameters = Parameters().fit_for(self.machine) if _answers(self.machine) else Parameters()
        wanted = [{"capability": name, "state": True} for name in ("events", "return-path")]
        for machine in (target, self.machine):
            machine.execute("migrate-set-capabilities", capabilities=wanted)
            machine.execute("migrate-set-parameters", **parameters.settings())
        target.tell("migrate-incoming", "-incoming (guide, 1.4.6)", uri=there.uri)
        self.told.waiting = target.status("(guide, 1.3.7: inmigrate)")
        return target, arrived

    def _send(self, there: Stop) -> Statistics:
        """`migrate`, until it is over (1.3.8). Raises DutError."""
        self.machine.tell("migrate", "(guide, 1.3.8)", uri=there.uri)
        self.machine.qmp.wait(
            "MIGRATION",
            '"status": "(completed|failed|cancelled)"',
            timeout_s=_COMPLETE_S,
            what="end of the migration",
        )
        answer = self.machine.tell("query-migrate", "`info migrate` (guide, 1.3.8)")
        statistics = parse_statistics(answer)
        if answer and statistics.status != "completed":
            raise DutError(statistics.error or statistics.status)
        return statistics

    def _call_off(self) -> None:
        """The guest runs on at the source, as far as it still can."""
        with contextlib.suppress(DutError):
            self.machine.execute("migrate_cancel")

    def _arrive(
        self,
        target: Machine,
        arrived: Guest,
        statistics: Statistics,
        stack: contextlib.ExitStack,
        *,
        one_clock: bool,
    ) -> None:
        """The source's QEMU ends, and the guest's consoles are those of the target."""
        source, running = self.machine, self._running
        self._running = stack
        self.moved = Moved(
            arrived,
            stack,
            statistics,
            stopped_s=when(source.qmp.events, "STOP"),
            resumed_s=when(target.qmp.events, "RESUME") if one_clock else None,
        )
        with contextlib.suppress(DutError):  # it ends before it has answered, now and then
            source.tell("quit", "(guide, 1.3.8)")
        running.close()
        self.guest, self.machine = arrived, target
        self.forwarder = self.moved.forwarder(self.forwarder)


def _answers(machine: Machine) -> bool:
    """Whether it runs: a planned one says nothing."""
    return bool(machine.execute("query-version"))
