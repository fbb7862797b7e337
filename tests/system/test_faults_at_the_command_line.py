"""Faults as the person at the keyboard meets them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.hosts.undo import Change
from tests.system.conftest import Start
from tests.system.machine import Machine, process
from tests.system.session import ENDLESS, SHORT, vswitch


def test_qemu_killed_in_the_first_of_two_cases(start: Start, machine: Machine) -> None:
    """Steps: two frame sizes; kill QEMU in the first search.

    Verify: that test is one error without a traceback, its case has the verdict `error`
    and its trials; the second case gets a fresh topology and is measured; exit status 1.
    """
    session = start("two", *SHORT, "--frame-size", "64,128")
    session.wait_for_trials(1)
    os.kill(process(session.run, "qemu-system-x86_64 "), signal.SIGKILL)
    assert session.end() == 1, session.output
    assert machine.traces(session.run) == []

    assert "3 passed, 1 error" in session.output
    assert "QEMU is gone (exit status -9)" in session.output
    assert "Traceback" not in session.output
    broken, measured = session.record["cases"]
    assert (broken["id"], broken["verdict"]) == ("pvp:frame_bytes=64", "error")
    assert broken["error"].startswith("QEMU is gone (exit status -9)")
    assert broken["measurements"][0]["trials"]
    assert (measured["id"], measured["verdict"]) == ("pvp:frame_bytes=128", "measured")
    assert measured["measurements"][0]["results"]
    assert session.record["finished"]
    assert "QEMU is gone (exit status -9)" in (session.directory / "report.html").read_text()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    directory = tmp_path / "small"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "vswitch-test", str(directory)]
    subprocess.run(mount, check=True)
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def fill(directory: Path) -> Path:
    """A file that takes all the room of its file system."""
    other = directory / "other"
    with contextlib.suppress(OSError), other.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    return other


def test_a_full_disk(start: Start, machine: Machine, small_disk: Path) -> None:
    """Steps: reports on a small disk, which something else fills during a search.

    Verify: an error that says so, without a traceback; the trials before it are kept, and
    with room again there is a report; nothing is left on the DUT.
    """
    session = start("full", *ENDLESS, reports=small_disk / "reports")
    session.wait_for_trials(2)
    before = session.trials
    other = fill(small_disk)
    assert session.end(60) == 1, session.output
    assert machine.traces(session.run) == []

    assert "disk full while writing" in session.output
    assert "make room, then `vswitch report RUN` shows them" in session.output
    assert "Traceback" not in session.output
    assert (session.directory / "journal.jsonl").read_bytes().endswith(b"\n")
    assert session.trials[: len(before)] == before

    other.unlink()
    vswitch("report", session.run, "--reports", str(session.reports))
    (case,) = session.record["cases"]
    assert case["measurements"][0]["trials"] == session.trials


def test_a_full_disk_does_not_keep_a_host_from_being_put_in_order(small_disk: Path) -> None:
    """Steps: a change to a host while its transcript cannot be written; then make room.

    Verify: it is made and undone; the transcript says how much of it is lost.
    """
    change = small_disk.parent / "change"
    transcript = Transcript(small_disk)
    with LocalHost(f"full-{os.getpid()}", transcript, small_disk.parent / "state") as host:
        other = fill(small_disk)
        with host.changing(Change("made", str(change))):
            host.write_text(str(change), "x" * 5000)
            host.run(["true"])
        assert not change.exists()
        other.unlink()
        host.run(["echo", "room again"])
    told = (small_disk / "transcript.log").read_text()
    assert told.startswith("--- lost, as they could not be written: 2 entries\n")
    assert "room again" in told


def test_a_guest_larger_than_the_machine(start: Start, tmp_path: Path, machine: Machine) -> None:
    """Steps: a lab whose guest wants a terabyte. Verify: one message, exit status 4, no run."""
    lab = tmp_path / "large.yaml"
    lab.write_text(
        "dut: {host: local}\nguest: {memory_mb: 1048576}\nports: [{kind: memif}, {kind: memif}]\n"
    )
    session = start("large", *SHORT, lab=str(lab))
    assert session.end(60) == 4, session.output
    assert session.output.count("not enough memory") == 1
    assert "lower dut.memory_mb or guest.memory_mb in the lab" in session.output
    assert "Traceback" not in session.output
    assert not session.reports.exists()
    assert machine.traces(session.run) == []
