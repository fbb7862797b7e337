"""testpmd: what came in by each queue of each port, whatever its drivers count."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_STREAM: Final = re.compile(
    r"Forward Stats for RX Port= *(\d+)/Queue= *(\d+) -> .*?\n\s*RX-packets: (\d+)"
)


def parse_streams(output: str) -> Mapping[tuple[int, int], int]:
    """Frames that forwarding took, by (port, queue), from `show fwd stats all`.

    It lists the queues where there are several, and only those with frames.
    """
    return {(int(port), int(queue)): int(count) for port, queue, count in _STREAM.findall(output)}
