"""The controller dies, or there are two of them."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pytest_vswitch.errors import HostError
from tests.hosts.machine import wait_until
from tests.machines.disk import PROJECT
from tests.machines.machine import Machine
from tests.remote.door import (
    HASTY_S,
    PATIENT_S,
    Facts,
    InBackground,
    at_work,
    looked_at,
    opened,
    reached,
    wait_until_as_found,
)

HOLDS = """
import sys
from pytest_vswitch.hosts.opening import open_address
from pytest_vswitch.lab.remote import Ssh
from tests.remote.door import at_work
with open_address(sys.argv[1], Ssh.model_validate_json(sys.argv[2]), run="theirs") as host:
    with at_work(host):
        print("at work", flush=True)
        sys.stdin.read()
print("gone", flush=True)
"""


@contextlib.contextmanager
def another_controller(dut: Machine, reconnect_s: float) -> Iterator[subprocess.Popen[str]]:
    """Another process that is at work on the machine until its standard input ends."""
    ssh = reached(dut, reconnect_s=reconnect_s).model_dump_json()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, f"root@{dut.address}", ssh],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=PROJECT,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "at work\n"
            yield process
        finally:
            process.kill()


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(60)


def test_the_next_one_puts_in_order_what_a_killed_one_left(dut: Machine, before: Facts) -> None:
    with another_controller(dut, PATIENT_S) as process:
        kill(process)
    told: list[str] = []
    with opened(dut, tell=told.append) as host, at_work(host):
        assert "ending run theirs of " in told[0]
        assert "whose pytest is gone" in told[0]
    wait_until_as_found(dut, before)


def test_a_killed_one_that_nobody_follows(dut: Machine, before: Facts) -> None:
    with another_controller(dut, HASTY_S) as process:
        kill(process)
        wait_until_as_found(dut, before)


def test_a_killed_one_whose_agent_is_killed_too(dut: Machine, before: Facts) -> None:
    with another_controller(dut, PATIENT_S) as process:
        kill(process)
        dut.run(["pkill", "-KILL", "python3"])
    with looked_at(dut) as host:
        (left,) = host.engine.leftovers()
        assert left.run == "theirs"
        assert len(left.changes) == 4  # its directory for sockets, too
        assert host.engine.clean("theirs") == []
    wait_until_as_found(dut, before)


def test_a_stopped_one_goes_on(dut: Machine, before: Facts) -> None:
    """Ctrl-Z, or a laptop that sleeps, for less than `reconnect_s`."""
    with another_controller(dut, PATIENT_S) as process:
        process.send_signal(signal.SIGSTOP)
        dut.kill_sshd()
        dut.start_sshd()
        process.send_signal(signal.SIGCONT)
        out, _ = process.communicate(timeout=60)
    assert out == "gone\n"
    wait_until_as_found(dut, before)


def test_the_second_is_told_who_holds_it(dut: Machine) -> None:
    with another_controller(dut, PATIENT_S) as process:
        with (
            pytest.raises(HostError, match=f"in use by run theirs of .* \\(pid {process.pid} "),
            opened(dut),
        ):
            pass
        assert process.poll() is None


def test_the_second_gets_it_afterwards_if_it_waits(dut: Machine, before: Facts) -> None:
    def second() -> str:
        with opened(dut, wait_s=60, tell=told.append) as host, at_work(host):
            return host.run(["echo", "mine"]).output

    told: list[str] = []
    with another_controller(dut, PATIENT_S) as process:
        waiting = InBackground(second)
        wait_until(lambda: told, "word of the wait")
        assert "waiting: in use by run theirs" in told[0]
        process.communicate(timeout=60)
        assert waiting.result() == "mine\n"
    wait_until_as_found(dut, before)
