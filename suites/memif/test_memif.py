"""memif: shared memory between two processes, with and without copying, and within one.

DPDK's "Memif Poll Mode Driver". A testpmd that serves (`io`) and one that connects
(`macswap`) pass frames over two memif links, in both directions at once; or one testpmd has
both ends of a link.
"""

from __future__ import annotations

from pytest_vswitch.fixtures import Measure, Threshold
from pytest_vswitch.results.certification import Wired


class TestTwoProcesses:
    """A server and a client, which copies each frame to and from shared buffers."""

    def test_frames_return_exactly(self, memif: Wired, measure: Measure, frame_bytes: int) -> None:
        """Steps: send a few hundred distinct frames into each port.

        Verify: each comes out of the other port once, its MAC addresses swapped and every
        other byte as it was sent.
        """
        measure.functional(memif, frame_bytes=frame_bytes)

    def test_throughput(
        self, memif: Wired, measure: Measure, threshold: Threshold, frame_bytes: int
    ) -> None:
        """Steps: search the no-drop and the partial drop rate, both directions at once.

        Verify: the counters of every hop reconcile in every trial; each threshold that the
        lab sets for this case is met.
        """
        threshold.check(measure.throughput(memif, frame_bytes=frame_bytes))


class TestZeroCopyClient:
    """The client shares its mbufs; the server reads from and writes into them."""

    def test_frames_return_exactly(
        self, memif_zero_copy: Wired, measure: Measure, frame_bytes: int
    ) -> None:
        """As between two processes that copy."""
        measure.functional(memif_zero_copy, frame_bytes=frame_bytes)

    def test_throughput(
        self, memif_zero_copy: Wired, measure: Measure, threshold: Threshold, frame_bytes: int
    ) -> None:
        """As between two processes that copy."""
        threshold.check(measure.throughput(memif_zero_copy, frame_bytes=frame_bytes))


class TestOneProcessLoopback:
    """Server and client of one link in one process: two ports joined as by a cable."""

    def test_frames_return_exactly(
        self, memif_loopback: Wired, measure: Measure, frame_bytes: int
    ) -> None:
        """Steps: send a few hundred distinct frames into each port.

        Verify: each comes out of the other port once, every byte as it was sent.
        """
        measure.functional(memif_loopback, frame_bytes=frame_bytes)

    def test_throughput(
        self, memif_loopback: Wired, measure: Measure, threshold: Threshold, frame_bytes: int
    ) -> None:
        """As between two processes."""
        threshold.check(measure.throughput(memif_loopback, frame_bytes=frame_bytes))
