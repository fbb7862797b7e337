"""PVVP: physical port, two virtual machines in a row, physical port.

The chain of PVP with a second guest behind the first: what a service chain of two costs.
Testpmd forwards in both guests (`macswap`); frames go through four virtio ports, in both
directions at once.
"""

from __future__ import annotations

from pytest_vswitch.fixtures import Measure, Threshold
from pytest_vswitch.measure.way import check_way
from pytest_vswitch.results.certification import Wired


def test_frames_return_exactly(pvvp: Wired, measure: Measure, frame_bytes: int) -> None:
    """Steps: send a few hundred distinct frames into each port.

    Verify: each comes out of the other port once, its MAC addresses swapped twice, every
    byte as it was sent.
    """
    measure.functional(pvvp, frame_bytes=frame_bytes)


def test_frames_take_the_way_of_their_port(pvvp: Wired) -> None:
    """Steps: send frames into one port, then into the other.

    Verify: each hop of that port's path counts them: no two wires are crossed.
    """
    check_way(pvvp.topology, pvvp.generator)


def test_throughput(pvvp: Wired, measure: Measure, threshold: Threshold, frame_bytes: int) -> None:
    """Steps: search the no-drop and the partial drop rate, both directions at once.

    Verify: the counters of every hop reconcile in every trial; each threshold that the
    lab sets for this case is met.
    """
    case = measure.throughput(pvvp, frame_bytes=frame_bytes)
    threshold.check(case)
