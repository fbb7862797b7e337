"""One move of a guest from a place to another, step by step as the guide has them (1.3.6 to
1.3.9, 2.3.10 to 2.3.14)."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pytest_vswitch.apps import guest as guest_app
from pytest_vswitch.apps import migration
from pytest_vswitch.apps.guest import Guest, Machine
from pytest_vswitch.apps.migration import Outgoing, Statistics, Waiting, when
from pytest_vswitch.apps.qemu import QemuMachine
from pytest_vswitch.apps.testpmd import Testpmd
from pytest_vswitch.errors import DutError
from pytest_vswitch.topologies.places import Place

_SLOWLY = migration.Parameters(bandwidth_mbps=100)
_COMPLETE_S = 120.0
"""How long the copying of the memory may take; 2 GB need 20 s on two busy cores [s]."""
_RUNS_S = 30.0
_DYING_S = 1.0
_LOOK_S = 0.005


class MigrationError(DutError):
    """The guest was not moved; it runs where it was."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A guest at its new place, and what QEMU says of its way there."""

    guest: Guest
    stack: contextlib.ExitStack
    """Ends it."""
    statistics: Statistics
    stopped_s: float | None
    """When the source stopped it, by its QEMU's event [s, Unix time of that host]."""
    resumed_s: float | None
    """When the target let it run, by its QEMU's event [s, Unix time of that host]."""

    @property
    def stopped_ms(self) -> float | None:
        """From the one event to the other, by QEMU's clocks [ms]."""
        if self.stopped_s is None or self.resumed_s is None:
            return None
        return (self.resumed_s - self.stopped_s) * 1e3

    def forwarder(self, before: Testpmd) -> Testpmd:
        """Its testpmd, which never stopped, on the console that it has now.

        "Hit Enter key. This brings the user to the testpmd prompt." (2.3.13)
        """
        console = self.guest.testpmd
        console.write("\n")
        after = Testpmd(console)
        after.version = before.version
        return after


class Move:
    """One move; what is not said when it is made is as the guide has it."""

    def __init__(
        self,
        parameters: migration.Parameters | None = None,
        *,
        edit: Callable[[list[str]], Sequence[str]] = lambda argv: argv,
        route: Callable[[str], str] = lambda uri: uri,
        meanwhile: Callable[[Move], None] = lambda move: None,
    ) -> None:
        """For faults that are planted: `edit` may change the target's argument list, `route`
        where the source sends to; `meanwhile` is called while memory is being copied, every
        few milliseconds.
        """
        self.parameters = parameters or migration.Parameters()
        self.source: Guest | None = None
        self.target: Waiting | None = None
        self.outgoing: Outgoing | None = None
        self.statistics = Statistics("none")
        self._trouble = ""
        self._edit = edit
        self._route = route
        self._meanwhile = meanwhile
        self._here: Place | None = None
        self._there: Place | None = None

    def carry_out(
        self, here: Place, there: Place, guest: Guest, watch: Callable[[], None]
    ) -> Moved:
        """See `LiveMigration.migrate`."""
        self.source, self._here, self._there = guest, here, there
        argv = migration.incoming_argv(guest.machine.command, here.host.scratch, there.host.scratch)
        parameters = self.parameters.fit_for(guest.machine)
        with contextlib.ExitStack() as stack:
            with _told(f"the guest cannot be moved to the {there.name}"):
                self.target = stack.enter_context(
                    migration.waiting(there.host, list(self._edit(argv)), there.directory)
                )
                arrived = stack.enter_context(
                    guest_app.connected(there.host, self.target, "guest", there.directory)
                )
                uri = f"unix:{there.host.scratch}/migration"
                self.target.listen(uri, parameters)
                self.outgoing = Outgoing(guest.machine, self._route(uri), parameters)
            try:
                self._wait_for_end(self.outgoing, watch)
            except BaseException:
                self._call_off(self.outgoing)
                raise
            if self.statistics.status != "completed":
                raise self._failed(guest)
            target = self.target
            self._wait(lambda: _status(target) == "running", "the guest runs there", watch)
            return Moved(
                arrived,
                stack.pop_all(),
                self.statistics,
                stopped_s=_when(guest.machine, "STOP"),
                resumed_s=_when(target, "RESUME"),
            )

    def check_alive(self) -> None:
        """Raise DutError if the source's QEMU is gone. The target's end is the move's."""
        assert self.source is not None
        assert self._here is not None
        machine = self.source.machine
        if end := machine.end():
            raise DutError(
                f"{self._here.name}: {machine.name} is gone ({end}); its last output:\n"
                f"    {machine.tail() or '(none)'}"
            )

    def _wait_for_end(self, outgoing: Outgoing, watch: Callable[[], None]) -> None:
        deadline = time.monotonic() + _COMPLETE_S
        while True:
            self.statistics = outgoing.statistics()
            if self.statistics.ended and (
                self.statistics.total_ms or self.statistics.status != "completed"
            ):  # it completes a moment before it has added up how long that took
                return
            if self.statistics.status == "active":
                self._meanwhile(self)
            if not self._trouble:
                self._trouble = self._look_there(time.monotonic() > deadline)
                if self._trouble:
                    outgoing.cancel()
            watch()
            time.sleep(_LOOK_S)  # polls QEMU

    def _look_there(self, late: bool) -> str:
        """Why the guest must not go there any more; empty if it may."""
        assert self._there is not None
        try:
            self._there.check_alive()
        except DutError as error:
            return str(error)
        return f"not all was copied within {_COMPLETE_S:g} s" if late else ""

    def _call_off(self, outgoing: Outgoing) -> None:
        """Let the guest stay where it is, as far as it still can."""
        with contextlib.suppress(DutError):
            outgoing.cancel()

    def _wait(self, fact: Callable[[], bool], what: str, watch: Callable[[], None]) -> None:
        deadline = time.monotonic() + _RUNS_S
        while not fact():
            watch()
            if time.monotonic() > deadline:
                raise DutError(f"the guest was moved, but not within {_RUNS_S:g} s: {what}")
            time.sleep(_LOOK_S)  # polls QEMU

    def _failed(self, guest: Guest) -> MigrationError:
        """Why, in the words of whoever knows, once the guest runs on at the source."""
        self._wait(lambda: _status(guest.machine) == "running", "it runs on", lambda: None)
        assert self._there is not None
        assert self.target is not None
        ended = self.statistics
        # What was cancelled also failed to write to a socket that was closed for it.
        said = ended.error if ended.status != "cancelled" else ""
        said = self._trouble or said or ended.status
        text = f"the guest was not moved to the {self._there.name}: {said}"
        if (status := self.target.process.status(within_s=1.0)) is not None:
            text += f"; QEMU there is gone (exit status {status})"
        words = self.target.tail().replace("\n", "\n    ")
        return MigrationError(text + (f"; its last output:\n    {words}" if words else ""))


# --- moves that are bound to fail ---


def cancelled() -> Move:
    """Called off while memory is copied, as by `migrate_cancel`; slowly, so that it is in time."""

    def cancel(move: Move) -> None:
        if move.outgoing is not None:
            move.outgoing.cancel()

    return Move(_SLOWLY, meanwhile=cancel)


def killed() -> Move:
    """The QEMU that waits is killed while memory is copied."""

    def kill(move: Move) -> None:
        if move.target is not None:
            move.target.process.signal(signal.SIGKILL)

    return Move(_SLOWLY, meanwhile=kill)


def too_small() -> Move:
    """The QEMU that waits has less memory than the guest."""

    def shrink(argv: list[str]) -> list[str]:
        size_mb = int(argv[argv.index("-m") + 1])
        less = {f"{size_mb}": f"{size_mb // 2}", f"size={size_mb}M": f"size={size_mb // 2}M"}
        return [",".join(less.get(part, part) for part in word.split(",")) for word in argv]

    return Move(edit=shrink)


class Traveller:
    """A guest at one of two places, with a testpmd that forwards."""

    def __init__(
        self,
        places: tuple[Place, Place],
        guest: Guest,
        forwarder: Testpmd,
        running: contextlib.ExitStack,
    ) -> None:
        """It is at the first of the places; `running` ends it, and what takes its place."""
        self.here, self.there = self.places = places
        self.guest = guest
        self.forwarder = forwarder
        self._running = running
        self._move: Move | None = None
        self.alone = False
        """Whether the other place may be broken: the guest could not go there."""

    def migrate(self, move: Move, watch: Callable[[], None]) -> Moved:
        """Move it to where it is not, and end the QEMU that it leaves behind.

        `watch` is called every few milliseconds. Raises MigrationError when it fails: then
        the guest is where it was, and runs. Raises DutError when it runs nowhere.
        """
        self._move = move
        try:
            moved = move.carry_out(self.here, self.there, self.guest, watch)
        except MigrationError:
            self.alone = True
            raise
        finally:
            self._move = None
        self._running.close()
        self._running.enter_context(moved.stack)
        self.guest = moved.guest
        self.forwarder = moved.forwarder(self.forwarder)
        self.here, self.there = self.there, self.here
        return moved

    def check_alive(self) -> None:
        """Raise DutError, with the place's name, if a program of either place is gone."""
        self.here.check_alive()
        if self._move is not None:
            self._move.check_alive()  # QEMU's own words on its state are no fault meanwhile
            return
        if not self.alone:
            self.there.check_alive()
        try:
            self._check_guest()
        except DutError as error:
            raise DutError(f"{self.here.name}: {error}") from None

    def _check_guest(self) -> None:
        try:
            self.guest.check_alive()
        except DutError:
            # Its connections close before a program has ended: that says more.
            deadline = time.monotonic() + _DYING_S
            while self.guest.machine.end() is None and time.monotonic() < deadline:
                time.sleep(_LOOK_S)  # the condition: QEMU has ended
            self.guest.check_alive()
            raise


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """A target that refuses is a move that failed: the source has not noticed anything."""
    try:
        yield
    except DutError as error:
        raise MigrationError(f"{what}: {error}") from None


def _status(machine: Machine) -> str:
    return str(machine.execute("query-status")["status"])


def _when(machine: Machine, event: str) -> float | None:
    assert isinstance(machine, QemuMachine | Waiting)
    return when(machine.qmp.events(), event)
