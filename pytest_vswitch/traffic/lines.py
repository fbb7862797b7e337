"""Comparing rows of a ring that hold frames of mixed sizes, without a look at each row.

Numpy is fast with long contiguous memory and slow with many short pieces. So pieces are
copied together first, each as one item, and then compared as one: by `startswith`, which
compares memory at any place of an object of bytes, and is several times faster than numpy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pytest_vswitch.traffic.ring import LINE_BYTES, Words

_BLOCK = 512
"""Frames that are compared at once."""


class Heads:
    """The first words of each row."""

    def __init__(self, rows: Words, words: int) -> None:
        self._rows = rows
        self._whole = words == rows.shape[1]
        kind = np.dtype((np.void, 8 * words))
        self._words = np.empty((len(rows), words), np.int64)
        self._copies = self._words.view(kind)[:, 0]
        self._heads: npt.NDArray[np.void] = np.ndarray(
            (len(rows),), kind, rows, 0, rows.strides[:1]
        )

    def of(self, start: int, end: int) -> Words:
        """Those of rows `start` to before `end`; good until the next call."""
        if self._whole:
            return self._rows[start:end]
        self._copies[: end - start] = self._heads[start:end]
        return self._words[: end - start]


class Lines:
    """The cache lines of frames behind the head.

    What a row holds between the end of its frame and the end of that line must be what the
    longest frame has there. So it is as long as only right frames come, if it was in the
    beginning.
    """

    def __init__(
        self,
        rows: Words,
        row: Words,
        head: int,
        lengths: Sequence[int],
        pad: int,
        order: Sequence[int],
    ) -> None:
        """`row` is what the longest frame makes of one of `rows`; `lengths`: of all sizes."""
        self._period = len(order)
        kinds = np.resize(np.asarray(order), len(order) + _BLOCK)
        self._sizes = []
        for kind, length in enumerate(lengths):
            end = -(-(pad + length) // LINE_BYTES) * LINE_BYTES
            if end > 8 * head:
                self._sizes.append(_Size(rows, row, 8 * head, end, kinds == kind))

    def are_right(self, start: int, first: int, count: int) -> bool:
        """Whether the rows from `start` on hold frame `first` and the following there."""
        for done in range(0, count, _BLOCK):
            phase = (first + done) % self._period
            block = min(_BLOCK, count - done)
            for size in self._sizes:
                if not size.is_right(phase, block, start + done):
                    return False
        return True


class _Size:
    """The frames of one size."""

    def __init__(
        self, rows: Words, row: Words, begin: int, end: int, mine: npt.NDArray[np.bool_]
    ) -> None:
        """Compared from byte `begin` to before `end` of each row; `mine`: which in the order."""
        kind = np.dtype((np.void, end - begin))
        self._pieces: npt.NDArray[np.void] = np.ndarray(
            (len(rows),), kind, rows, begin, rows.strides[:1]
        )
        self._places = np.flatnonzero(mine)
        self._after: dict[int, Words] = {}  # places of a block, by its first
        self._before = [0, *np.cumsum(mine).tolist()]
        self._image = row.view(np.uint8)[begin:end].tobytes() * min(_BLOCK, len(self._places))

    def is_right(self, phase: int, count: int, start: int) -> bool:
        """Whether those of this size are, among `count` rows from `start` on.

        `phase` is the first one's place in the order.
        """
        before = self._before[phase]
        places = self._after.get(phase)
        if places is None:
            places = self._places[before : self._before[phase + _BLOCK]] - phase
            self._after[phase] = places
        mine = self._before[phase + count] - before
        return self._image.startswith(self._pieces[start:][places[:mine]].data)
