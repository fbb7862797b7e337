"""Plans of two hosts that take turns: each script says when it is the other's, and waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_vswitch.hosts.plan import PlanHost
from pytest_vswitch.hosts.shell_script import word

if TYPE_CHECKING:
    from pytest_vswitch.hosts.host import Host
    from pytest_vswitch.hosts.shell_script import Script


class Turns:
    """Whose turn it is."""

    def __init__(self) -> None:
        self.last: TurnHost | None = None
        self.number = 0


class TurnHost(PlanHost):
    """A planned host beside others, which share `turns`; it undoes without waiting for any."""

    def __init__(self, real: Host, script: Script, turns: Turns) -> None:
        super().__init__(real, script)
        self._turns = turns
        self._ends = False

    def record(self, text: str, why: str = "") -> None:
        turns, other = self._turns, self._turns.last
        if not self._ends and other is not self:
            if other is not None:
                turns.number += 1
                other.tell(f"echo 'plan: turn {turns.number} is that of {self.name}' >&2")
                self.tell(pause(f"when {other.name} says that it is turn {turns.number}"))
            turns.last = self
        super().record(text, why)

    def tell(self, text: str) -> None:
        """Nothing of the host's, but for who reads."""
        super().record(text)

    def up(self) -> None:
        self._ends = True
        super().up()


def pause(when: str) -> str:
    """A line of a script: a person presses Enter."""
    return f"read -r -p {word(f'plan: Enter, {when} ')} _ </dev/tty"
