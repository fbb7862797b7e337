"""What a throughput search looks for, and what it found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Goal:
    """A loss ratio for which the highest load is searched."""

    name: str
    """`NDR` (RFC 2544 section 26.1: no frame lost) or `PDR` (partial drop rate)."""
    loss_ratio: float
    """Largest acceptable loss, 0 to 1."""


@dataclass(frozen=True, slots=True)
class GoalResult:
    """The interval that holds the searched load. Rates are totals over all directions."""

    goal: Goal
    lower_pps: float | None
    """Highest load that met the goal [frames/s]: the reported value. None if none did."""
    upper_pps: float | None
    """Lowest load above `lower_pps` that did not [frames/s]; None if there is none."""
    limited_by: Literal["dut", "line rate", "generator", "lowest load"]
    """What stopped the search from looking further."""
    conditional_pps: float | None = None
    """What came back at `lower_pps` in the median trial there [frames/s]: the conditional
    throughput of draft-ietf-bmwg-mlrsearch. None without a `lower_pps`."""
