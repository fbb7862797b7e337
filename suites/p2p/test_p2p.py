"""P2P: physical port, vSwitch, physical port, and no guest.

The reference that says what the vSwitch alone costs: what PVP and PVVP lose against it is
lost behind it.
"""

from __future__ import annotations

from pytest_vswitch.fixtures import Measure, Threshold
from pytest_vswitch.measure.way import check_way
from pytest_vswitch.results.certification import Wired


def test_frames_return_exactly(p2p: Wired, measure: Measure, frame_bytes: int) -> None:
    """Steps: send a few hundred distinct frames into each port.

    Verify: each comes out of the other port once, its MAC addresses and every byte
    as it was sent.
    """
    measure.functional(p2p, frame_bytes=frame_bytes)


def test_frames_take_the_way_of_their_port(p2p: Wired) -> None:
    """Steps: send frames into one port, then into the other.

    Verify: each hop of that port's path counts them: no two wires are crossed.
    """
    check_way(p2p.topology, p2p.generator)


def test_throughput(p2p: Wired, measure: Measure, threshold: Threshold, frame_bytes: int) -> None:
    """Steps: search the no-drop and the partial drop rate, both directions at once.

    Verify: the counters of every hop reconcile in every trial; each threshold that the
    lab sets for this case is met.
    """
    case = measure.throughput(p2p, frame_bytes=frame_bytes)
    threshold.check(case)
