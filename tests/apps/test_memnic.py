"""MEMNIC: its layout, its metadata, and frames that two sides exchange through a real file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.apps import memnic
from pytest_vswitch.apps.memnic import DOWN, SLOTS, UP, Header
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.local import LocalHost
from tests.hosts.machine import machine

MAC = "02:11:22:33:44:55"
METADATA = b"vNIC\x01\0\0\0\x01\0\0\0" + bytes(12) + b"\x02\x11\x22\x33\x44\x55"
"""Written by hand, from memnic.h."""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LocalHost]:
    with machine(tmp_path) as here:
        yield here


def test_metadata_is_read_as_the_header_file_lays_it_out() -> None:
    header = memnic.parse_header(METADATA, "it")
    assert header == Header(memnic.MAGIC, 1, True, MAC)
    assert header.pack() == METADATA
    assert not memnic.parse_header(METADATA[:8] + bytes(22), "it").valid


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it has 0 bytes, and MEMNIC's metadata 30"),
        (METADATA[:29], "it has 29 bytes, and MEMNIC's metadata 30"),
        (bytes(30), r"it has no MEMNIC metadata: it begins with 0x00000000 in place of 0x43494e76"),
        (METADATA[:4] + b"\x02" + METADATA[5:], "it is laid out for MEMNIC version 2, not 1"),
    ],
)
def test_other_memory_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(DutError, match=message):
        memnic.parse_header(data, "it")


def test_metadata_is_read_from_a_file_of_the_host(host: LocalHost, tmp_path: Path) -> None:
    path = tmp_path / "region"
    path.write_bytes(METADATA + bytes(1 << 20))
    assert memnic.read_header(host, str(path)) == memnic.parse_header(METADATA, "it")


def test_an_empty_file_and_none_are_told(host: LocalHost, tmp_path: Path) -> None:
    path = tmp_path / "region"
    path.write_bytes(b"")
    with pytest.raises(DutError, match="region has 0 bytes"):
        memnic.read_header(host, str(path))
    with pytest.raises(DutError, match=r"there is no .*none, which the vSwitch shares"):
        memnic.read_header(host, str(tmp_path / "none"))


def test_the_slots_of_a_direction_lie_behind_its_counters() -> None:
    assert memnic.slot(UP, 0) == 2 << 20
    assert memnic.slot(DOWN, 0) == 10 << 20
    assert memnic.slot(UP, 1) == (2 << 20) + 4096
    assert memnic.slot(UP, SLOTS) == memnic.slot(UP, 0)
    assert memnic.slot(DOWN, SLOTS - 1) + 4096 <= memnic.SIZE_MB << 20


def test_frames_go_through_slots() -> None:
    slot = memnic.filled(b"frame") + bytes(100)
    assert struct.unpack_from("<II", slot) == (2, 5)
    assert memnic.frame_in(slot) == b"frame"
    assert memnic.frame_in(bytes(4096)) is None
    with pytest.raises(DutError, match="a MEMNIC slot of 4096 bytes says it holds 4089"):
        memnic.frame_in(struct.pack("<II", 2, 4089) + bytes(4088))


def test_interfaces_are_those_that_came_with_the_driver() -> None:
    assert memnic.interfaces("lo\neth0\n", "eth0\neth2\neth10\nlo\n") == ("eth2", "eth10")
    assert memnic.interfaces("", "") == ("eth1", "eth2"), "the guide's, in a plan"
    with pytest.raises(DutError, match="made 1 interfaces, not 2: eth1"):
        memnic.interfaces("lo\n", "eth1\nlo\n")
    with pytest.raises(DutError, match=r"made 0 interfaces, not 2$"):
        memnic.interfaces("lo\n", "lo\n")
