"""What a program says of its ports: the same few counters, whatever the program is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PortCounts:
    """Frames at one port of a program, counted since a moment that does not change."""

    rx: int
    """Frames that the program took from the port."""
    tx: int
    """Frames that the port took from the program."""
    rx_drops: Mapping[str, int] = field(default_factory=dict)
    """Frames that reached the port and that the program never saw, by its own words."""
    tx_drops: Mapping[str, int] = field(default_factory=dict)
    """Frames that the program meant for this port and that did not leave, by its own words."""
    discards: Mapping[str, int] = field(default_factory=dict)
    """Frames that the program took from this port and gave to none, by its own words."""


def since(before: PortCounts, after: PortCounts) -> PortCounts:
    """What was counted between two moments."""
    return PortCounts(
        rx=after.rx - before.rx,
        tx=after.tx - before.tx,
        rx_drops=_since(before.rx_drops, after.rx_drops),
        tx_drops=_since(before.tx_drops, after.tx_drops),
        discards=_since(before.discards, after.discards),
    )


def _since(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """A counter that a program did not name before was 0."""
    return {name: count - before.get(name, 0) for name, count in after.items()}
