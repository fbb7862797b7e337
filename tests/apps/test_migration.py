"""QEMU's live migration: its words, as QEMU 7.2 said them, and two real QEMUs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_vswitch.apps import migration
from pytest_vswitch.apps.guest import Machine
from pytest_vswitch.apps.migration import (
    Outgoing,
    Parameters,
    Statistics,
    Waiting,
    incoming_argv,
    parse_statistics,
    when,
)
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.local import LocalHost
from tests.hosts.machine import machine

COMPLETED = {
    "status": "completed",
    "setup-time": 4,
    "downtime": 752,
    "total-time": 15163,
    "ram": {
        "total": 1074798592,
        "postcopy-requests": 0,
        "dirty-sync-count": 3,
        "multifd-bytes": 0,
        "pages-per-second": 29223,
        "downtime-bytes": 29496793,
        "page-size": 4096,
        "remaining": 0,
        "mbps": 80.38604921168942,
        "transferred": 152092810,
        "duplicate": 228231,
        "normal": 36559,
    },
}
EVENTS = [
    {
        "timestamp": {"seconds": 1795252992, "microseconds": 628834},
        "event": "MIGRATION",
        "data": {"status": "setup"},
    },
    {"timestamp": {"seconds": 1795253007, "microseconds": 45232}, "event": "STOP"},
]

QEMU = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"]
QEMU += ["-machine", "q35", "-accel", "tcg", "-m", "64"]
END_S = 60.0


# --- words --------------------------------------------------------------------------------


def test_statistics() -> None:
    assert parse_statistics(COMPLETED) == Statistics(
        status="completed",
        total_ms=15163,
        downtime_ms=752,
        setup_ms=4,
        transferred_bytes=152092810,
        rounds=3,
    )
    assert parse_statistics({}) == Statistics("none")
    failed = parse_statistics({"status": "failed", "error-desc": "Unable to write to socket"})
    assert failed.ended
    assert failed.error == "Unable to write to socket"
    assert not parse_statistics({"status": "active"}).ended


def test_when_an_event_was() -> None:
    assert when(EVENTS, "STOP") == 1795253007.045232
    assert when(EVENTS, "RESUME") is None


def test_what_is_set() -> None:
    settings = Parameters(bandwidth_mbps=800, downtime_limit_ms=5, announcements=0).settings()
    assert settings == {"max-bandwidth": 100_000_000, "downtime-limit": 5, "announce-rounds": 0}


@pytest.mark.parametrize(
    ("accelerator", "major", "limit_ms"), [("tcg", 7, 0), ("tcg", 9, 300), ("kvm", 7, 300)]
)
def test_an_emulated_guests_memory_is_gone_through_once(
    accelerator: str, major: int, limit_ms: int
) -> None:
    def answer(command: str) -> object:
        assert command == "query-version"
        return {"qemu": {"major": major, "minor": 2, "micro": 22}, "package": ""}

    source = cast("Any", SimpleNamespace(command=("qemu", "-accel", accelerator), execute=answer))
    wanted = Parameters(bandwidth_mbps=800, announcements=0)
    assert wanted.fit_for(source) == replace(wanted, downtime_limit_ms=limit_ms)


def test_the_same_guest_elsewhere() -> None:
    """The directory is another one; a VF is left out, as is where it waited itself."""
    command = ["qemu", "-m", "64", "-chardev", "socket,id=c0,path=/run/x-source/vhost0"]
    removable = ["-chardev", "socket,id=vf1,path=/run/x-source/vhost1"]
    removable += ["-netdev", "vhost-user,id=vf1,chardev=vf1"]
    removable += ["-device", "virtio-net-pci,netdev=vf1,id=vf1,bus=slot0"]
    there = ["qemu", "-m", "64", "-chardev", "socket,id=c0,path=/run/x-target/vhost0"]
    moved = incoming_argv([*command, *removable], "/run/x-source", "/run/x-target")
    assert moved == [*there, "-incoming", "defer"]
    back = incoming_argv(moved, "/run/x-target", "/run/x-source")
    assert back == [*command, "-incoming", "defer"]


# --- two real QEMUs -----------------------------------------------------------------------


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LocalHost]:
    with machine(tmp_path) as here:
        yield here


Start = Callable[..., Waiting]


@pytest.fixture
def start(host: LocalHost) -> Iterator[Start]:
    """Starts a QEMU without a guest; its firmware is enough to be moved."""
    with contextlib.ExitStack() as stack:

        def start(name: str, *options: str) -> Waiting:
            directory = f"{host.scratch}/{name}"
            argv = [*QEMU, *options, "-qmp", f"unix:{directory}/qmp,server=on,wait=off"]
            return stack.enter_context(migration.waiting(host, argv, directory))

        yield start


@pytest.fixture
def pair(start: Start, host: LocalHost) -> tuple[Waiting, Waiting, str]:
    """One that runs, one that waits, and where."""
    source, target = start("a"), start("b", "-incoming", "defer")
    uri = f"unix:{host.scratch}/stream"
    target.listen(uri, Parameters())
    return source, target, uri


def end_of(outgoing: Outgoing) -> Statistics:
    deadline = time.monotonic() + END_S
    while not (now := outgoing.statistics()).ended:
        assert time.monotonic() < deadline, now
        time.sleep(0.02)  # polls QEMU
    return now


def status(qemu: Waiting) -> str:
    return str(qemu.execute("query-status")["status"])


def test_a_migration(pair: tuple[Waiting, Waiting, str]) -> None:
    source, target, uri = pair
    assert (status(source), status(target)) == ("running", "inmigrate")
    ended = end_of(Outgoing(source, uri, Parameters().fit_for(source)))
    assert ended.status == "completed"
    assert ended.transferred_bytes > 0
    if source.execute("query-version")["qemu"]["major"] < 9:
        assert ended.rounds == 2  # before anything was sent, and when it stood still
    deadline = time.monotonic() + END_S
    while status(target) != "running":
        assert time.monotonic() < deadline
        time.sleep(0.02)  # polls QEMU
    assert status(source) == "postmigrate"
    stopped_s, resumed_s = when(source.qmp.events(), "STOP"), when(target.qmp.events(), "RESUME")
    assert stopped_s is not None
    assert resumed_s is not None
    assert stopped_s < resumed_s


def test_one_that_is_cancelled(pair: tuple[Waiting, Waiting, str]) -> None:
    source, _, uri = pair
    outgoing = Outgoing(source, uri, Parameters(bandwidth_mbps=1))
    outgoing.cancel()
    assert end_of(outgoing).status == "cancelled"
    assert status(source) == "running"


def test_one_that_is_cancelled_and_called_a_failure() -> None:
    """QEMU 7.2 says this now and then of a move that it was told to cancel."""
    failed = {"status": "failed", "error-desc": "Unable to write to socket: Broken pipe"}
    machine = SimpleNamespace(execute=lambda command, **_: failed)
    outgoing = Outgoing(cast(Machine, machine), "unix:there", Parameters())
    assert outgoing.statistics().status == "failed"
    outgoing.cancel()
    assert outgoing.statistics() == Statistics("cancelled")


def test_one_whose_target_dies(pair: tuple[Waiting, Waiting, str]) -> None:
    source, target, uri = pair
    outgoing = Outgoing(source, uri, Parameters(bandwidth_mbps=1))
    target.process.signal(9)
    assert end_of(outgoing).status == "failed"
    assert status(source) == "running"
    assert target.process.status(within_s=10.0) == -9
    assert target.end() == "exit status -9"


def test_one_that_nobody_waits_for(start: Start, host: LocalHost) -> None:
    source = start("a")
    ended = end_of(Outgoing(source, f"unix:{host.scratch}/nobody", Parameters()))
    assert ended.status == "failed"
    assert "Failed to connect" in ended.error
    assert status(source) == "running"


def test_one_that_does_not_start(start: Start) -> None:
    message = "did not start:\n.*Property .*no-such-thing"
    with pytest.raises(DutError, match=rf"(?s){message}"):
        start("a", "-machine", "q35,no-such-thing=on")
