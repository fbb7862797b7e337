"""ping: its command line, and what it prints.

Texts were captured from iputils 20221126.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_vswitch.errors import DutError

# --- parameters ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parameters:
    """What ping is started with."""

    address: str
    count: int = 10
    interval_s: float = 0.2
    """Time between two requests."""
    payload_bytes: int = 56
    """After the ICMP header."""

    @property
    def deadline_s(self) -> float:
        """When it ends at the latest, though answers are missing."""
        return self.count * self.interval_s + 5

    def argv(self) -> list[str]:
        return [
            *("ping", "-n", "-q", "-c", str(self.count), "-i", f"{self.interval_s:g}"),
            *("-s", str(self.payload_bytes), "-w", f"{self.deadline_s:.0f}", self.address),
        ]


# --- facts --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back."""

    sent: int
    received: int
    rtt_min_ms: float | None
    """Round-trip times; None when nothing came back."""
    rtt_mean_ms: float | None
    rtt_max_ms: float | None


_COUNTS = re.compile(r"(\d+) packets transmitted, (\d+) received")
_TIMES = re.compile(r"rtt min/avg/max/mdev = ([\d.]+)/([\d.]+)/([\d.]+)/[\d.]+ ms")


def parse(output: str) -> Answers:
    """From its summary. Raises DutError, with its words, when there is none."""
    counts, times = _COUNTS.search(output), _TIMES.search(output)
    if not counts:
        raise DutError(f"ping printed no summary: {output.strip()}")
    low, mean, high = map(float, times.groups()) if times else (None, None, None)
    return Answers(int(counts[1]), int(counts[2]), low, mean, high)
