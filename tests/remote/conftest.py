"""Machines to open over SSH, and waits that are short enough for tests."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from pytest_vswitch.hosts import bootstrap, link, opening
from pytest_vswitch.hosts.ssh.connection import connect
from tests.machines.fixtures import MakeMachine, machines
from tests.machines.machine import Machine
from tests.remote.door import FILE, KERNEL_FILES, Facts

__all__ = ["machines"]

Tries = Callable[[], int]

SILENCE = {"hosts.link": 2.0, "hosts.agent": 3.0}
"""Heard nothing for so long, each end gives a connection up [s]."""


@pytest.fixture(autouse=True)
def _nothing_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture
def dut(machines: MakeMachine) -> Machine:
    """A host with a setting and a file to change."""
    return furnished(machines("dut", kernel_files=KERNEL_FILES))


def furnished(machine: Machine) -> Machine:
    (machine.root / FILE[1:]).write_text("theirs")
    return machine


@pytest.fixture
def before(dut: Machine) -> Facts:
    """What the host is like before anybody comes."""
    return dut.snapshot()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ends notice soon that the other says nothing."""
    monkeypatch.setattr(link, "PING_S", 0.25)
    monkeypatch.setattr(link, "SILENCE_S", SILENCE["hosts.link"])
    sources = bootstrap.modules()
    name = "pytest_vswitch.hosts.agent"
    changed = f"SILENCE_S = {SILENCE['hosts.agent']}"
    sources[name], count = re.subn(r"^SILENCE_S = .*$", changed, sources[name], flags=re.M)
    assert count == 1
    monkeypatch.setattr(bootstrap, "modules", lambda: sources)


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> Tries:
    """How often the controller has tried to connect."""
    count = 0

    def counting(address: str, options: object) -> object:
        nonlocal count
        count += 1
        return connect(address, options)  # type: ignore[arg-type]

    monkeypatch.setattr(opening, "connect", counting)
    return lambda: count
