"""Sets of CPUs as Linux writes them: lists (`0-3,8`) and masks (`ff,00000003`)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pytest_vswitch.lab.preflight import ranges


def parse_list(text: str) -> frozenset[int]:
    """`0-3,8` as {0, 1, 2, 3, 8}; nothing, or `(null)` of older kernels, is no CPU."""
    cpus: set[int] = set()
    for first, last, step in re.findall(r"(\d+)(?:-(\d+)(?::1/(\d+))?)?", text):
        cpus.update(range(int(first), int(last or first) + 1, int(step or 1)))
    return frozenset(cpus)


def format_list(cpus: Iterable[int]) -> str:
    """{0, 1, 2, 3, 8} as `0-3,8`."""
    return ranges(set(cpus))


def parse_mask(text: str) -> frozenset[int]:
    """`ff,00000003` as a set: bit n stands for CPU n."""
    bits = int(text.strip().replace(",", "") or "0", 16)
    return frozenset(n for n in range(bits.bit_length()) if bits >> n & 1)


def format_mask(cpus: Iterable[int], possible: int) -> str:
    """As a mask, written as a kernel with `possible` CPU numbers writes it."""
    bits = sum(1 << cpu for cpu in cpus)
    groups = []
    for low in range(0, possible, 32):
        digits = (min(32, possible - low) + 3) // 4
        groups.append(f"{bits >> low & 0xFFFFFFFF:0{digits}x}")
    return ",".join(reversed(groups))
