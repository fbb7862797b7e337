"""testpmd's bonded port: two ports that look like one, of which the primary works (guide, 1.3).

Texts were captured from DPDK 22.11. From 23.11 on, a slave is called a member.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_vswitch.apps.testpmd import PortCounters, Testpmd, parse_counters
from pytest_vswitch.errors import DutError

ACTIVE_BACKUP = 1
"""The mode in which one port works and the others stand by."""

_NEW_WORDS = (23, 11)
"""DPDK that says `bonding` and `member` for `bonded` and `slave`."""

# --- facts --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BondState:
    """What `show bonding config` says. All are port numbers."""

    mode: int
    slaves: tuple[int, ...]
    active: tuple[int, ...]
    primary: int | None
    """None when it has no slaves."""


def parse_state(output: str) -> BondState:
    """Raises DutError when the output is not of that form."""

    def ports(name: str) -> tuple[int, ...]:
        found = re.search(rf"^\s*{name}(?: \(\d+\))?: \[([\d ]*)\]", output, re.MULTILINE)
        if not found:
            raise DutError(f"testpmd printed a bonding configuration without {name}:\n{output}")
        return tuple(map(int, found[1].split()))

    mode = re.search(r"Bonding mode: (?:\w+\()?(\d+)", output)  # newer ones name it, too
    primary = re.search(r"Primary: \[(\d+)\]", output)
    if not mode:
        raise DutError(f"testpmd printed no bonding configuration:\n{output}")
    return BondState(
        mode=int(mode[1]),
        slaves=ports("(?:Slaves|Members)"),
        active=ports("Active (?:Slaves|Members)"),
        primary=int(primary[1]) if primary else None,
    )


# --- running ------------------------------------------------------------------------------


class Bond:
    """A bonded port of a testpmd, as its console makes and changes it."""

    def __init__(self, testpmd: Testpmd, port: int) -> None:
        self.testpmd = testpmd
        self.port = port
        new = tuple(map(int, re.findall(r"\d+", testpmd.version)[:2])) >= _NEW_WORDS
        self._slave = "member" if new else "slave"

    @classmethod
    def create(cls, testpmd: Testpmd, slaves: Sequence[int], *, primary: int) -> Bond:
        """A started bond of these ports, active-backup; its number comes after theirs.

        Raises DutError.
        """
        new = tuple(map(int, re.findall(r"\d+", testpmd.version)[:2])) >= _NEW_WORDS
        said = testpmd.command(
            f"create {'bonding' if new else 'bonded'} device {ACTIVE_BACKUP} 0",
            why="mode 1, active backup, on socket 0 (guide, 1.3.3)",
        )
        bond = cls(testpmd, len(slaves))
        if said and f"on (port {bond.port})" not in said:  # a planned console says nothing
            raise DutError(
                f"{testpmd.terminal.name} made no bonded port {bond.port}: {said.strip()}"
            )
        for slave in slaves:
            bond.add(slave)
        bond.set_primary(primary)
        testpmd.command(f"port start {bond.port}")
        return bond

    def state(self) -> BondState:
        return parse_state(self._show())

    def counters(self) -> PortCounters:
        """Of the bond, which is the only port that forwards."""
        shown = self.testpmd.command(f"show port stats {self.port}")
        return parse_counters(shown + self.testpmd.command("show fwd stats all"))[self.port]

    def add(self, port: int) -> None:
        """Raises DutError when it is no slave afterwards."""
        said = self.testpmd.command(f"add bonding {self._slave} {port} {self.port}")
        self._require(lambda now: port in now.slaves, f"take port {port}", said)

    def remove(self, port: int) -> None:
        """Raises DutError when it is a slave still."""
        said = self.testpmd.command(f"remove bonding {self._slave} {port} {self.port}")
        self._require(lambda now: port not in now.slaves, f"let port {port} go", said)

    def set_primary(self, port: int) -> None:
        """Raises DutError when another port is it still."""
        said = self.testpmd.command(f"set bonding primary {port} {self.port}")
        self._require(lambda now: now.primary == port, f"make port {port} its primary", said)

    def _show(self) -> str:
        return self.testpmd.command(f"show bonding config {self.port}")

    def _require(self, fact: Callable[[BondState], bool], what: str, said: str) -> None:
        shown = self._show()
        if shown and not fact(parse_state(shown)):
            raise DutError(
                f"{self.testpmd.terminal.name}: the bonded port {self.port} did not {what}: "
                f"{said.strip() or 'it said nothing'}"
            )
