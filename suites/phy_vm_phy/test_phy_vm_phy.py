"""Phy-VM-Phy: physical port, virtual machine, physical port, with routing in the guest.

Open vSwitch guides for guests that forward IP, on vhost-user in place of KNI and MEMNIC. The
guest's kernel routes between its two virtio ports, with static neighbours on either side;
in a second case testpmd forwards in the guest. Both directions at once.
"""

from __future__ import annotations

from pytest_vswitch.fixtures import Measure, Threshold
from pytest_vswitch.results.certification import Wired

FOREIGN_MAC = "00:00:5e:00:53:ff"
"""Nobody's: of those that documents may use (RFC 7042)."""


def test_frames_are_routed_exactly(phy_vm_phy: Wired, measure: Measure, frame_bytes: int) -> None:
    """Steps: send a few hundred distinct frames into each port, to the guest's MAC address.

    Verify: each comes out of the other port once, from the guest's MAC address to that of the
    gateway there, its time to live one less, its header checksum right, and every other byte
    as it was sent.
    """
    measure.functional(phy_vm_phy, frame_bytes=frame_bytes)


def test_expired_frames_are_not_routed(router: Wired, measure: Measure, frame_bytes: int) -> None:
    """Steps: send frames with a time to live of 1 (RFC 1812, 5.3.1), and good ones between.

    Verify: the good ones come back, the others nowhere.
    """
    measure.refusal(router, frame_bytes=frame_bytes, ttl=1)


def test_frames_to_others_are_not_routed(router: Wired, measure: Measure, frame_bytes: int) -> None:
    """Steps: send frames to a foreign MAC address, and good ones between.

    Verify: the good ones come back, the others nowhere.
    """
    measure.refusal(router, frame_bytes=frame_bytes, dst_mac=FOREIGN_MAC)


def test_throughput(
    phy_vm_phy: Wired, measure: Measure, threshold: Threshold, frame_bytes: int
) -> None:
    """Steps: search the no-drop and the partial drop rate, both directions at once.

    Verify: the counters of every hop reconcile in every trial; each threshold that the
    lab sets for this case is met.
    """
    case = measure.throughput(phy_vm_phy, frame_bytes=frame_bytes)
    threshold.check(case)


def test_frames_return_exactly_from_testpmd(
    phy_vm_phy_testpmd: Wired, measure: Measure, frame_bytes: int
) -> None:
    """Steps: with testpmd in the guest, send a few hundred distinct frames into each port.

    Verify: each comes out of the other port once, its MAC addresses swapped and every
    other byte as it was sent.
    """
    measure.functional(phy_vm_phy_testpmd, frame_bytes=frame_bytes)


def test_throughput_of_testpmd(
    phy_vm_phy_testpmd: Wired, measure: Measure, threshold: Threshold, frame_bytes: int
) -> None:
    """Steps: search the same rates with testpmd in the guest: what its kernel costs.

    Verify: as with the kernel.
    """
    case = measure.throughput(phy_vm_phy_testpmd, frame_bytes=frame_bytes)
    threshold.check(case)
