"""What may be chosen independently of a topology: its vSwitch, and what starts its guests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Axes:
    """The choices that a topology leaves."""

    endpoints: tuple[str, ...]
    """What is behind its vSwitch, in order."""
    vswitch: str | None = None
    """The only one that it works with; None: any that is registered."""
    hypervisor: bool = False
    """Whether any registered hypervisor can start its guests."""
