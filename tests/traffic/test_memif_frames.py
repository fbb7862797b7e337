"""The frames that are sent, read back by scapy."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from pytest_vswitch.errors import InputError
from pytest_vswitch.topologies.topology import plain_flow
from pytest_vswitch.traffic import frames


@pytest.mark.parametrize("size", [64, 65, 128, 256, 512, 1024, 1280, 1518, 9000, 9724])
def test_template(size: int) -> None:
    frame = frames.template(plain_flow(0, 1), size)
    assert len(frame) == size - 4
    packet = Ether(frame)
    assert (packet.src, packet.dst) == ("02:00:c6:12:00:01", "02:00:c6:12:00:02")
    assert (packet[IP].src, packet[IP].dst) == ("198.18.0.1", "198.19.0.1")
    assert packet[IP].len == size - 4 - 14
    assert packet[UDP].len == size - 4 - 34
    assert packet[UDP].chksum == 0
    checksum = packet[IP].chksum
    del packet[IP].chksum
    assert IP(bytes(packet[IP])).chksum == checksum
    assert frames.stamp_offset(frame) == frames.HEADER_BYTES == 42


def test_directions_differ() -> None:
    assert frames.template(plain_flow(0, 1), 64) != frames.template(plain_flow(1, 0), 64)


def test_stamp_moves_with_the_payload() -> None:
    """A DUT may add a tag before it."""
    frame = frames.template(plain_flow(0, 1), 64)
    tagged = frame[:12] + bytes.fromhex("81000064") + frame[12:]
    assert frames.stamp_offset(tagged) == 46


@pytest.mark.parametrize("size", [0, 60, 63, 9725])
def test_impossible_sizes(size: int) -> None:
    with pytest.raises(InputError, match=f"frame size {size}"):
        frames.template(plain_flow(0, 1), size)
