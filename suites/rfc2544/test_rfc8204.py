"""What RFC 2544 leaves out: how the throughput scales, what a frame costs, what a neighbour takes.

RFC 8204 section 3 (virtual switches) and RFC 2889 sections 5.7 and 5.8 (learning), on any topology
(`--topology NAME`).
"""

from __future__ import annotations

import pytest

from pytest_vswitch.fixtures import Measure, Threshold
from pytest_vswitch.results.certification import Wired


def test_scalability(
    wired: Wired, measure: Measure, threshold: Threshold, frame_bytes: int
) -> None:
    """Steps: search the no-drop rate with 1, 100, 10,000, 1,000,000 flows of each direction,
    and between those around the knee.

    Verify: books balance; each threshold of the lab for this case is met.
    """
    if measure.most_flows(wired) < 100:
        pytest.skip(f"{wired.generator.description} cannot send 100 flows")
    case, _ = measure.scalability(wired, frame_bytes=frame_bytes)
    threshold.check(case)


def test_learning(wired: Wired, measure: Measure, threshold: Threshold, frame_bytes: int) -> None:
    """Steps: search the highest rate at which new flows lose nothing, then the largest number.

    Verify: books balance; each threshold of the lab for this case is met.
    """
    if measure.most_flows(wired) <= 100:
        pytest.skip(f"{wired.generator.description} cannot send more than 100 flows")
    case, _ = measure.learning(wired, frame_bytes=frame_bytes)
    threshold.check(case)


def test_cost(wired: Wired, measure: Measure, threshold: Threshold, frame_bytes: int) -> None:
    """Steps: read the DUT's CPU time and memory around trials at a quarter to all of the NDR.

    Verify: books balance; each threshold of the lab for this case is met.
    """
    case, _ = measure.cost(wired, frame_bytes=frame_bytes)
    threshold.check(case)


def test_noisy_neighbour(
    wired: Wired, measure: Measure, threshold: Threshold, frame_bytes: int
) -> None:
    """Steps: search the no-drop rate alone, beside a program that copies memory, and alone.

    Verify: books balance; each threshold of the lab for this case is met.
    """
    case, _ = measure.neighbour(wired, frame_bytes=frame_bytes)
    threshold.check(case)
