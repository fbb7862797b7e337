"""Container networking over virtio-user: physical port, container, physical port.

DPDK "How To" guides, chapter 6. Testpmd forwards on the host (`io`) and in a container
(`macswap`); frames go through both virtio-user ports of the container, in both directions
at once.
"""

from __future__ import annotations

from pytest_vswitch.fixtures import Measure, Threshold
from pytest_vswitch.results.certification import Wired


def test_frames_return_exactly(container: Wired, measure: Measure, frame_bytes: int) -> None:
    """Steps: send a few hundred distinct frames into each port.

    Verify: each comes out of the other port once, its MAC addresses swapped and every
    other byte as it was sent.
    """
    measure.functional(container, frame_bytes=frame_bytes)


def test_throughput(
    container: Wired, measure: Measure, threshold: Threshold, frame_bytes: int
) -> None:
    """Steps: search the no-drop and the partial drop rate, both directions at once.

    Verify: the counters of every hop reconcile in every trial; each threshold that the
    lab sets for this case is met.
    """
    case = measure.throughput(container, frame_bytes=frame_bytes)
    threshold.check(case)
