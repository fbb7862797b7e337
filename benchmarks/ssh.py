"""What it costs that a host is reached over SSH: each figure beside its yardstick, interleaved.

A real sshd on this machine's loopback. A command: ours beside OpenSSH's client with a warm
ControlMaster (bar: 3 times). A PVP with `--quick`: over SSH beside locally (bar: 1.15 times).
Files: for information.

    python -m benchmarks.ssh [--runs 3] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from pytest_vswitch.hosts.open_host import OpenHost
from pytest_vswitch.hosts.opening import open_address
from pytest_vswitch.lab.remote import Ssh
from tests.machines.machine import Machine

COMMANDS = 100
"""In a batch; batches of the two kinds take turns."""
FILE_MIB = 64
HERE = Path(__file__).parents[1]


def seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def commands(host: OpenHost, dut: Machine, directory: Path, runs: int) -> tuple[float, float]:
    """Medians of one command through our door, and through a warm ControlMaster [s]."""
    control = ["-o", f"ControlPath={directory}/control"]
    first, *target = dut.ssh("true")
    master = [first, "-o", "ControlMaster=yes", "-o", "ControlPersist=yes", *control, *target]
    subprocess.run(master, check=True)
    slave = [first, *control, *target]
    ours, theirs = [], []
    try:
        for _ in range(runs):
            for _ in range(COMMANDS):
                ours.append(seconds(lambda: host.run(["true"])))
            for _ in range(COMMANDS):
                theirs.append(seconds(lambda: subprocess.run(slave, check=True)))
    finally:
        subprocess.run([first, *control, "-O", "exit", *target[:-1]], capture_output=True)
    return median(ours), median(theirs)


def files(host: OpenHost, runs: int) -> tuple[float, float]:
    """Medians of writing and reading a file [MiB/s]."""
    data, path = os.urandom(FILE_MIB << 20), f"{host.scratch}/bulk"
    puts = [FILE_MIB / seconds(lambda: host.write_bytes(path, data)) for _ in range(runs)]
    gets = [FILE_MIB / seconds(lambda: host.read_bytes(path)) for _ in range(runs)]
    assert host.read_bytes(path) == data
    return median(puts), median(gets)


def certify(lab: Path, directory: Path) -> float:
    """A whole `pytest suites/pvp --quick` [s]."""
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(HERE / "suites/pvp"),
    ]
    argv += ["--quick", "--dut", str(lab), "--rootdir", str(directory)]
    return seconds(lambda: subprocess.run(argv, cwd=directory, check=True, capture_output=True))


def pvp(runs: int, directory: Path) -> tuple[float, float]:
    """Medians over loopback SSH, and locally [s]."""
    from tests.hosts.ssh.sshd import Sshd  # an sshd of its own, in this machine's namespaces

    ports = "ports: [{kind: memif}, {kind: memif}]\n"
    local = directory / "here.yaml"
    local.write_text("dut: {host: local}\n" + ports)
    with Sshd(directory / "sshd") as sshd:
        remote = directory / "loopback.yaml"
        remote.write_text(
            f"dut:\n  host: root@127.0.0.1:{sshd.port}\n  ssh:\n    config: none\n"
            f"    identity: {sshd.client_key}\n    known_hosts: {sshd.known_hosts}\n" + ports
        )
        certify(local, directory)  # builds the guest image, once per machine
        over_ssh, here = [], []
        for number in range(runs):
            here.append(certify(local, directory))
            over_ssh.append(certify(remote, directory))
            print(f"PVP {number + 1}: local {here[-1]:.1f} s, SSH {over_ssh[-1]:.1f} s", flush=True)
    return median(over_ssh), median(here)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--no-pvp", action="store_true", help="commands and files only")
    parser.add_argument("--json", action="store_true", help="one JSON object as last line")
    arguments = parser.parse_args()
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="ssh-benchmark-") as name:
        directory = Path(name)
        with Machine("dut", directory) as dut:
            ssh = Ssh(config="none", identity=str(dut.client_key), known_hosts=str(dut.known_hosts))
            with open_address(f"root@{dut.address}", ssh, run="benchmark") as host:
                ours, theirs = commands(host, dut, directory, arguments.runs)
                found |= {"command_s": ours, "control_master_s": theirs}
                found["command_ratio"] = ours / theirs
                print(
                    f"command: ours {ours * 1e3:.2f} ms, ControlMaster {theirs * 1e3:.2f} ms, "
                    f"ratio {ours / theirs:.2f}"
                )
                put, get = files(host, arguments.runs)
                found |= {"put_mib_per_s": put, "get_mib_per_s": get}
                print(f"files: put {put:.0f} MiB/s, get {get:.0f} MiB/s", flush=True)
        if not arguments.no_pvp:
            over_ssh, here = pvp(arguments.runs, directory)
            found |= {"pvp_ssh_s": over_ssh, "pvp_local_s": here, "pvp_ratio": over_ssh / here}
            print(f"PVP: SSH {over_ssh:.1f} s, local {here:.1f} s, ratio {over_ssh / here:.2f}")
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
