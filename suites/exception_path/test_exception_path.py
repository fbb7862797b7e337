"""Exception paths into the kernel: virtio-user through vhost-net, TAP PMD, af_packet PMD.

DPDK "How To" guides, chapter 7. Testpmd forwards (`io`) between each physical port and one to
the kernel, which routes between the two; both directions at once.
"""

from __future__ import annotations

from pytest_vswitch.fixtures import Measure, Threshold
from pytest_vswitch.results.certification import Wired


def test_frames_are_routed_exactly_by_vhost_net(
    exception_path_vhost_net: Wired, measure: Measure, frame_bytes: int
) -> None:
    """Steps: send a few hundred distinct frames into each port.

    Verify: each comes out of the other port once, from the kernel's MAC address to that of
    the gateway there, its time to live one less, and every other byte as it was sent.
    """
    measure.functional(exception_path_vhost_net, frame_bytes=frame_bytes)


def test_throughput_of_vhost_net(
    exception_path_vhost_net: Wired, measure: Measure, threshold: Threshold, frame_bytes: int
) -> None:
    """Steps: search the no-drop and the partial drop rate, both directions at once.

    Verify: the counters of every hop reconcile in every trial; each threshold that the
    lab sets for this case is met.
    """
    threshold.check(measure.throughput(exception_path_vhost_net, frame_bytes=frame_bytes))


def test_frames_are_routed_exactly_by_tap(
    exception_path_tap: Wired, measure: Measure, frame_bytes: int
) -> None:
    """As by vhost-net, through the TAP PMD."""
    measure.functional(exception_path_tap, frame_bytes=frame_bytes)


def test_throughput_of_tap(
    exception_path_tap: Wired, measure: Measure, threshold: Threshold, frame_bytes: int
) -> None:
    """As of vhost-net."""
    threshold.check(measure.throughput(exception_path_tap, frame_bytes=frame_bytes))


def test_frames_are_routed_exactly_by_af_packet(
    exception_path_af_packet: Wired, measure: Measure, frame_bytes: int
) -> None:
    """As by vhost-net, through the af_packet PMD and a veth pair."""
    measure.functional(exception_path_af_packet, frame_bytes=frame_bytes)


def test_throughput_of_af_packet(
    exception_path_af_packet: Wired, measure: Measure, threshold: Threshold, frame_bytes: int
) -> None:
    """As of vhost-net."""
    threshold.check(measure.throughput(exception_path_af_packet, frame_bytes=frame_bytes))
