"""QEMU's live migration: what it is told, what it tells, and a QEMU that waits for a guest.

Answers were captured from QEMU 7.2. The guide types `migrate tcp:ADDRESS:PORT` and `info
migrate` into QEMU's monitor (1.3.8, 2.3.12); here the same words go over QMP.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_vswitch.apps.guest import Machine
from pytest_vswitch.apps.qemu import Qmp
from pytest_vswitch.errors import DutError, HostError
from pytest_vswitch.hosts.host import Host, Process
from pytest_vswitch.hosts.undo import Change

VF = "vf1"
"""What QEMU calls the device that stands for a VF, as in the guide."""

_TRACKS_EMULATED = 9
"""The QEMU whose emulated CPUs are told when the marks of written pages were cleared."""

# --- parameters ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """How a guest is to be moved; the defaults are QEMU's, but for the speed."""

    bandwidth_mbps: int = 32_000
    """Most that the stream may take [Mbit/s]; QEMU's own limit is 1,074."""
    downtime_limit_ms: int = 300
    """The guest is stopped when what is left fits in so long a time; 0: when nothing is [ms]."""
    announcements: int = 5
    """Times that the new place is announced by RARP; 0: never."""

    def fit_for(self, machine: Machine) -> Parameters:
        """As it is safe for the guest of this QEMU, which is its source.

        Before QEMU 9.0 an emulated guest has to be stopped once its memory was gone through.
        What it wrote meanwhile is known then, and sent while it stands still. After a second
        look at that, while it runs, it writes to pages unnoticed (docs/live_migration.md).
        """
        if "tcg" not in machine.command:
            return self
        major = machine.execute("query-version")["qemu"]["major"]
        return replace(self, downtime_limit_ms=0) if major < _TRACKS_EMULATED else self

    def settings(self) -> dict[str, object]:
        """For QMP `migrate-set-parameters`."""
        return {
            "max-bandwidth": self.bandwidth_mbps * 1_000_000 // 8,
            "downtime-limit": self.downtime_limit_ms,
            "announce-rounds": self.announcements,
        }


def incoming_argv(command: Sequence[str], here: str, there: str) -> list[str]:
    """A waiting QEMU's argument list: that of the running one, moved from directory to directory.

    The guide wants "the same parameters as the VM on host_server_1, in migration-listen
    mode", "except without the VF parameters" (1.4.6, 2.4.5). Where it listens is told later.
    """
    words = [word.replace(here, there) for word in command]
    left_out = [
        place
        for place, (option, value) in enumerate(zip(words, [*words[1:], ""], strict=True))
        # It may have come from elsewhere itself.
        if option == "-incoming" or (option.startswith("-") and f"id={VF}" in value.split(","))
    ]
    kept = [
        word
        for place, word in enumerate(words)
        if place not in left_out and place - 1 not in left_out
    ]
    return [*kept, "-incoming", "defer"]


# --- facts --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Statistics:
    """What `query-migrate` says (`info migrate` of the guide, 2.3.12)."""

    status: str
    """`none`, `setup`, `active`, `device`, `completed`, `failed`, `cancelling`, `cancelled`, ..."""
    total_ms: int = 0
    downtime_ms: int = 0
    """From the guest's stop until the target says that it runs there, by the source's clock."""
    setup_ms: int = 0
    transferred_bytes: int = 0
    rounds: int = 0
    """How often the pages that were written meanwhile were gathered."""
    error: str = ""

    @property
    def ended(self) -> bool:
        return self.status in ("completed", "failed", "cancelled")


def parse_statistics(answer: Mapping[str, Any]) -> Statistics:
    """From QMP `query-migrate`; a QEMU that never migrated answers with nothing."""
    ram = answer.get("ram", {})
    return Statistics(
        status=answer.get("status", "none"),
        total_ms=answer.get("total-time", 0),
        downtime_ms=answer.get("downtime", 0),
        setup_ms=answer.get("setup-time", 0),
        transferred_bytes=ram.get("transferred", 0),
        rounds=ram.get("dirty-sync-count", 0),
        error=answer.get("error-desc", ""),
    )


def when(events: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Unix time of the last event of that name [s], by the clock of QEMU's host."""
    times = [event["timestamp"] for event in events if event["event"] == name]
    return times[-1]["seconds"] + times[-1]["microseconds"] / 1e6 if times else None


# --- running ------------------------------------------------------------------------------

_START_S = 30.0
_LOOK_S = 0.02


class Waiting:
    """A QEMU that waits for a guest, and is its machine afterwards; see `guest.Machine`."""

    def __init__(self, host: Host, process: Process, command: Sequence[str], qmp: str) -> None:
        """`qmp` is the path of its QMP socket. Raises DutError."""
        self.name = "QEMU"
        self.command = tuple(command)
        self.process = process
        try:
            self.qmp = Qmp(host, qmp)
        except HostError as error:
            raise DutError(f"QEMU on its QMP socket: {error}") from None

    def end(self, *, within_s: float = 0.0) -> str | None:
        status = self.process.status(within_s=within_s)
        return None if status is None else f"exit status {status}"

    def tail(self) -> str:
        return self.process.tail()

    def execute(self, command: str, **arguments: object) -> Any:
        return self.qmp.execute(command, **arguments)

    def close(self) -> None:
        self.qmp.close()

    def listen(self, uri: str, parameters: Parameters) -> None:
        """Wait for the stream there, e.g. `unix:PATH` or `tcp:127.0.0.1:5555`."""
        _prepare(self, parameters)
        self.qmp.execute("migrate-incoming", uri=uri)


@contextlib.contextmanager
def waiting(host: Host, command: Sequence[str], directory: str) -> Iterator[Waiting]:
    """A QEMU with this argument list, up to its QMP socket in `directory`.

    Raises DutError, with its last words, when it does not come up.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(host.changing(Change("made", directory)))
        host.run(["mkdir", "-p", directory], why="the consoles and QMP of the QEMU that waits")
        process = stack.enter_context(
            host.spawn(command, name="qemu", why="the same guest, in migration-listen mode")
        )
        machine = _connected(host, process, command, f"{directory}/qmp")
        stack.callback(machine.close)
        yield machine


def _connected(host: Host, process: Process, command: Sequence[str], qmp: str) -> Waiting:
    """It makes its socket before it looks at its devices and gets its memory."""
    deadline = time.monotonic() + _START_S
    while True:
        try:
            if host.exists(qmp):
                return Waiting(host, process, command, qmp)
        except DutError:
            if time.monotonic() > deadline:
                raise
        gone = process.status(within_s=_LOOK_S) is not None
        if gone or time.monotonic() > deadline:
            raise _not_started(process)


def _not_started(process: Process) -> DutError:
    said = process.tail().replace("\n", "\n    ") or "(no output)"
    return DutError(f"the QEMU that should wait for the guest did not start:\n    {said}")


class Outgoing:
    """A migration under way, seen from its source."""

    def __init__(self, machine: Machine, uri: str, parameters: Parameters) -> None:
        """Begin to move the guest of `machine`. Raises DutError."""
        self._machine = machine
        self._cancelled = False
        _prepare(machine, parameters)
        machine.execute("migrate", uri=uri)

    def statistics(self) -> Statistics:
        found = parse_statistics(self._machine.execute("query-migrate"))
        if self._cancelled and found.status == "failed":
            # QEMU shuts the socket before it notes why, and may call what follows a failure.
            return replace(found, status="cancelled", error="")
        return found

    def cancel(self) -> None:
        self._cancelled = True
        self._machine.execute("migrate_cancel")


def _prepare(machine: Machine, parameters: Parameters) -> None:
    """Both ends are told the same: the source keeps to the rates, the target announces.

    Without `return-path`, QEMU takes the last byte that it sent for the end of the downtime.
    """
    wanted = [{"capability": name, "state": True} for name in ("events", "return-path")]
    machine.execute("migrate-set-capabilities", capabilities=wanted)
    machine.execute("migrate-set-parameters", **parameters.settings())
