"""What `suites/live_migration --nic sriov` says, held against the real programs that it is said to.

testpmd on null ports, `ip` in network namespaces of its own, two QEMUs without a guest: each takes
every line, and does what the emulated one does.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch.apps import dpdk, dpdk_changes
from pytest_vswitch.apps.bonding import parse_state
from pytest_vswitch.apps.qmp_console import Machine, started
from pytest_vswitch.apps.testpmd import Testpmd
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies import sriov_migration_guest
from tests.emulated.migration_guest import ADDRESSES
from tests.emulated.migration_world import Kind, World
from tests.hosts.machine import DEADLINE_S, machine
from tests.suites.test_sriov_migration import outcome

VERSIONS = ["system", *(pytest.param(v, marks=pytest.mark.dpdks) for v in ("20.11", "24.11"))]
KINDS: tuple[Kind, ...] = ("ixgbe", "i40e")
REFUSED = ("Bad arguments", "Command not found", "Ambiguous command", "Invalid port")


def said(kind: Kind, before: str) -> list[str]:
    """All lines that a good run says to whom the steps with that beginning are."""
    world = World(kind)
    outcome(world)
    return [step.removeprefix(before) for step in world.steps if step.startswith(before)]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with machine(tmp_path) as here:
        yield here


# --- testpmd ---------------------------------------------------------------------------------

NULLS = dict(zip(ADDRESSES.values(), ("net_null0", "net_null1"), strict=True))
"""What stands for the guest's devices."""


@pytest.fixture(params=VERSIONS)
def real(request: pytest.FixtureRequest, host: Host) -> Iterator[Testpmd]:
    """On two null ports, which never forward: these would flood. Of each version that is here."""
    Path(host.cache).mkdir()
    (Path(host.cache) / "dpdk").symlink_to(Path(LocalHost.cache) / "dpdk")
    sections = {"dut": {"host": "local", "dpdk": request.param}, "ports": [{"kind": "memif"}]}
    found = dpdk.of_host(Lab.model_validate({"name": "it", **sections}), host)
    prefix = f"bond-{host.scratch.rpartition('/')[2]}"
    argv = ["stdbuf", "-oL", *found.command, "-v", "-l", "0,1", "--no-huge", "--no-pci"]
    argv += ["--no-shconf", "-m", "128", "--file-prefix", prefix]
    argv += ["--vdev", "net_null0", "--vdev", "net_null1"]
    argv += ["-d", found.drivers] if found.drivers else []
    argv += ["--", "-i", "--total-num-mbufs=4096", "--port-topology=chained"]
    with host.spawn(argv, name="testpmd", stop_with="quit\n") as process:
        yield Testpmd(process, start_timeout_s=DEADLINE_S)


@pytest.mark.parametrize("kind", KINDS)
def test_a_real_testpmd_does_as_the_emulated_one(real: Testpmd, kind: Kind) -> None:
    """Its bond has the same slaves, active ones and primary after each line."""
    world = World(kind)
    states: list[tuple[str, str]] = []
    world.spoil = _noting(states)
    outcome(world)
    assert len(states) > 80
    looks = 0
    for line, shown in states:
        for address, null in NULLS.items():
            line = line.replace(address, null)
        if line in ("start", "stop", ""):
            continue
        line = spelt(line, real)
        try:
            answer = real.command(line, timeout_s=DEADLINE_S)
        except DutError as error:
            raise AssertionError(f"`{line}`: {error}") from None
        assert not answer.startswith(REFUSED), line
        if line.startswith("mac_addr"):
            assert "Operation not supported" in answer  # it has one address, and is no VF
        if shown:
            looks += 1
            _same_soon(real, line, answer, shown)
    assert looks > 15
    assert sriov_migration_guest.addresses(real, 1)
    assert len(sriov_migration_guest.received(real, (0, 1, 2))) == 3


def spelt(line: str, real: Testpmd) -> str:
    """As `apps.bonding` says it to DPDK 23.11 and later."""
    if dpdk_changes.parse(real.version) < (23, 11):
        return line
    return line.replace("bonded", "bonding").replace("slave", "member")


def _noting(states: list[tuple[str, str]]) -> Any:
    """Have an emulated testpmd note each line with its bond after it, once links are looked at."""

    def spoil(part: Any) -> None:
        if not hasattr(part, "show_bond"):
            return
        answer = part.answer

        def noting(line: str) -> str:
            told: str = answer(line)
            states.append((line, ""))
            if line == "show bonding config 2":
                states[-1] = (line, told)
            return told

        part.answer = noting

    return spoil


def _same_soon(real: Testpmd, line: str, answer: str, shown: str) -> None:
    """Real links come up in real time."""
    wanted = parse_state(shown)
    deadline = time.monotonic() + DEADLINE_S
    while (state := parse_state(answer)) != wanted:
        assert time.monotonic() < deadline, (state, wanted)
        if set(state.active) > set(wanted.active):
            return  # it was quicker
        time.sleep(0.05)  # polls testpmd
        answer = real.command(line)


def test_a_real_testpmd_refuses_what_the_emulated_one_refuses(real: Testpmd) -> None:
    for line, words in (
        ("create bonded device 1", "Bad arguments"),
        ("add bonding slave 0", "Bad arguments"),
        ("set bonding primary one 2", "Bad arguments"),
        ("show bonding configuration 2", "Bad arguments"),
        ("mac_addr add port 1 vf 0 02:00", "Bad arguments"),
        ("device attach 0000:01:00.0", "Bad arguments"),
    ):
        with pytest.raises(DutError, match=words):
            real.command(spelt(line, real), timeout_s=DEADLINE_S)


# --- the guest's shell ---


def test_a_real_shell_takes_every_line() -> None:
    """Of busybox, as in the guest: it reads them, and carries none out."""
    world = World("ixgbe")
    outcome(world)
    lines = {
        step
        for step in world.steps
        if not step.startswith(("dut1: ", "testpmd> ", "QMP ", "spawn"))
    }
    assert len(lines) > 5
    for line in lines:
        done = subprocess.run(
            ["busybox", "sh", "-n"], input=line, capture_output=True, text=True, timeout=DEADLINE_S
        )
        assert (done.returncode, done.stderr) == (0, ""), line


# --- ip ----------------------------------------------------------------------------------------

REFUSED_BY_THE_KERNEL = re.compile(
    r"Operation not supported|Unknown device type|Device \"vs-\S+\" does not exist"
)
"""By a veth, to what only a PF can do; by a kernel without bridges; what is not there."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_real_ip_takes_every_line(kind: Kind) -> None:
    """In order, in namespaces of their own, on dummies that are called as the PFs."""
    lines = [
        line.split(" ")
        for line in said(kind, "dut1: ")
        if line.startswith("ip ") and not line.startswith(("ip -j", "ip -6"))
    ]
    assert len(lines) > 20
    program = (
        "import json, subprocess, sys\n"
        "def run(argv):\n"
        "    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)\n"
        "    return done.returncode, done.stdout.decode()\n"
        "for name in ('ens1f0', 'ens2f0'):\n"
        "    subprocess.run(['ip', 'link', 'add', name, 'type', 'veth', 'peer', 'name',\n"
        "                    name + 'p'], check=True)\n"
        "print(json.dumps([run(argv) for argv in json.load(sys.stdin)]))\n"
    )
    done = subprocess.run(
        ["unshare", "--net", "--mount", "/usr/bin/python3", "-I", "-c", program],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    faults = [
        (line, told)
        for line, (status, told) in zip(lines, json.loads(done.stdout), strict=True)
        if status and not REFUSED_BY_THE_KERNEL.search(told)
    ]
    assert not faults


# --- QEMU --------------------------------------------------------------------------------------

QEMU = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"]
QEMU += ["-machine", "q35", "-accel", "tcg", "-m", "64"]
QEMU += ["-device", "pcie-root-port,id=slot0,chassis=1,addr=0x18"]


@contextlib.contextmanager
def qemu(host: Host, name: str, *more: str) -> Iterator[Machine]:
    directory = f"{host.scratch}/{name}"
    host.run(["mkdir", "-p", directory])
    argv = [*QEMU, *more, "-qmp", f"unix:{directory}/qmp,server=on,wait=off"]
    with started(host, argv, directory, "") as machine:
        yield machine


def test_two_real_qemus_take_every_word_of_qmp(host: Host) -> None:
    """In the order of a run; what a machine without guest and VF must refuse is refused so."""
    lines = [json.loads(line) for line in said("i40e", "QMP ")]
    refusals = {
        "device_del": "Device 'vf1' not found",
        "device_add": "vfio /sys/bus/pci/devices/0000:06:10.0: no such host device",
    }
    uri = f"unix:{host.scratch}/stream"
    done = set()
    with qemu(host, "a") as source, qemu(host, "b", "-incoming", "defer") as target:
        for line in lines:
            command, given = line["execute"], line.get("arguments", {})
            if command == "qmp_capabilities":
                continue
            given = {name: uri if name == "uri" else value for name, value in given.items()}
            to = target if command in ("migrate-incoming", "device_add") else source
            if refusal := refusals.get(command):
                with pytest.raises(DutError, match=re.escape(refusal)):
                    to.execute(command, **given)
            elif command.startswith("migrate-set"):
                source.execute(command, **given)
                target.execute(command, **given)
            elif command != "quit":
                to.execute(command, **given)
            if command == "migrate-incoming":
                assert target.status("") == "inmigrate"
            if command == "migrate":
                source.qmp.wait(
                    "MIGRATION", '"status": "completed"', timeout_s=DEADLINE_S, what="end"
                )
                assert source.left_status("") == "postmigrate"
                target.qmp.wait("RESUME", timeout_s=DEADLINE_S, what="guest that runs")
                assert target.status("") == "running"
            done.add(command)
        assert {event["event"] for event in source.qmp.events} >= {"STOP", "MIGRATION"}
        source.execute("quit")
        assert source.end(within_s=DEADLINE_S) == "exit status 0"
    assert done >= {"migrate", "query-migrate", "device_add", "device_del", "query-version"}


def small(given: list[str], directory: str, tmp_path: Path) -> list[str]:
    """A command line without a kernel, with little memory, and with sockets in `tmp_path`."""
    argv = []
    for option, word in zip(["", *given], given, strict=False):
        if not {option, word} & {"-kernel", "-initrd", "-append"}:
            less = "64" if option == "-m" else word.replace("size=1024M", "size=64M")
            argv.append(less.replace(directory, str(tmp_path)))
    return argv


def test_a_real_qemu_waits_with_its_command_line(host: Host, tmp_path: Path) -> None:
    """In a network namespace of its own, where it may make its tap device."""
    world = World("i40e")
    outcome(world)
    (given,) = [words for words in world.command_lines if "-incoming" in words]
    argv = small(given, "/run/vswitch/dut1/dut1-target/guest", tmp_path)
    with started(host, ["unshare", "--net", *argv], str(tmp_path), "") as waiting:
        assert waiting.status("") == "inmigrate"


def test_a_real_qemu_takes_its_command_line(tmp_path: Path) -> None:
    """But for the VF, which is not there; a wrong word it refuses in other words."""
    world = World("i40e")
    outcome(world)
    (given,) = [words for words in world.command_lines if "-incoming" not in words]
    directory = "/run/vswitch/dut1/dut1-source/guest"
    assert any(directory in word for word in given)
    argv = small(given, directory, tmp_path)
    there = r"vfio /sys/bus/pci/devices/0000:09:10\.0: no such host device|/dev/net/tun"
    for wrong, right, refusal in (
        ("", "", there),
        ("vfio-pci,hosts", "vfio-pci,host", "Property 'vfio-pci.hosts' not found"),
        ("script=no,downscripts", "script=no,downscript", "downscripts"),
        ("bus=slot1", "bus=slot0", "Bus 'slot1' not found"),
    ):
        words = [word.replace(right, wrong) if right else word for word in argv]
        done = subprocess.run(
            ["unshare", "--net", *words],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 1
        assert re.search(refusal, done.stderr), done.stderr
