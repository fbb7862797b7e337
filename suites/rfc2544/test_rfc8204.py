"""What RFC 2544 leaves out: how the throughput scales, what a frame costs, what a neighbour takes.

RFC 8204 section 3 (virtual switches) and RFC 2889 sections 5.7 and 5.8 (learning), on any topology
(`--topology NAME`).
"""

from __future__ import annotations

import pytest

from pytest_vswitch.fixtures import Measure, Threshold
from pytest_vswitch.results.certification import Wired
from pytest_vswitch.results.scaling import Over


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


@pytest.mark.parametrize("over", ["cores", "queues", "guests"])
def test_scaling(
    wired: Wired, measure: Measure, threshold: Threshold, frame_bytes: int, over: Over
) -> None:
    """Steps: bring the topology up with 1, 2, 4, ... forwarding cores, queues of each virtio
    port, or guests in a row; search the no-drop rate of each, and between those around the knee.

    Verify: frames pass exactly at each point; each threshold of the lab for this case is met.
    """
    if measure.most(wired, over) < 2:
        pytest.skip(f"{wired.name} has no more than one point over {over} in this lab")
    case, _ = measure.scaling(wired, over, frame_bytes=frame_bytes)
    threshold.check(case)


def test_learning(wired: Wired, measure: Measure, threshold: Threshold, frame_bytes: int) -> None:
    """Steps: search the highest rate at which new flows lose nothing, then the largest number.

    Verify: books balance; each threshold of the lab for this case is met.
    """
    if measure.most_flows(wired) <= 100:
        pytest.skip(f"{wired.generator.description} cannot send more than 100 flows")
    case, _ = measure.learning(wired, frame_bytes=frame_bytes)
    threshold.check(case)


def test_address_learning(
    wired: Wired, measure: Measure, threshold: Threshold, frame_bytes: int
) -> None:
    """Steps: send frames from new MAC addresses, then frames to them into the same port; search
    the highest rate, and the largest number, at which none of these comes out of the other.

    Verify: books balance; each threshold of the lab for this case is met.
    """
    if wired.generator.capabilities.max_macs <= 100:
        pytest.skip(f"{wired.generator.description} cannot send more than 100 MAC addresses")
    case, _ = measure.address_learning(wired, frame_bytes=frame_bytes)
    threshold.check(case)


def test_overlay(wired: Wired, measure: Measure, threshold: Threshold, frame_bytes: int) -> None:
    """Steps: send exact frames within VXLAN (RFC 7348); search the no-drop rate of plain
    frames, of VXLAN frames of the same size on the wire, and of plain ones.

    Verify: each frame comes back as it was sent; each threshold of the lab for this case is met.
    """
    if not wired.generator.capabilities.vxlan:
        pytest.skip(f"{wired.generator.description} cannot send VXLAN frames")
    case, _ = measure.overlay(wired, frame_bytes=frame_bytes)
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
