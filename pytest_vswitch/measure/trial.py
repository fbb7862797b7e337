"""One trial: an offered load for a duration, its counts, its books (RFC 2544 section 26.1)."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_vswitch.topologies.topology import Hop
from pytest_vswitch.traffic.generator import DirectionCounts


@dataclass(frozen=True, slots=True)
class Trial:
    """The outcome of one trial. Rates are totals over all directions."""

    number: int
    """Counts from 1 within its case."""
    frame_bytes: int
    intended_pps: float
    duration_s: float
    overhead_s: float
    """Time the trial took beyond `duration_s`: waiting for stragglers, reading counters [s];
    none in a simulation, whose time is virtual."""
    directions: tuple[DirectionCounts, ...]
    paths: tuple[tuple[Hop, ...], ...]
    """The hops of each direction, in the same order, generator edges included."""

    @property
    def intended(self) -> int:
        return sum(d.intended for d in self.directions)

    @property
    def sent(self) -> int:
        return sum(d.sent for d in self.directions)

    @property
    def received(self) -> int:
        return sum(d.received for d in self.directions)

    @property
    def lost(self) -> int:
        return sum(d.lost for d in self.directions)

    @property
    def offered_pps(self) -> float:
        """The load really offered [frames/s]."""
        return self.sent / self.duration_s

    @property
    def loss_ratio(self) -> float:
        """Lost frames per frame sent, 0 to 1."""
        return self.lost / self.sent if self.sent else 0.0

    @property
    def lossy_hop(self) -> Hop | None:
        """The hop that lost most, or None when nothing was lost."""
        hops = [hop for path in self.paths for hop in path if hop.lost > 0]
        return max(hops, key=lambda hop: hop.lost, default=None)
