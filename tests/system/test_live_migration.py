"""Real guests that move between real back-ends, under traffic; and moves that fail on purpose."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_vswitch.apps import migration as qemu_migration
from pytest_vswitch.apps.migration import VF
from pytest_vswitch.errors import DutError
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.measure import bonded, migration, outage
from pytest_vswitch.measure.functional import check_functional
from pytest_vswitch.measure.runner import TrialRunner
from pytest_vswitch.results.certification import Wired
from pytest_vswitch.results.run import Run
from pytest_vswitch.topologies.bonded_migration import BondedMigration
from pytest_vswitch.topologies.live_migration import LiveMigration
from pytest_vswitch.topologies.move import MigrationError, Move, cancelled, killed, too_small
from tests.system import running
from tests.system.conftest import Start
from tests.system.machine import Machine, process, processes

SUITE = "suites/live_migration"
SLOWLY = qemu_migration.Parameters(bandwidth_mbps=100)
ERROR_S = 30
"""How soon a fault has to be an error."""


def open_run(reports: Path) -> Run:
    ports = [{"kind": "memif"}, {"kind": "memif"}]
    lab = {"name": "it", "dut": {"host": "local"}, "ports": ports}
    return running.open_run(reports, Lab.model_validate(lab))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One run for all tests here: what is still clean is used again."""
    with running.opened(tmp_path_factory.mktemp("reports")) as run:
        yield run


@pytest.fixture
def wired(run: Run) -> Wired:
    return run.wired("live_migration")


def topology(wired: Wired) -> LiveMigration:
    assert isinstance(wired.topology, LiveMigration)
    return wired.topology


# --- it moves -----------------------------------------------------------------------------


def test_there_and_back(wired: Wired) -> None:
    """Steps: move the guest to the target and back, under traffic.

    Verify: no frame is doubled or changed, both addresses are announced from where it is, the
    books balance, each frame is accounted for at the place that had the guest; then every
    frame returns exactly.
    """
    for place in (1, 0):
        found, trial = migration.under_traffic(wired.topology, wired.generator, frame_bytes=64)
        assert found.faults() == []
        assert found.place == place
        assert found.moved.statistics.status == "completed"
        assert found.moved.stopped_ms is not None
        assert found.silence_ms > 0
        shares = trial.paths[0][1].facts
        assert all(int(shares[f"at the {name}"]) > 0 for name in ("source", "target"))
        assert "QEMU's downtime" in trial.paths[0][0].facts
        assert topology(wired).traveller.here is topology(wired).places[place]
        check_functional(wired.topology, wired.generator, 256)


# --- it does not move ---------------------------------------------------------------------


def nobody_listens() -> Move:
    return Move(route=lambda uri: f"{uri}-of-nobody")


def another_device() -> Move:
    """The QEMU that waits has its second port in another slot."""
    return Move(edit=lambda argv: [word.replace("addr=0x11", "addr=0x15") for word in argv])


def no_such_device() -> Move:
    """The QEMU that waits does not even start."""
    return Move(
        edit=lambda argv: [word.replace("virtio-net-pci", "virtio-not-pci") for word in argv]
    )


def frozen() -> Move:
    """The QEMU that waits stops reading, and whoever moves the guest gives up."""
    began: list[float] = []

    def freeze(move: Move) -> None:
        assert move.target is not None
        assert move.outgoing is not None
        if not began:
            began.append(time.monotonic())
            move.target.process.signal(signal.SIGSTOP)
        elif time.monotonic() - began[0] > 1:
            move.outgoing.cancel()

    return Move(SLOWLY, meanwhile=freeze)


def switch_killed(run: Run) -> Move:
    """The vSwitch to whose ports the guest would come is killed while memory is copied."""
    pid = pid_of(run, "target")

    def kill(move: Move) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    return Move(SLOWLY, meanwhile=kill)


def cut(stack: contextlib.ExitStack) -> Move:
    """A relay between the two ends the stream after its first 2 MB."""

    def route(uri: str) -> str:
        path = uri.removeprefix("unix:")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{path}-relay")
        listener.listen()
        stack.callback(os.unlink, f"{path}-relay")

        def relay() -> None:
            source, _ = listener.accept()
            with listener, source, socket.socket(socket.AF_UNIX) as target:
                target.connect(path)
                left = 2 << 20
                while left > 0 and (data := source.recv(min(left, 65536))):
                    target.sendall(data)
                    left -= len(data)

        thread = threading.Thread(target=relay)
        thread.start()
        stack.callback(thread.join, 30)
        return f"{uri}-relay"

    return Move(route=route)


def disk_full(stack: contextlib.ExitStack, directory: Path) -> Move:
    """The stream goes to a file on a disk of 4 MB."""
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", directory], check=True)
    stack.callback(lambda: subprocess.run(["umount", "--lazy", directory], check=True))
    return Move(route=lambda uri: f"exec:cat > {directory}/stream")


Make = Callable[[contextlib.ExitStack, Path, Run], Move]

FAILURES: dict[str, tuple[Make, str]] = {
    "cancelled": (lambda *_: cancelled(), "not moved to the target: cancelled"),
    "killed": (lambda *_: killed(), r"QEMU there is gone \(exit status -9\)"),
    "too small": (lambda *_: too_small(), "(?s)not moved to the target.*Size mismatch"),
    "another device": (lambda *_: another_device(), "(?s)not moved to the target.*0000:00:1"),
    "no such device": (lambda *_: no_such_device(), "(?s)did not start.*virtio-not-pci"),
    "nobody listens": (lambda *_: nobody_listens(), "Failed to connect"),
    "frozen": (lambda *_: frozen(), "not moved to the target: cancelled"),
    "socket cut": (lambda stack, *_: cut(stack), "not moved to the target"),
    "disk full": (lambda stack, path, _: disk_full(stack, path), "not moved to the target"),
    "vSwitch killed": (lambda stack, path, run: switch_killed(run), "target: host testpmd is gone"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_move_that_fails(run: Run, tmp_path: Path, name: str) -> None:
    """Steps: break the move in one of ten ways, under traffic.

    Verify: the error says in which; the guest forwards where it was, every frame exactly;
    books balance throughout.
    """
    make, message = FAILURES[name]
    wired = run.wired("live_migration")
    if topology(wired).traveller.here is topology(wired).places[1]:
        run.unwire()  # the messages here name the target
        wired = run.wired("live_migration")
    with contextlib.ExitStack() as stack:
        move = make(stack, tmp_path / "full", run)
        reason, trial = migration.failing(wired.topology, wired.generator, move, frame_bytes=64)
    assert re.search(message, reason), reason
    assert trial.received > 0


# --- a VF that is left in -----------------------------------------------------------------


def bond(wired: Wired) -> BondedMigration:
    assert isinstance(wired.topology, BondedMigration)
    return wired.topology


@pytest.mark.moves
def test_the_guides_first_chapter(run: Run) -> None:
    """Steps: try to move a guest with a VF; then as the guide does: take the VF out of bond and
    guest, move it, give it a VF again.

    Verify: the first is refused, naming the device, and the guest forwards on; the second
    moves it, and frames go on in every step.
    """
    wired = run.wired("bonded_migration")
    with pytest.raises(MigrationError, match=r"(?s)not moved.*0000:00:18.0"):
        outage.during(
            wired.topology,
            wired.generator,
            lambda watch: bond(wired).migrate(Move(), watch),
            audit=outage.by_link(bond(wired)),
            rate_pps=bonded.RATE_PPS,
            frame_bytes=64,
        )
    bond(wired).traveller.alone = False
    check_functional(wired.topology, wired.generator, 64)
    found, trial = bonded.under_traffic(wired.topology, wired.generator, frame_bytes=64)
    assert found.faults() == []
    assert [step.what.partition(" (")[0] for step in found.steps] == [
        "VF out of the bond",
        "device_del",
        "migrate",
        "device_add",
        "VF in the bond",
    ]
    state = bond(wired).bond.state()
    assert (state.primary, state.slaves) == (1, (0, 1))
    names = bond(wired).traveller.guest.machine.execute("qom-list", path="/machine/peripheral")
    assert VF in {entry["name"] for entry in names}
    assert trial.received > 0
    check_functional(wired.topology, wired.generator, 64)


# --- an announcement that is wrong --------------------------------------------------------


@pytest.mark.moves
def test_an_announcement_that_is_not_made(wired: Wired) -> None:
    """Verify: the move succeeds, and the missing announcement is named, with its address."""
    move = Move(qemu_migration.Parameters(announcements=0))
    found, _ = migration.under_traffic(wired.topology, wired.generator, frame_bytes=64, move=move)
    faults = found.faults()
    assert len(faults) == 2
    assert all("was not announced from where the guest is now" in fault for fault in faults)
    assert {fault.split()[0] for fault in faults} == set(found.macs)


@pytest.mark.moves
def test_an_announcement_of_another_address(wired: Wired, run: Run) -> None:
    """Steps: the QEMU that waits knows a port by another address.

    Verify: the address that came and the one that is missing are named.
    """
    wrong = Move(edit=lambda argv: [word.replace(":d9:01", ":d9:99") for word in argv])
    found, _ = migration.under_traffic(wired.topology, wired.generator, frame_bytes=64, move=wrong)
    (fault,) = found.faults()
    assert fault.startswith("52:54:00:02:d9:01 was not announced")
    assert "52:54:00:02:d9:99" in fault
    check_functional(wired.topology, wired.generator, 64)
    run.unwire()  # the next move would have that address, too


# --- killed -------------------------------------------------------------------------------


def pid_of(run: Run, program: str) -> int:
    """`source` and `target` are their vSwitches."""
    name = run.directory.path.name
    words = {place: f"--file-prefix vswitch-{name}-{place}" for place in ("source", "target")}
    return process(name, words.get(program, program))


def kill_soon(pid: int) -> threading.Timer:
    timer = threading.Timer(1.0, os.kill, (pid, signal.SIGKILL))
    timer.start()
    return timer


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("qemu-system-x86_64", r"source: QEMU is gone \(exit status -9\)"),
        ("source", r"source: host testpmd is gone \(exit status -9\)"),
        ("target", r"target: host testpmd is gone \(exit status -9\)"),
    ],
)
def test_a_program_that_is_killed(run: Run, machine: Machine, program: str, message: str) -> None:
    """Steps: `kill -9` a program in the middle of a trial.

    Verify: an error that names it within 30 s; what is wired next forwards; nothing is left.
    """
    run.unwire()
    wired = run.wired("live_migration")
    runner = TrialRunner(
        wired.topology,
        wired.generator,
        64,
        record=lambda trial: None,
        progress=lambda now: None,
        margin_s=ERROR_S,
    )
    timer = kill_soon(pid_of(run, program))
    began = time.monotonic()
    with pytest.raises(DutError, match=message):
        runner.run(migration.RATE_PPS, 60)
    assert time.monotonic() - began < ERROR_S
    timer.join()
    run.unwire()
    name = run.directory.path.name
    assert processes(name) == {}
    assert [path for path in machine.traces(name) if "/dpdk/" in path] == []


def test_a_source_that_is_killed_while_it_moves(run: Run) -> None:
    """Verify: an error that names it; there is no guest any more, and the next one forwards."""
    run.unwire()
    wired = run.wired("live_migration")
    pid = pid_of(run, "qemu-system-x86_64")

    def kill(move: Move) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    began = time.monotonic()
    with pytest.raises(DutError, match=r"source: QEMU is gone \(exit status -9\)"):
        migration.under_traffic(
            wired.topology, wired.generator, frame_bytes=64, move=Move(SLOWLY, meanwhile=kill)
        )
    assert time.monotonic() - began < ERROR_S
    run.unwire()
    wired = run.wired("live_migration")
    check_functional(wired.topology, wired.generator, 64)


# --- a certificate ------------------------------------------------------------------------


@pytest.mark.moves
def test_a_certificate(run: Run, start: Start, machine: Machine) -> None:
    """Steps: the suite's migrations, as a user runs them.

    Verify: they pass, what they cost is in the record, and nothing is left on the machine.
    """
    run.close()
    wanted = "test_migration or test_bonded_migration"
    session = start("certified", "--quick", "-k", wanted, suite=SUITE)
    assert session.end(300) == 0, session.output
    moved, bonded = session.record["cases"]
    assert moved["id"] == "live_migration:event=migration,frame_bytes=64"
    assert bonded["id"] == "bonded_migration:event=migration,frame_bytes=64"
    for case in (moved, bonded):
        (measurement,) = case["measurements"]
        (trial,) = measurement["trials"]
        assert "QEMU's downtime" in trial["paths"][0][0]["facts"]
        assert case["verdict"] == "measured"
    assert machine.traces(session.run) == []
