"""What befalls a test's machine is what its name says: seen with OpenSSH's client."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.hosts.machine import wait_until
from tests.machines import faults
from tests.machines.fixtures import MakeMachine
from tests.machines.machine import Machine
from tests.machines.session import Session
from tests.machines.test_machines import namespaces, ssh

SILENCE_S = 0.5
"""How long nothing is heard where nothing can be [s]."""


@pytest.mark.parametrize(
    ("to_machine", "from_machine"), [(True, True), (True, False), (False, True)]
)
def test_dropped_packets_are_silence_that_ends(
    dut: Machine, to_machine: bool, from_machine: bool
) -> None:
    with Session(dut) as session:
        dut.cable.drop(to_machine=to_machine, from_machine=from_machine)
        session.whispers("anybody there")
        with pytest.raises(TimeoutError):
            session.hears(SILENCE_S)
        assert session.is_open()
        dut.cable.heal()
        assert session.hears(60) == "anybody there"


def test_a_delay_is_the_round_trip(dut: Machine) -> None:
    with socket.create_connection((dut.address, dut.port), 60):
        pass  # each knows the other's MAC now
    dut.cable.delay(0.3)
    began = time.monotonic()
    with socket.create_connection((dut.address, dut.port), 60):
        assert time.monotonic() - began >= 0.3


def test_long_frames_vanish_in_a_black_hole(dut: Machine) -> None:
    with Session(dut) as session:
        dut.cable.black_hole(600)
        assert session.says("short") == "short"
        session.whispers("x" * 1000)
        with pytest.raises(TimeoutError):
            session.hears(SILENCE_S)
        assert session.is_open()


def test_a_cut_cable_has_no_carrier(dut: Machine) -> None:
    with Session(dut) as session:
        dut.cable.cut()
        assert dut.run(["cat", "/sys/class/net/eth0/carrier"]).stdout == b"0\n"
        session.whispers("anybody there")
        with pytest.raises(TimeoutError):
            session.hears(SILENCE_S)
        dut.cable.heal()
        assert dut.run(["cat", "/sys/class/net/eth0/carrier"]).stdout == b"1\n"
        assert session.hears(60) == "anybody there"


def test_a_power_cut_is_silent_until_it_is_on_again(dut: Machine) -> None:
    with Session(dut) as session:
        dut.power_off()
        session.whispers("anybody there")
        with pytest.raises(TimeoutError):
            session.hears(SILENCE_S)
        assert session.is_open()
        dut.boot()
        assert session.ended() == 255  # it knows of no such connection


def test_a_reboot_closes_connections(dut: Machine) -> None:
    before = dut.boot_id
    with Session(dut) as session:
        dut.reboot()
        assert session.ended() == 255
    assert dut.boot_id != before
    assert ssh(dut, "hostname") == "dut"


def test_sessions_outlive_a_restart_of_sshd(dut: Machine) -> None:
    listener = (dut.root / "run/sshd.pid").read_text()
    with Session(dut) as session:
        dut.restart_sshd()
        assert session.says("still there") == "still there"
    assert (dut.root / "run/sshd.pid").read_text() != listener
    assert ssh(dut, "hostname") == "dut"


def test_no_session_outlives_a_killed_sshd(dut: Machine) -> None:
    with Session(dut) as session:
        dut.kill_sshd()
        assert session.ended() == 255
    assert "Connection refused" in ssh(dut, "hostname")
    dut.start_sshd()
    assert ssh(dut, "hostname") == "dut"


def test_a_changed_host_key_is_refused(dut: Machine) -> None:
    fingerprint = dut.new_host_key()
    said = ssh(dut, "hostname")
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in said
    assert fingerprint in said
    dut.write_client_files()
    assert ssh(dut, "hostname") == "dut"


@pytest.mark.parametrize("path", ["/", "/run", "/tmp", "/dev/shm"])
def test_a_full_disk_takes_no_more(dut: Machine, path: str) -> None:
    faults.fill_disk(dut, path)
    assert "No space left on device" in ssh(dut, f"echo more >{path}/more")
    faults.empty_disk(dut, path)
    assert ssh(dut, f"echo more >{path}/more && cat {path}/more") == "more"


@pytest.mark.parametrize("path", ["/", "/run"])
def test_a_read_only_file_system_takes_nothing(dut: Machine, path: str) -> None:
    faults.read_only(dut, path)
    assert "Read-only file system" in ssh(dut, f"echo more >{path}/more")
    faults.writable(dut, path)
    assert ssh(dut, f"echo more >{path}/more && cat {path}/more") == "more"


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_clock_jumps_for_what_runs_and_what_starts(machines: MakeMachine, hours: int) -> None:
    dut = machines("dut", faketime=True)
    reads = ["sh", "-c", "while read line; do date +%s; done"]
    clock = subprocess.Popen(
        dut.entering(reads), env=dut.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert clock.stdin is not None
    uptime_s = float(ssh(dut, "cat", "/proc/uptime").split()[0])
    faults.shift_clock(dut, hours)
    clock.stdin.write(b"\n")
    seen = [clock.communicate(timeout=60)[0].decode(), ssh(dut, "date", "+%s")]
    now = datetime.now(timezone.utc)
    for moment in seen:
        shift = datetime.fromtimestamp(int(moment), timezone.utc) - now
        assert abs(shift - timedelta(hours=hours)) < timedelta(minutes=10)
    monotonic = ["python3", "-Ic", "'import time; print(time.monotonic())'"]
    assert uptime_s - 1 < float(ssh(dut, *monotonic)) < uptime_s + 600


@pytest.mark.parametrize(
    ("sudo", "without_password", "with_password"),
    [("none", False, False), ("nopasswd", True, True), ("password", False, True)],
)
def test_an_ordinary_user_has_the_sudo_that_was_given(
    dut: Machine, sudo: str, without_password: bool, with_password: bool
) -> None:
    user = faults.ordinary_user(dut, "alice", sudo)  # type: ignore[arg-type]
    assert ssh(dut, "id", "-un", user=user.name) == "alice"
    assert ssh(dut, "pwd", user=user.name) == "/home/alice"
    asked = subprocess.run(
        dut.ssh("sudo", "-S", "id", "-un", user=user.name),
        input=f"{user.password}\n".encode(),
        capture_output=True,
        timeout=60,
    )
    assert ("root" in ssh(dut, "sudo", "-n", "id", "-un", user=user.name)) == without_password
    assert (asked.stdout == b"root\n") == with_password
    assert not Path("/home/alice").exists()


def test_a_user_has_the_login_shell_that_was_given(dut: Machine) -> None:
    faults.ordinary_user(dut, "alice", login_shell="/bin/dash")
    assert ssh(dut, "readlink", "/proc/$$/exe", user="alice") == "/usr/bin/dash"


def test_a_machine_whose_kernel_panicked_can_be_booted(dut: Machine) -> None:
    (init,) = (process for process in dut.processes() if process.pid == 1)
    with Session(dut):
        os.kill(init.outer_pid, signal.SIGKILL)
        wait_until(lambda: not namespaces(init.outer_pid), "end of its process 1")
    dut.power_off()
    dut.boot()
    assert ssh(dut, "hostname") == "dut"
