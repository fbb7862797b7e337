"""Delays of frames and how they vary: cheap to note, as frames sent together are noted together.

The buckets are HdrHistogram's (two significant digits, 1 ns to 19 hours): 1 ns wide below
256 ns, 128 to each octave above. A percentile is the middle of its bucket: right to 0.4 %.
"""

from __future__ import annotations

import base64
import itertools
import struct
import zlib
from collections.abc import Iterator

from pytest_vswitch.errors import InputError
from pytest_vswitch.traffic.generator import Latency

_BITS = 7
_PER_OCTAVE = 1 << _BITS
_BUCKETS = 40 * _PER_OCTAVE
_HIGHEST_NS = (1 << 46) - 1

# HdrHistogram's V2 format; see https://hdrhistogram.github.io/HdrHistogram/.
_COMPRESSED = 0x1C849314
_PLAIN = 0x1C849313
_LAYOUT = [0, 2, 1, _HIGHEST_NS, 1.0]
"""Offset, significant digits, shortest and longest delay that it can tell, ratio."""
_OUTER = struct.Struct(">ii")
_INNER = struct.Struct(">iiiiqqd")

_PARTS = 64
"""Frames that came due during one delay of the generator are timed in so many groups."""


class Histogram:
    """How many delays of each length, and the shortest and the longest exactly."""

    def __init__(self) -> None:
        self.counts = [0] * _BUCKETS
        self._min = 1 << 63
        self._max = 0

    def add(self, delay_ns: int, count: int) -> None:
        """Note `count` delays of that length."""
        shift = delay_ns.bit_length() - _BITS - 1
        if shift < 0:
            shift = 0
        self.counts[(shift << _BITS) + (delay_ns >> shift)] += count
        if delay_ns < self._min:
            self._min = delay_ns
        if delay_ns > self._max:
            self._max = delay_ns

    @staticmethod
    def width_ns(delay_ns: int) -> int:
        """Of the bucket that a delay falls into."""
        return 1 << max(0, delay_ns.bit_length() - _BITS - 1)

    @property
    def samples(self) -> int:
        return sum(self.counts)

    @property
    def shortest_ns(self) -> int:
        """0 when nothing was noted."""
        return self._min if self._max else 0

    @property
    def min_us(self) -> float:
        return self._min / 1e3

    @property
    def max_us(self) -> float:
        return self._max / 1e3

    @property
    def mean_us(self) -> float:
        total = sum(count * self._middle_ns(n) for n, count in enumerate(self.counts) if count)
        return total / self.samples / 1e3

    def percentile_us(self, percent: float) -> float:
        """The delay that so many percent, to 0.001, did not exceed. There must be samples."""
        rank = max(1, -(-round(percent * 1000) * self.samples // 100_000))
        seen = itertools.accumulate(self.counts)
        return self._middle_ns(next(n for n, count in enumerate(seen) if count >= rank)) / 1e3

    def include(self, other: Histogram) -> None:
        """Note all delays of another one, too."""
        self.counts = [
            mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)
        ]
        self._min = min(self._min, other._min)
        self._max = max(self._max, other._max)

    def encode(self) -> str:
        """HdrHistogram's V2 compressed encoding in base64, as its libraries read it; unit ns."""
        payload = b"".join(_runs(self.counts))
        header = _INNER.pack(_PLAIN, len(payload), *_LAYOUT)
        packed = zlib.compress(header + payload)
        return base64.b64encode(_OUTER.pack(_COMPRESSED, len(packed)) + packed).decode()

    @classmethod
    def decode(cls, text: str) -> Histogram:
        """What `encode` has written; shortest and longest are then right to 0.4 %.

        Raises InputError for anything else.
        """
        histogram = cls()
        try:
            raw = base64.b64decode(text, validate=True)
            cookie, length = _OUTER.unpack_from(raw)
            inner = zlib.decompress(raw[_OUTER.size : _OUTER.size + length])
            plain, size, *layout = _INNER.unpack_from(inner)
            if (cookie, plain, layout) != (_COMPRESSED, _PLAIN, _LAYOUT):
                raise ValueError("it has other buckets")
            for bucket, count in _counts(inner[_INNER.size : _INNER.size + size]):
                histogram.counts[bucket] = count
        except (ValueError, IndexError, struct.error, zlib.error) as error:
            raise InputError(f"no histogram of delays: {error}") from None
        filled = [bucket for bucket, count in enumerate(histogram.counts) if count]
        if filled:
            histogram._min = round(histogram._middle_ns(filled[0]))
            histogram._max = round(histogram._middle_ns(filled[-1]))
        return histogram

    def _middle_ns(self, bucket: int) -> float:
        shift = max(0, (bucket >> _BITS) - 1)
        if not shift:
            return bucket
        middle = (bucket - (shift << _BITS) + 0.5) * (1 << shift)
        return min(max(middle, self._min), self._max) if self._max else middle


class Delays:
    """The delays of one stream's frames and the changes between neighbours (RFC 5481 4.1)."""

    def __init__(self) -> None:
        self.histogram = Histogram()
        self.changes = Histogram()
        """Of two frames in a row, neither lost nor overtaken: without sign."""
        self.late = 0
        """Frames that were timed from when they were due."""
        self.next = -1
        """One more than the number of the last frame noted."""
        self.last_ns = 0
        """Its delay."""
        self.apart = 0
        """Frames whose neighbour before was not noted just before."""
        self._never_sent = 0

    def add(self, first: int, count: int, delay_ns: int) -> None:
        """Note frames number `first` and following, sent together and seen together."""
        self.histogram.add(delay_ns, count)
        if first == self.next:
            self.changes.add(abs(delay_ns - self.last_ns), 1)
        else:
            self.apart += 1
        self.next = first + count
        self.last_ns = delay_ns

    def never_sent(self, count: int, longest_ns: int, shortest_ns: int) -> None:
        """Note frames that came due evenly while the generator was away, and were not sent.

        What they have waited until it came back is the least that their delay would be.
        """
        self.late += count
        self._never_sent += count
        parts = min(count, _PARTS)
        for part in range(parts):
            share = (part + 0.5) / parts
            waited_ns = longest_ns + round((shortest_ns - longest_ns) * share)
            self.histogram.add(waited_ns, count * (part + 1) // parts - count * part // parts)

    def summary(self) -> Latency | None:
        """All of it in figures; None when nothing was noted."""
        seen, changes = self.histogram, self.changes
        if not seen.samples:
            return None
        # Frames that were sent and seen together did not vary: that is not noted each time.
        alike = seen.samples - self._never_sent - changes.samples - self.apart
        changes.add(0, alike)
        varied = changes.samples > 0
        return Latency(
            samples=seen.samples,
            min_us=seen.min_us,
            p50_us=seen.percentile_us(50),
            p90_us=seen.percentile_us(90),
            p99_us=seen.percentile_us(99),
            p999_us=seen.percentile_us(99.9),
            max_us=seen.max_us,
            mean_us=seen.mean_us,
            p9999_us=seen.percentile_us(99.99),
            ipdv_p50_us=changes.percentile_us(50) if varied else None,
            ipdv_p99_us=changes.percentile_us(99) if varied else None,
            ipdv_p999_us=changes.percentile_us(99.9) if varied else None,
            ipdv_max_us=changes.max_us if varied else None,
            late=self.late,
            histogram=seen.encode(),
        )


def _runs(counts: list[int]) -> Iterator[bytes]:
    """Each count, and each run of zeros before one as its negative length."""
    end = 0
    for bucket in [bucket for bucket, count in enumerate(counts) if count]:
        if bucket > end:
            yield _varint(end - bucket)
        yield _varint(counts[bucket])
        end = bucket + 1


def _varint(value: int) -> bytes:
    """ZigZag LEB128: seven bits to a byte, the lowest first; the ninth byte has eight."""
    left = value << 1 ^ value >> 63
    encoded = bytearray()
    while left > 0x7F and len(encoded) < 8:
        encoded.append(left & 0x7F | 0x80)
        left >>= 7
    encoded.append(left)
    return bytes(encoded)


def _counts(payload: bytes) -> Iterator[tuple[int, int]]:
    """The buckets that are not empty. Raises IndexError when the payload ends in a number."""
    bucket = place = 0
    while place < len(payload):
        left = shift = 0
        while True:
            byte = payload[place]
            place += 1
            if shift == 56:
                left |= byte << shift
                break
            left |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        value = left >> 1 ^ -(left & 1)
        if value < 0:
            bucket -= value
        else:
            yield bucket, value
            bucket += 1
