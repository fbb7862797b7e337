"""`vswitch plan`: what it prints is valid, always the same, touches nothing, and works by hand."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.plan import RUN
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.topologies.topology import MemifPort
from pytest_vswitch.traffic.memif.generator import on_sockets
from tests.hosts.ssh.sshd import Sshd
from tests.system.machine import Machine, wait_until
from tests.system.session import ROOT, environment
from tests.traffic.crossed import Crossed

NAME = os.path.basename(RUN)
READY_S = 120.0


def plan(*arguments: str, directory: Path = ROOT) -> subprocess.CompletedProcess[str]:
    main = "import sys; from pytest_vswitch import cli; sys.exit(cli.main())"
    return subprocess.run(
        [sys.executable, "-c", main, "plan", *arguments],
        capture_output=True,
        cwd=directory,
        env=environment(),
        text=True,
        timeout=READY_S,
    )


@pytest.fixture(scope="module")
def script() -> str:
    planned = plan("suites/pvp", "--dut", "local")
    assert (planned.returncode, planned.stderr) == (0, "")
    return planned.stdout


def test_it_is_valid_shell(script: str) -> None:
    checked = subprocess.run(["shellcheck", "-"], input=script, stdout=subprocess.PIPE, text=True)
    assert checked.returncode == 0, checked.stdout


def test_it_prints_the_same_again_and_touches_nothing(machine: Machine, tmp_path: Path) -> None:
    first = plan("suites/pvp", "--dut", "local").stdout
    assert "\nundo() {" in first
    assert plan("suites/pvp", "--dut", "local").stdout == first
    chosen = ("--topology", "pvp", "--host", "local", "-o", f"{tmp_path}/scripts")
    path = tmp_path / "scripts/pvp-local.sh"
    assert plan("suites/pvp", "--dut", "local", *chosen).stdout == f"{path}\n"
    assert path.read_text() == first
    assert os.access(path, os.X_OK)
    assert machine.traces(NAME) == []
    assert not Path(RUN).exists()


def test_it_says_why(script: str) -> None:
    up = script[script.index("\nup() {") : script.index("\nundo() {")]
    assert len(re.findall(r"^    # .*guide, 4\.[23]", up, re.MULTILINE)) >= 3
    for program in ("host-testpmd", "qemu"):
        assert re.search(rf"^    # .+\n    start {program} ", up, re.MULTILINE), program


@contextlib.contextmanager
def by_hand(script: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The script in a bash that reads it from a pipe; it has ended after the block."""
    with log.open("wb") as said:
        process = subprocess.Popen(["bash"], stdin=subprocess.PIPE, stdout=said, stderr=said)
    assert process.stdin
    process.stdin.write(script.encode())
    process.stdin.close()
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(READY_S)


@pytest.mark.parametrize("suite", ["suites/pvp", "suites/container"])
def test_run_by_hand_it_forwards_frames_and_leaves_nothing(
    machine: Machine, tmp_path: Path, suite: str
) -> None:
    """Steps: `vswitch plan SUITE --dut local | bash`; attach a generator to the sockets
    that it names; exchange frames; Ctrl-C.

    Verify: every frame comes out of the other port with its addresses swapped; then nothing
    is left of it.
    """
    log = tmp_path / "log"
    before = Path("/proc/meminfo").read_text()
    script = plan(suite, "--dut", "local").stdout
    with by_hand(script, log) as process:
        wait_until(
            lambda: "Ctrl-C ends it" in log.read_text() or process.poll() is not None,
            "the topology is up",
            READY_S,
        )
        assert process.poll() is None, log.read_text()
        wait_until(lambda: "memif1, " in log.read_text(), "its sockets")
        sockets = re.findall(r"^plan:   (memif\d), (.+)$", log.read_text(), re.MULTILINE)
        assert [name for name, _ in sockets] == ["memif0", "memif1"]
        ports = [MemifPort(name, path, 10e9) for name, path in sockets]
        host = LocalHost("by-hand", Transcript(tmp_path), tmp_path / "state")
        with on_sockets(host, ports, Crossed(swapped)) as generator:
            sent = {port: [frame(port, number) for number in range(50)] for port in (0, 1)}
            # Until the guest has seen its link, frames may be lost.
            wait_until(
                lambda: all(map(len, generator.exchange(sent, wait_s=1).values())),
                "a first frame each way",
            )
            back = generator.exchange(sent, wait_s=10)
            process.send_signal(signal.SIGINT)
            assert process.wait(READY_S) == 130
    for port in (0, 1):
        assert sorted(back[1 - port]) == sorted(map(swapped, sent[port]))
    assert machine.traces(NAME) == []
    assert not Path(RUN).exists()
    assert hugepages(before) == hugepages(Path("/proc/meminfo").read_text())


def frame(port: int, number: int) -> bytes:
    addresses = bytes([2, 0, 0, 0, 0, 0xA0 + port, 2, 0, 0, 0, 0, 0xB0 + port])
    return addresses + b"\x08\x00" + bytes([number]) * 46


def swapped(frame: bytes) -> bytes:
    return frame[6:12] + frame[:6] + frame[12:]


def hugepages(meminfo: str) -> list[str]:
    return re.findall(r"HugePages_Total: +\d+", meminfo)


def test_a_host_behind_ssh_gets_the_same_script(tmp_path: Path) -> None:
    # What the shell of who logs in reads at its start is no concern of this test.
    with Sshd(tmp_path / "sshd", options=["SetEnv SHLVL=2"]) as sshd:
        lab = tmp_path / "lab1.yaml"
        lab.write_text(
            f"dut:\n  host: {sshd.target}\n  ssh:\n    identity: {sshd.client_key}\n"
            f"    known_hosts: {sshd.known_hosts}\nports: [{{kind: memif}}, {{kind: memif}}]\n"
        )
        remote = plan("suites/pvp", "--dut", str(lab))
    assert (remote.returncode, remote.stderr) == (0, "")
    assert sshd.target in remote.stdout.splitlines()[1]
    local = plan("suites/pvp", "--dut", "local").stdout
    assert remote.stdout.partition("\nset -eEu\n")[2] == local.partition("\nset -eEu\n")[2]


# --- the command --------------------------------------------------------------------------


def test_a_simulation_has_no_commands() -> None:
    planned = plan("suites/pvp", "--dut", "sim")
    assert planned.stdout == (
        "# lab `sim` is a simulation: a run carries out no command on any host\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("suites/none", "--dut", "local"), "pytest cannot collect suites/none:"),
        (("suites/pvp", "--dut", "nowhere"), "nowhere"),
        (
            ("suites/pvp", "--dut", "local", "--topology", "other"),
            "no test of suites/pvp uses a topology other",
        ),
        (
            ("suites/pvp", "--dut", "local", "--host", "dut9"),
            "nothing is done on a host dut9; there is local",
        ),
        (("suites/pvp", "--dut", "local", "-o", "/proc/scripts"), "cannot write /proc/scripts/"),
    ],
)
def test_what_is_wrong_is_told(arguments: tuple[str, ...], said: str) -> None:
    failed = plan(*arguments)
    assert failed.returncode == 4
    assert said in failed.stderr
    assert failed.stdout == ""


def test_a_suite_without_topologies_is_told(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(): pass\n")
    failed = plan("test_it.py", "--dut", "local", directory=tmp_path)
    assert failed.returncode == 4
    assert "no test of test_it.py uses a topology" in failed.stderr
