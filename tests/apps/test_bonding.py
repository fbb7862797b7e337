"""The bonded port of testpmd: what it prints, as DPDK 22.11 printed it, and what it is told."""

from __future__ import annotations

import re

import pytest

from pytest_vswitch.apps.bonding import Bond, BondState, parse_state
from pytest_vswitch.apps.testpmd import Testpmd
from pytest_vswitch.errors import DutError

TWO = """\
\tBonding mode: 1
\tSlaves (2): [0 1]
\tActive Slaves (2): [0 1]
\tPrimary: [1]
"""
NONE = """\
\tBonding mode: 1
\tSlaves: []
\tActive Slaves: []
\tFailed to get primary slave for port = 2
"""

NEWER = """\
  - Dev basic:
\tBonding mode: ACTIVE_BACKUP(1)
\tMembers (2): [0 1]
\tActive Members: []
\tCurrent Primary: [1]
"""
"""Of DPDK 24.11."""


class Console:
    """Plays testpmd's part: a bond whose changes can be refused."""

    name = "guest testpmd"

    def __init__(self, version: str = "22.11.11", *, refuses: str = "nothing") -> None:
        self.said = [f"EAL: RTE Version: 'DPDK {version}'\ntestpmd> "]
        self.heard: list[str] = []
        self.slaves: list[int] = []
        self.primary = 0
        self._refuses = refuses

    def write(self, text: str, *, why: str = "") -> None:
        del why
        self.heard.append(text.strip())
        self.said.append(f"{text}{self._answer(text)}testpmd> ")

    def _answer(self, text: str) -> str:
        if text.startswith(self._refuses):
            return "it is no port\n"
        numbers = [int(number) for number in re.findall(r"\d+", text)]
        if text.startswith("create"):
            return "Created new bonded device net_bonding_testpmd_0 on (port 2).\n"
        if text.startswith("add"):
            self.slaves.append(numbers[0])
        if text.startswith("remove"):
            self.slaves.remove(numbers[0])
        if text.startswith("set bonding primary"):
            self.primary = numbers[0]
        if text.startswith("show"):
            slaves = " ".join(map(str, self.slaves))
            count = len(self.slaves)
            return (
                f"\tBonding mode: 1\n\tSlaves ({count}): [{slaves}]\n"
                f"\tActive Slaves ({count}): [{slaves}]\n\tPrimary: [{self.primary}]\n"
            )
        return ""

    def read_until(self, pattern: re.Pattern[str], *, timeout_s: float, what: str) -> str:
        del timeout_s, what
        text = self.said.pop(0)
        assert pattern.search(text)
        return text

    def tail(self, lines: int = 15) -> str:
        del lines
        return ""


def test_its_state() -> None:
    assert parse_state(TWO) == BondState(mode=1, slaves=(0, 1), active=(0, 1), primary=1)
    assert parse_state(NONE) == BondState(mode=1, slaves=(), active=(), primary=None)
    new = TWO.replace("Slaves", "Members")
    assert parse_state(new) == parse_state(TWO)
    assert parse_state(NEWER) == BondState(mode=1, slaves=(0, 1), active=(), primary=1)


@pytest.mark.parametrize("text", ["", "Invalid port_id=2\n", "\tBonding mode: 1\n"])
def test_what_is_no_state(text: str) -> None:
    with pytest.raises(DutError, match="testpmd printed"):
        parse_state(text)


def test_the_commands_of_the_guide() -> None:
    console = Console()
    bond = Bond.create(Testpmd(console), (0, 1), primary=1)
    assert [line for line in console.heard if not line.startswith("show")] == [
        "create bonded device 1 0",
        "add bonding slave 0 2",
        "add bonding slave 1 2",
        "set bonding primary 1 2",
        "port start 2",
    ]
    bond.set_primary(0)
    bond.remove(1)
    assert bond.state().slaves == (0,)


def test_newer_words() -> None:
    console = Console("23.11.0")
    Bond.create(Testpmd(console), (0, 1), primary=0).remove(1)
    assert "create bonding device 1 0" in console.heard
    assert "add bonding member 1 2" in console.heard
    assert "remove bonding member 1 2" in console.heard


@pytest.mark.parametrize(
    ("refuses", "message"),
    [
        ("create", "made no bonded port 2: it is no port"),
        ("add", "bonded port 2 did not take port 0: it is no port"),
        ("set bonding primary", "did not make port 1 its primary: it is no port"),
    ],
)
def test_what_it_refuses_is_told(refuses: str, message: str) -> None:
    with pytest.raises(DutError, match=message):
        Bond.create(Testpmd(Console(refuses=refuses)), (0, 1), primary=1)


def test_a_slave_that_stays() -> None:
    bond = Bond.create(Testpmd(Console(refuses="remove")), (0, 1), primary=1)
    with pytest.raises(DutError, match="did not let port 1 go: it is no port"):
        bond.remove(1)
