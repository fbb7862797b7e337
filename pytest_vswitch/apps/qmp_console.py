"""QMP, a line at a time, on a console: a plan can write down what QEMU is told, and waits for.

The guide types the same into QEMU's monitor (`device_del vf1`, `migrate`, `info migrate`; 1.3.4
to 1.3.10).
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from pytest_vswitch.apps import socket_file
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.host import Host, Process

_GREETING = re.compile(r'\{"QMP".*\}')
_ANSWER_S = 10.0
_START_S = 30.0
_LOOK_S = 0.02


class Terminal(Protocol):
    """Where QMP is spoken."""

    @property
    def name(self) -> str: ...
    def write(self, text: str, *, why: str = "") -> None: ...
    def read_until(self, pattern: re.Pattern[str], *, timeout_s: float, what: str) -> str: ...


class QmpConsole:
    """A QMP session; what a planned console does not say is nothing, `{}`."""

    def __init__(self, terminal: Terminal) -> None:
        """Raises DutError when it is not QMP."""
        self._terminal = terminal
        self._number = 0
        self._since = 0
        """Events that were told before the last command."""
        self.events: list[Mapping[str, Any]] = []
        """All that QEMU has told of its own accord, as far as it was read."""
        terminal.read_until(_GREETING, timeout_s=_ANSWER_S, what="QMP greeting")
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: object) -> Any:
        return self.tell(command, "", **arguments)

    def tell(self, command: str, why: str, **arguments: object) -> Any:
        """What it returns. Raises DutError when QEMU refuses, is gone, or does not answer."""
        self._number += 1
        self._since = len(self.events)
        asked: dict[str, object] = {"execute": command}
        asked |= {"arguments": arguments} if arguments else {}
        asked["id"] = self._number
        self._terminal.write(f"{json.dumps(asked)}\n", why=why)
        pattern = re.compile(rf'^\{{.*"id": {self._number}[,}}].*\n', re.MULTILINE)
        text = self._terminal.read_until(pattern, timeout_s=_ANSWER_S, what=f"answer to {command}")
        answers = [told for told in self._taken(text) if told.get("id") == self._number]
        if not answers:
            return {}
        if "return" not in answers[-1]:
            said = answers[-1].get("error", {}).get("desc", "an answer without `return`")
            raise DutError(f"{self._terminal.name}: `{command}` was refused: {said}")
        return answers[-1]["return"]

    def wait(self, event: str, within: str = "", *, timeout_s: float, what: str) -> None:
        """Until QEMU tells that event, with `within` (a pattern) in it, since the last command.

        Raises DutError.
        """
        pattern = re.compile(rf'^\{{.*"event": "{event}".*{within}.*\n', re.MULTILINE)
        if any(pattern.search(f"{json.dumps(told)}\n") for told in self.events[self._since :]):
            return
        self._taken(self._terminal.read_until(pattern, timeout_s=timeout_s, what=what))

    def _taken(self, text: str) -> Sequence[Mapping[str, Any]]:
        found = []
        for line in filter(None, text.splitlines()):
            try:
                told = json.loads(line)
            except ValueError:
                told = None
            if not isinstance(told, dict):
                raise DutError(f"{self._terminal.name} said what is not QMP: {line}")
            found.append(told)
            if "event" in told:
                self.events.append(told)
        return found


class Machine:
    """A QEMU that is told by QMP on a console; see `guest.Machine`."""

    def __init__(self, process: Process, command: Sequence[str], qmp: QmpConsole) -> None:
        self.name = "QEMU"
        self.process = process
        self.command = tuple(command)
        self.qmp = qmp

    def end(self, *, within_s: float = 0.0) -> str | None:
        status = self.process.status(within_s=within_s)
        return None if status is None else f"exit status {status}"

    def tail(self) -> str:
        return self.process.tail()

    def execute(self, command: str, **arguments: object) -> Any:
        return self.qmp.execute(command, **arguments)

    def tell(self, command: str, why: str, **arguments: object) -> Any:
        """As `execute`; `why` is for the reader of a plan."""
        return self.qmp.tell(command, why, **arguments)

    def status(self, why: str) -> str:
        """`running`, `inmigrate`, `postmigrate`, ...; empty where nobody answers: in a plan."""
        told = self.tell("query-status", why)
        if not isinstance(told, dict):
            raise DutError(f"{self.name} answered `query-status` with {told}")
        return str(told.get("status", ""))

    def left_status(self, why: str) -> str:
        """As `status`, after a migration: QEMU tells of its end a moment before it has settled."""
        deadline = time.monotonic() + _ANSWER_S
        while (told := self.status(why)) == "finish-migrate" and time.monotonic() < deadline:
            time.sleep(_LOOK_S)  # polls QEMU
        return told

    def close(self) -> None:
        """Its console ends with the block that started it."""


@contextlib.contextmanager
def started(host: Host, argv: Sequence[str], directory: str, why: str) -> Iterator[Machine]:
    """A QEMU with this argument list, up to QMP on its socket in `directory`.

    Raises DutError, with its last words, when it does not come up.
    """
    with host.spawn(argv, name="qemu", why=why) as process:
        if not socket_file.appears(host, process, f"{directory}/qmp", timeout_s=_START_S):
            said = process.tail().replace("\n", "\n    ") or "(no output)"
            raise DutError(f"QEMU did not start:\n    {said}")
        with host.console(f"{directory}/qmp", "qmp") as console:
            yield Machine(process, argv, QmpConsole(console))
