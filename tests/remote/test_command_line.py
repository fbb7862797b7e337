"""The same faults as a user meets them: one error, no traceback, and an exit status for CI."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_vswitch.cli import main
from tests.hosts.ssh.sshd import keygen
from tests.machines.disk import PROJECT
from tests.machines.machine import Machine
from tests.remote.door import FILE, PATIENT_S, Facts, wait_until_as_found
from tests.remote.test_controller import another_controller, kill

SUITE = ("-p", "no:cacheprovider", str(PROJECT / "suites/pvp"), "--quick")
Vswitch = Callable[..., tuple[int, str]]


@pytest.fixture
def vswitch(capsys: pytest.CaptureFixture[str]) -> Vswitch:
    """Exit status and all output of a `vswitch` command."""

    def run(*argv: str) -> tuple[int, str]:
        status = main(argv)
        said = capsys.readouterr()
        return status, said.out + said.err

    return run


def lab(dut: Machine, directory: Path, **ssh: object) -> str:
    """A lab file for the machine."""
    address = ssh.pop("address", f"root@{dut.address}")
    section = {
        "config": "none",
        "identity": str(dut.client_key),
        "known_hosts": str(dut.known_hosts),
        "connect_timeout_s": 1.0,
        **ssh,
    }
    path = directory / "mine.yaml"
    ports = [{"kind": "memif"}, {"kind": "memif"}]
    path.write_text(json.dumps({"dut": {"host": address, "ssh": section}, "ports": ports}))
    return str(path)


def certify(path: str, directory: Path) -> tuple[int, str]:
    """Exit status and all output of pytest."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *SUITE, "--dut", path],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        text=True,
    )
    return done.returncode, done.stdout


def wrong_key(dut: Machine, directory: Path) -> str:
    return lab(dut, directory, identity=str(keygen(directory / "wrong")))


def unknown_host(dut: Machine, directory: Path) -> str:
    dut.known_hosts.write_text("")
    return lab(dut, directory)


def changed_host_key(dut: Machine, directory: Path) -> str:
    dut.new_host_key()
    return lab(dut, directory)


def host_down(dut: Machine, directory: Path) -> str:
    dut.power_off()
    return lab(dut, directory)


def refused_port(dut: Machine, directory: Path) -> str:
    return lab(dut, directory, address=f"root@{dut.address}:2222")


def unknown_name(dut: Machine, directory: Path) -> str:
    return lab(dut, directory, address="root@no-such-host.invalid")


def unset_variable(dut: Machine, directory: Path) -> str:
    return lab(dut, directory, passphrase="${NO_SUCH_VARIABLE}")


Spoil = Callable[[Machine, Path], str]

FAULTS: list[tuple[Spoil, str]] = [  # and a pattern in what is told
    (wrong_key, "every key was refused"),
    (unknown_host, "then `vswitch lab trust root@"),
    (changed_host_key, "has changed; the connection was ended"),
    # The kernel may have noticed by itself that nobody has the address.
    (host_down, "no answer from|No route to host"),
    (refused_port, r"\(connection refused\): is sshd running there\?"),
    (unknown_name, "the name `no-such-host.invalid` does not resolve"),
    (unset_variable, "read -rs NO_SUCH_VARIABLE && export NO_SUCH_VARIABLE"),
]


@pytest.mark.parametrize(("spoil", "words"), FAULTS, ids=[spoil.__name__ for spoil, _ in FAULTS])
def test_a_host_that_cannot_be_had(
    dut: Machine, tmp_path: Path, vswitch: Vswitch, spoil: Spoil, words: str
) -> None:
    path = spoil(dut, tmp_path)
    for (status, text), prefix in (
        (certify(path, tmp_path), "ERROR: "),
        (vswitch("doctor", path, "--clean", "--json"), "vswitch: error: "),
        (vswitch("lab", "status", path), "vswitch: error: "),
    ):
        assert status == 4
        assert re.search(words, text)
        assert text.count(prefix) == 1
        assert "Traceback" not in text
        assert "INTERNALERROR" not in text
    assert not list(tmp_path.glob("reports/*"))


def test_doctor_puts_in_order_what_a_power_cut_left(
    dut: Machine, before: Facts, tmp_path: Path, vswitch: Vswitch
) -> None:
    path = lab(dut, tmp_path)
    with another_controller(dut, PATIENT_S) as process:
        status, text = vswitch("lab", "status", path)
        assert status == 0
        assert "in use by run theirs of " in text
        kill(process)
        dut.power_off()
        dut.boot()
    status, text = vswitch("doctor", path)
    assert status == 0
    assert f"  change {FILE} (rewrote" in text
    assert f"`vswitch doctor {path} --clean` removes it" in text
    status, text = vswitch("doctor", path, "--clean", "--json")
    assert status == 0
    answer = json.loads(text)
    assert answer["cleaned"]
    assert [left["run"] for left in answer["leftovers"]] == ["theirs"]
    wait_until_as_found(dut, before)
