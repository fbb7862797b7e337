"""testpmd between two virtio ports, swapping the MAC addresses of each frame.

What an endpoint forwards with, in a virtual machine or a container.
"""

from __future__ import annotations

from pytest_vswitch.apps.testpmd import PortCounters, Testpmd
from pytest_vswitch.topologies.counts import PortCounts


def counts(forwarder: Testpmd) -> tuple[PortCounts, PortCounts]:
    """Of its ports 0 and 1. Raises DutError."""
    counters = forwarder.counters()
    return _counts(counters[0]), _counts(counters[1])


def _counts(counters: PortCounters) -> PortCounts:
    return PortCounts(
        rx=counters.rx_packets,
        tx=counters.tx_packets,
        rx_drops={"RX-missed": counters.rx_missed, "RX-errors": counters.rx_errors},
        tx_drops={"TX-dropped": counters.tx_dropped},
    )


def transform(frame: bytes) -> bytes:
    """Source and destination MAC addresses change places."""
    return frame[6:12] + frame[:6] + frame[12:]
