"""testpmd between two virtio ports, swapping the MAC addresses of each frame.

What an endpoint forwards with, in a virtual machine or a container.
"""

from __future__ import annotations

from collections.abc import Mapping

from pytest_vswitch.apps.testpmd import PortCounters, Testpmd
from pytest_vswitch.topologies.counts import PortCounts


def counts(forwarder: Testpmd, dropped: Mapping[int, int]) -> tuple[PortCounts, PortCounts]:
    """Of its ports 0 and 1; `dropped`, see `restart`. Raises DutError."""
    counters = forwarder.counters()
    return _counts(counters[0], dropped.get(0, 0)), _counts(counters[1], dropped.get(1, 0))


def restart(forwarder: Testpmd, dropped: dict[int, int]) -> None:
    """Stop forwarding and begin again; what each port had dropped until then is added to
    `dropped`, for that counter begins anew, and no other that is read. Raises DutError."""
    forwarder.stop()
    forwarder.keep_waiting()
    for number, counters in forwarder.counters().items():
        dropped[number] = dropped.get(number, 0) + counters.tx_dropped
    forwarder.start()


def _counts(counters: PortCounters, dropped: int) -> PortCounts:
    return PortCounts(
        rx=counters.rx_packets,
        tx=counters.tx_packets,
        rx_drops={"RX-missed": counters.rx_missed, "RX-errors": counters.rx_errors},
        tx_drops={"TX-dropped": counters.tx_dropped + dropped},
    )


def transform(frame: bytes) -> bytes:
    """Source and destination MAC addresses change places."""
    return frame[6:12] + frame[:6] + frame[12:]
