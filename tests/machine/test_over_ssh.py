"""A host over SSH has the same facts as here."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vswitch.hosts.opening import open_address
from pytest_vswitch.lab.remote import Ssh
from pytest_vswitch.machine import facts
from tests.hosts.ssh.sshd import Sshd


def test_the_facts_are_the_same_over_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with Sshd(tmp_path / "sshd", kinds=("ed25519",)) as sshd:
        ssh = Ssh(identity=str(sshd.client_key), known_hosts=str(sshd.known_hosts))
        with open_address(sshd.target, ssh) as there, open_address("local") as here:
            found, wanted = facts.read(there), facts.read(here)
    # What other tests may turn meanwhile is left out.
    assert found.cpus.cpus == wanted.cpus.cpus
    assert found.kernel.release == wanted.kernel.release
    assert found.kernel.command_line == wanted.kernel.command_line
    assert [irq.name for irq in found.irqs.irqs] == [irq.name for irq in wanted.irqs.irqs]
    assert [nic.bdf for nic in found.nics] == [nic.bdf for nic in wanted.nics]
    assert found.memory.mounts == wanted.memory.mounts
