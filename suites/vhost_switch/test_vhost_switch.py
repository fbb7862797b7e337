"""vhost-switch: DPDK's vhost sample between a NIC with VMDq and a guest.

DPDK's "Vhost Sample Application". Frames that carry the guest's MAC address and its VLAN tag
enter the guest by its first virtio port, and come back on the wire in its other port's VLAN.
"""

from __future__ import annotations

from pytest_vswitch.fixtures import Measure, Threshold
from pytest_vswitch.results.certification import Wired


def test_frames_return_exactly(vhost_switch: Wired, measure: Measure, frame_bytes: int) -> None:
    """Steps: send a few hundred distinct frames to the guest's address, in its VLAN.

    Verify: each comes back once, its MAC addresses swapped, in the VLAN of the guest's other
    port, and every other byte as it was sent.
    """
    measure.functional(vhost_switch, frame_bytes=frame_bytes)


def test_throughput(
    vhost_switch: Wired, measure: Measure, threshold: Threshold, frame_bytes: int
) -> None:
    """Steps: search the no-drop and the partial drop rate.

    Verify: the counters of NIC, sample and guest reconcile in every trial; each threshold
    that the lab sets for this case is met.
    """
    threshold.check(measure.throughput(vhost_switch, frame_bytes=frame_bytes))
