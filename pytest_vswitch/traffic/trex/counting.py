"""From TRex's statistics to the counts of a direction."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_vswitch.errors import HostError
from pytest_vswitch.traffic.generator import DirectionCounts
from pytest_vswitch.traffic.trex.latency import latency_of

_NOTHING: Mapping[str, Any] = {}


def direction(
    tx_port: int,
    rx_port: int,
    *,
    intended: int,
    sent: int,
    back: int,
    refused: int = 0,
    timed: Mapping[str, Any] = _NOTHING,
) -> DirectionCounts:
    """Of `sent` frames, `refused` found a full queue, and `back` came to `rx_port`.

    Some of them came more than once. `timed` is what `get_pgid_stats` has of the latency stream,
    if there is one. TRex looks at no other byte than that which says the packet group: a wrong
    frame is a right or a lost one.
    """
    errors = timed.get("err_cntrs", {})
    return DirectionCounts(
        tx_port=tx_port,
        rx_port=rx_port,
        intended=max(intended, sent),  # what is endless, or ended early, ends between two frames
        sent=sent,
        refused=refused,
        received=min(back, sent),
        duplicated=max(back - sent, 0),
        reordered=int(errors.get("out_of_order", 0)),
        corrupted=0,
        foreign=0,
        latency=latency_of(timed.get("latency", {})),
    )


@dataclass(frozen=True, slots=True)
class PortCounters:
    """What the server counts beside packet groups, of all since it began."""

    dropped: int = 0
    """Frames that found a port's queue full, of all ports; packet groups count them as sent."""
    left: Mapping[int, int] = field(default_factory=dict)
    """Frames that a port's driver took, by number of the TRex port."""
    came: Mapping[int, int] = field(default_factory=dict)
    """Frames that came to a port."""

    def __sub__(self, before: PortCounters) -> PortCounters:
        left = {port: count - before.left.get(port, 0) for port, count in self.left.items()}
        came = {port: count - before.came.get(port, 0) for port, count in self.came.items()}
        return PortCounters(self.dropped - before.dropped, left, came)


def without(
    counted: PortCounters, counts: Sequence[DirectionCounts], *, refused: bool
) -> list[DirectionCounts]:
    """The same, of which some frames found a full queue: `refused`, or else never sent.

    How many is known for all directions together. Each has those that its port's driver did not
    take, where these add up; a card's driver counts others' frames besides. Otherwise each has a
    part of them as it has of the frames that are missing.
    """
    missing = [direction.lost for direction in counts]
    dropped = min(counted.dropped, sum(missing))
    if dropped <= 0:
        return list(counts)
    parts = [c.sent - counted.left.get(c.tx_port, c.sent) for c in counts]
    if sum(parts) != dropped or min(parts) < 0:
        parts = _divided(dropped, missing)
    if refused:
        return [replace(c, refused=part) for c, part in zip(counts, parts, strict=True)]
    return [replace(c, sent=c.sent - part) for c, part in zip(counts, parts, strict=True)]


def by_ports(
    directions: Sequence[tuple[int, int]],
    intended: Sequence[int],
    planned: Sequence[int],
    counted: PortCounters,
) -> list[DirectionCounts]:
    """Of frames that belong to no packet group: all that left a port, and all that came to it.

    `planned` are those of each direction that its streams send if they are not stopped. What
    found a full queue is known for all directions together: it is what is missing of them, and
    exactly so for each unless streams were stopped. Raises HostError when more left a port than
    that: TRex answers some frames of its own accord, an ARP request for 0.0.0.0 for instance.
    """
    left = [counted.left.get(tx, 0) for tx, _ in directions]
    for (tx, _), gone, due in zip(directions, left, planned, strict=True):
        if gone > due:
            raise HostError(
                f"trex generator: {gone - due} frames more left its port {tx} than were asked for: "
                "TRex answers some of what comes to it, such as ARP requests; take them out of "
                "what is replayed"
            )
    missing = [max(due - gone, 0) for due, gone in zip(planned, left, strict=True)]
    parts = _divided(min(counted.dropped, sum(missing)), missing)
    return [
        direction(
            tx, rx, intended=due, sent=gone + part, back=counted.came.get(rx, 0), refused=part
        )
        for (tx, rx), due, gone, part in zip(directions, intended, left, parts, strict=True)
    ]


def _divided(total: int, shares: Sequence[int]) -> list[int]:
    """`total`, which is at most their sum, divided as `shares` are, to the frame."""
    so_far = [sum(shares[:place]) for place in range(len(shares) + 1)]
    whole = max(so_far[-1], 1)
    return [
        total * upper // whole - total * lower // whole
        for lower, upper in itertools.pairwise(so_far)
    ]
