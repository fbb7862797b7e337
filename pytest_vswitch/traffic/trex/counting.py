"""From TRex's statistics to the counts of a direction."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_vswitch.traffic.generator import DirectionCounts
from pytest_vswitch.traffic.trex.latency import latency_of


def direction(
    tx_port: int, rx_port: int, *, intended: int, sent: int, back: int, timed: Mapping[str, Any]
) -> DirectionCounts:
    """Of `sent` frames, `back` came to `rx_port`, some of them more than once.

    `timed` is what `get_pgid_stats` has of the latency stream, if there is one. TRex looks at
    no other byte than that which says the packet group: a wrong frame is a right or a lost one.
    """
    errors = timed.get("err_cntrs", {})
    return DirectionCounts(
        tx_port=tx_port,
        rx_port=rx_port,
        intended=intended,
        sent=sent,
        refused=0,
        received=min(back, sent),
        duplicated=max(back - sent, 0),
        reordered=int(errors.get("out_of_order", 0)),
        corrupted=0,
        foreign=0,
        latency=latency_of(timed.get("latency", {})),
    )


def without(
    dropped: int, counts: Sequence[DirectionCounts], *, refused: bool
) -> list[DirectionCounts]:
    """The same, of which so many frames found a full queue: `refused`, or else never sent.

    The server tells them for all directions together: each has a part of them as it has of
    the frames that are missing.
    """
    missing = [direction.lost for direction in counts]
    dropped = min(dropped, sum(missing))
    if not dropped:
        return list(counts)
    so_far = [sum(missing[:place]) for place in range(len(missing) + 1)]
    parts = [
        dropped * upper // so_far[-1] - dropped * lower // so_far[-1]
        for lower, upper in itertools.pairwise(so_far)
    ]
    if refused:
        return [replace(c, refused=part) for c, part in zip(counts, parts, strict=True)]
    return [replace(c, sent=c.sent - part) for c, part in zip(counts, parts, strict=True)]
