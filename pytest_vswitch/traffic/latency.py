"""A histogram of delays: cheap to fill, as frames sent together are counted together."""

from __future__ import annotations

import itertools

from pytest_vswitch.traffic.generator import Latency

_BITS = 7
_PER_OCTAVE = 1 << _BITS  # percentiles are right to 0.4 %
_OCTAVES = 40  # up to more than an hour


class Histogram:
    """Delays of one direction, in buckets of 1 ns at first, of equal ratio beyond 256 ns."""

    def __init__(self) -> None:
        self._counts = [0] * (_PER_OCTAVE * _OCTAVES)
        self._min = 1 << 63
        self._max = 0

    def add(self, delay_ns: int, count: int) -> None:
        """Note `count` frames that took so long."""
        shift = delay_ns.bit_length() - _BITS - 1
        if shift < 0:
            shift = 0
        self._counts[(shift << _BITS) + (delay_ns >> shift)] += count
        if delay_ns < self._min:
            self._min = delay_ns
        if delay_ns > self._max:
            self._max = delay_ns

    def summary(self) -> Latency | None:
        """Percentiles in µs, or None when nothing was noted."""
        samples = sum(self._counts)
        if not samples:
            return None
        p50, p90, p99, p999 = (
            self._percentile(share * samples / 1000) for share in (500, 900, 990, 999)
        )
        return Latency(
            samples=samples,
            min_us=self._min / 1e3,
            p50_us=p50,
            p90_us=p90,
            p99_us=p99,
            p999_us=p999,
            max_us=self._max / 1e3,
        )

    def _percentile(self, rank: float) -> float:
        """The delay [µs] that this many frames did not exceed."""
        seen = itertools.accumulate(self._counts)
        bucket = next(number for number, count in enumerate(seen) if count >= rank)
        shift = max(0, bucket // _PER_OCTAVE - 1)
        middle_ns = (bucket - shift * _PER_OCTAVE + 0.5) * (1 << shift)
        return min(max(middle_ns, self._min), self._max) / 1e3
