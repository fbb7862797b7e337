"""A test's machines are what they stand for, and leave nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.machine import wait_until
from tests.machines.disk import PROJECT
from tests.machines.fixtures import MakeMachine
from tests.machines.machine import BOOT_ID, Machine
from tests.machines.network import START_S
from tests.machines.session import Session

KINDS = ("mnt", "pid", "net", "uts", "ipc", "time")


def ssh(machine: Machine, *argv: str, user: str = "root") -> str:
    """What a command says over SSH, standard error included, whether it fails or not."""
    done = subprocess.run(
        machine.ssh(*argv, user=user),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=START_S,
    )
    return done.stdout.decode().strip()


def namespaces(pid: int | str) -> set[str]:
    with contextlib.suppress(OSError):
        return {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in KINDS}
    return set()


def traces(machine_namespaces: set[str], address: str) -> Iterator[str]:
    """What there is here of a machine."""
    for entry in Path("/proc").glob("[0-9]*"):
        if namespaces(entry.name) & machine_namespaces:
            yield f"process {entry.name}"
    near = address.rpartition(".")[0] + "."
    for line in subprocess.check_output(["ip", "-oneline", "address"], text=True).splitlines():
        if f" {near}{int(address.rpartition('.')[2]) - 1}/30 " in line:
            yield line


def own_namespaces(machine: Machine) -> set[str]:
    (init,) = (process for process in machine.processes() if process.pid == 1)
    return (namespaces(init.outer_pid) | namespaces(machine.cable.pid)) - namespaces("self")


def test_it_is_a_host_of_its_own(dut: Machine) -> None:
    assert ssh(dut, "hostname") == "dut"
    assert ssh(dut, "cat", BOOT_ID) == dut.boot_id
    assert ssh(dut, "ls", "-A", "/root", "/tmp") == "/root:\n.ssh\n\n/tmp:"
    assert ssh(dut, "ls", "/sys/class/net").split() == ["eth0", "lo"]
    assert float(ssh(dut, "cat", "/proc/uptime").split()[0]) < START_S
    assert not own_namespaces(dut) & namespaces("self")
    assert len(own_namespaces(dut)) == len(KINDS) + 1  # a mount namespace for its disk


def test_a_command_without_ssh_is_where_a_login_is(dut: Machine) -> None:
    look = ["sh", "-c", "pwd; ls -A; id -u; hostname; cat"]
    assert dut.run(look, stdin=b"\xff").stdout == b"/root\n.ssh\n0\ndut\n\xff"


def test_what_it_writes_is_not_written_here(dut: Machine) -> None:
    ssh(dut, "touch", "/etc/made-by-a-test", "/usr/bin/made-by-a-test")
    ssh(dut, "rm", "/usr/bin/env")
    assert (dut.root / "etc/made-by-a-test").exists()
    assert not (dut.root / "usr/bin/env").exists()
    assert not Path("/etc/made-by-a-test").exists()
    assert Path("/usr/bin/env").exists()


def test_only_a_controller_sees_the_project(machines: MakeMachine) -> None:
    importing = [sys.executable, "-c", f"import sys; sys.path = {sys.path}; import pytest_vswitch"]
    controller = machines("controller", project=True)
    controller.run(importing)
    assert controller.run(["touch", f"{PROJECT}/x"], check=False).returncode
    # Empty, or not there at all, below a /tmp of its own.
    dut = machines("dut")
    look = ["sh", "-c", 'find "$0" -mindepth 1 2>/dev/null', str(PROJECT)]
    assert dut.run(look, check=False).stdout == b""


def test_three_at_once_one_behind_another(machines: MakeMachine) -> None:
    controller, jump = machines("controller"), machines("jump")
    dut = machines("dut", behind=jump)
    assert [ssh(machine, "hostname") for machine in (controller, jump, dut)] == [
        "controller",
        "jump",
        "dut",
    ]
    assert ssh(dut, "printenv", "SSH_CONNECTION").startswith(f"{dut.cable.near_address} ")
    assert controller.run(["ip", "route", "get", dut.address], check=False).returncode


def test_its_end_leaves_nothing(tmp_path: Path) -> None:
    with Machine("dut", tmp_path) as dut, Session(dut):
        dut.start(["sleep", "1000"])
        own, address = own_namespaces(dut), dut.address
        assert len(list(traces(own, address))) > 4
    assert list(traces(own, address)) == []
    assert address not in Path("/proc/net/fib_trie").read_text()
    assert str(tmp_path) not in Path("/proc/mounts").read_text()


HELD = """
import json, pathlib, sys
from tests.machines.machine import Machine
from tests.machines.test_machines import own_namespaces, ssh
with Machine("dut", pathlib.Path(sys.argv[1])) as dut:
    dut.start(["sleep", "1000"])
    print(json.dumps([dut.address, sorted(own_namespaces(dut)), ssh(dut, "hostname")]), flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def another_test(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has a machine until its standard input ends."""
    directory.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", HELD, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=PROJECT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def report(process: subprocess.Popen[str]) -> tuple[str, set[str]]:
    """Its machine's address and namespaces, once SSH works."""
    assert process.stdout is not None
    address, own, name = json.loads(process.stdout.readline())
    assert name == "dut"
    return address, set(own)


def test_two_tests_at_once_do_not_meet(tmp_path: Path) -> None:
    with another_test(tmp_path / "a") as one, another_test(tmp_path / "b") as other:
        (first, own), (second, others) = report(one), report(other)
        assert first != second
        assert not own & others


def test_it_dies_with_a_test_that_is_killed(tmp_path: Path) -> None:
    with another_test(tmp_path / "a") as process:
        address, own = report(process)
        assert list(traces(own, address))
        process.kill()
        process.wait(START_S)
        wait_until(lambda: not list(traces(own, address)), "end of the killed test's machine")
    assert str(tmp_path) not in Path("/proc/mounts").read_text()


def test_its_disk_outlives_a_power_cut_and_nothing_else_does(machines: MakeMachine) -> None:
    dut = machines("dut", kernel_files={"/sys/kernel/mm/ksm/run": "0\n"})
    first = dut.boot_id
    ssh(dut, "touch", "/var/lib/pytest-vswitch/kept", "/run/lost", "/tmp/lost")
    ssh(dut, "echo 2 >/sys/kernel/mm/ksm/run")
    dut.start(["sleep", "1000"])
    assert ssh(dut, "cat", "/sys/kernel/mm/ksm/run") == "2"
    dut.power_off()
    assert [path.name for path in (dut.disk.files / "var/lib/pytest-vswitch").iterdir()] == ["kept"]
    dut.boot()
    assert ssh(dut, "cat", BOOT_ID) == dut.boot_id != first
    assert ssh(dut, "find", "/var/lib/pytest-vswitch", "/run", "/tmp", "-type", "f") == (
        "/var/lib/pytest-vswitch/kept\n/run/sshd.pid"
    )
    assert ssh(dut, "cat", "/sys/kernel/mm/ksm/run") == "0"
    assert not [process for process in dut.processes() if process.argv[0] == "sleep"]


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (["touch", "/run/x"], "file /run/x"),
        (["touch", "/etc/x"], "file /etc/x"),
        (["chmod", "700", "/etc/hosts"], "file /etc/hosts"),
        (["ln", "-s", "x", "/root/x"], "file /root/x"),
        (["mount", "-t", "tmpfs", "x", "/srv"], "mount /srv"),
        (["mount", "--bind", "/run", "/run"], "mount /run"),
        (["ip", "link", "add", "x", "type", "veth"], "link x"),
        (["ip", "link", "set", "eth0", "mtu", "1400"], "link eth0"),
        (
            ["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"],
            "setting /proc/sys/net/ipv4/ip_forward",
        ),
        (["tee", "/sys/kernel/mm/ksm/run"], "setting /sys/kernel/mm/ksm/run"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_snapshot_tells_of_a_change(machines: MakeMachine, change: list[str], fact: str) -> None:
    dut = machines("dut", kernel_files={"/sys/kernel/mm/ksm/run": "0\n"})
    with Session(dut):  # is no change
        settings = ["/proc/sys/net/ipv4/ip_forward"]
        before = dut.snapshot(settings=settings)
        assert dut.snapshot(settings=settings) == before
        dut.run(change)
        after = dut.snapshot(settings=settings)
    assert fact in {name for name, _ in before.items() ^ after.items()}


def test_a_snapshot_tells_of_a_process(dut: Machine) -> None:
    before = dut.snapshot()
    dut.start(["sleep", "1000"])
    assert dut.snapshot().items() - before.items() == {("process sleep 1000 (uid 0)", "1")}


def test_a_command_that_hangs_is_given_up(dut: Machine) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        dut.run(["sleep", "1000"], timeout_s=0.1)
    wait_until(
        lambda: not [each for each in dut.processes() if each.argv[0] == "sleep"],
        "end of the command",
    )
