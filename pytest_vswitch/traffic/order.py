"""Which frames come after a later one of their flow (RFC 4737 section 3, flow by flow).

That is asked where a direction has several queues: these keep the order of a flow, which has
one of them, and no other.
"""

from __future__ import annotations

import numpy as np

from pytest_vswitch.traffic.ring import Words

_BITS = 42
"""Enough for the number of a frame: ten hours at 100 million a second."""


class FlowOrder:
    """The highest number received of each flow; frame number n is of flow n modulo `flows`."""

    def __init__(self, flows: int) -> None:
        self._highest = np.full(flows, -1, np.int64)

    def note_run(self, first: int, count: int) -> None:
        """Frame `first` and the following have come, later than all of their flows."""
        flows = len(self._highest)
        begin = max(first, first + count - flows)
        while begin < first + count:
            place = begin % flows
            step = min(first + count - begin, flows - place)
            self._highest[place : place + step] = np.arange(begin, begin + step)
            begin += step

    def late(self, numbers: Words) -> int:
        """How many of these come after a later one of their flow; in the order that they came."""
        flows = numbers % len(self._highest)
        # Those of a flow side by side, as they came, and above all of the flow before.
        order = np.argsort(flows, kind="stable")
        flows, numbers = flows[order], numbers[order]
        starts = np.flatnonzero(np.diff(flows, prepend=-1))
        rank = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(flows))) << _BITS
        highest = np.maximum.accumulate(rank + np.maximum(numbers, 0)) - rank
        before = np.empty_like(highest)
        before[1:] = highest[:-1]
        before[starts] = -1
        before = np.maximum(before, self._highest[flows])
        ends = np.append(starts[1:], len(flows)) - 1
        kept = flows[ends]
        self._highest[kept] = np.maximum(self._highest[kept], highest[ends])
        return int(np.count_nonzero(numbers < before))
