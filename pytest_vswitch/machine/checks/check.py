"""What a check is, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pytest_vswitch.machine.facts import Machine
from pytest_vswitch.machine.needs import Needs


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check found."""

    found: str
    good: bool | None
    """None: it cannot be told, or does not apply here."""
    mend: str = ""
    """The exact command, or where to look."""
    boot: tuple[str, ...] = ()
    """Kernel arguments that mend it for good; see `CommandLine.adding`."""


Look = Callable[[Machine, Needs], Outcome]


@dataclass(frozen=True, slots=True)
class Check:
    """One item: a row of docs/preflight.md."""

    name: str
    area: Literal["BIOS", "cores", "memory", "kernel", "NICs", "guest"]
    should: str
    level: Literal["required", "required with NICs", "advised"]
    """Without what is required a run cannot work, or its numbers mean nothing; without a NIC
    the numbers do not count in the first place."""
    source: str
    """Where it is asked for: a chapter of the guide, or `pit` for what users fell into."""
    look: Look


@dataclass(frozen=True, slots=True)
class Finding:
    """A check's outcome for a host."""

    check: Check
    outcome: Outcome
    required: bool

    @property
    def state(self) -> Literal["ok", "unknown", "advised", "required"]:
        if self.outcome.good is None:
            return "unknown"
        if self.outcome.good:
            return "ok"
        return "required" if self.required else "advised"
