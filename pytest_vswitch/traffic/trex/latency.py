"""One-way delays as TRex counts them: in buckets of one significant digit."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from pytest_vswitch.traffic.generator import Latency


def latency_of(told: Mapping[str, Any]) -> Latency | None:
    """A latency stream's figures, as `get_pgid_stats` has them; None if nothing came back.

    Each bucket of the histogram is named by its lower edge [µs], and is as wide as the edge's
    first digit says: 10 to 20, 200 to 300. A percentile is given as its bucket's upper edge:
    never too small, at most twice too large; minimum and maximum are exact.
    """
    buckets = sorted((int(edge), int(n)) for edge, n in told.get("histogram", {}).items() if n)
    if not buckets:
        return None
    samples = sum(count for _, count in buckets)
    shortest, longest = _number(told.get("total_min")), _number(told.get("total_max"))
    upper = float(longest if longest else _upper(buckets[-1][0]))
    lower = float(min(shortest, upper) if shortest else min(max(buckets[0][0], 1), upper))

    def percentile(percent: float) -> float:
        seen = itertools.accumulate(count for _, count in buckets)
        edge = next(
            edge
            for (edge, _), so_far in zip(buckets, seen, strict=True)
            if so_far >= percent * samples / 100
        )
        return min(max(float(_upper(edge)), lower), upper)

    return Latency(
        samples=samples,
        min_us=lower,
        p50_us=percentile(50),
        p90_us=percentile(90),
        p99_us=percentile(99),
        p999_us=percentile(99.9),
        max_us=upper,
    )


def _upper(edge: int) -> int:
    return edge + 10 ** (len(str(edge)) - 1) if edge else 1


def _number(value: object) -> float:
    """0 for what the server does not tell."""
    return float(value) if isinstance(value, int | float) else 0.0
