"""MEMNIC's layout between two real guests: QEMU's `ivshmem-plain`, one region, frames both ways.

Neither guest has MEMNIC's driver: each reads and writes the region by `devmem`, at BAR 2 of its
device, in the slots and with the states that `apps.memnic` lays down.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_vswitch.apps import ivshmem, memnic, qemu
from pytest_vswitch.apps.guest import Guest
from pytest_vswitch.apps.guest_image import GuestImage
from pytest_vswitch.apps.ivshmem import Region
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.measure.functional import build_frames
from pytest_vswitch.topologies.topology import plain_flow
from tests.hosts.machine import machine

PROGRAM = "qemu-system-x86_64"
BOOT_S = 300.0
MAC = "02:00:00:00:00:30"
WORD = 8
FRAMES = 3

_FIND = (
    "for at in /sys/bus/pci/devices/*; do "
    "[ $(cat $at/vendor):$(cat $at/device) != 0x1af4:0x1110 ] || echo $at; done"
)


@dataclass(frozen=True)
class Side:
    """A guest, and where it sees the region."""

    guest: Guest
    address: int
    """Physical, of BAR 2."""

    def read(self, at: int, length: int) -> bytes:
        places = " ".join(hex(self.address + at + word) for word in range(0, length, WORD))
        said = self.guest.run(f"for at in {places}; do devmem $at 64; done", timeout_s=120)
        return b"".join(int(word, 16).to_bytes(WORD, "little") for word in said.split())

    def write(self, at: int, data: bytes) -> None:
        """The first word last: it says that the others are there."""
        padded = data + bytes(-len(data) % WORD)
        words = [(at + n, padded[n : n + WORD]) for n in range(0, len(padded), WORD)]
        lines = [
            f"devmem {self.address + place:#x} 64 {int.from_bytes(word, 'little'):#x}"
            for place, word in (*words[1:], words[0])
        ]
        self.guest.run(" && ".join(lines), timeout_s=120)


@pytest.fixture(scope="module")
def region() -> Iterator[Region]:
    region = Region(f"vswitch-test-{os.getpid()}", memnic.SIZE_MB)
    path = Path(region.path)
    header = memnic.Header(memnic.MAGIC, memnic.VERSION, True, MAC).pack()
    try:
        path.write_bytes(header)
        os.truncate(path, memnic.SIZE_MB << 20)
        yield region
    finally:
        path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def sides(
    region: Region, image: GuestImage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Side]]:
    """Two guests that share the region, booted one after the other."""
    with machine(tmp_path_factory.mktemp("ivshmem")) as host, ExitStack() as stack:
        yield [booted(host, stack, image, name, region) for name in ("guest", "guest-2")]


def booted(host: LocalHost, stack: ExitStack, image: GuestImage, name: str, region: Region) -> Side:
    parameters = qemu.Parameters(
        name=name,
        image=image,
        accelerator="tcg",
        vcpus=1,
        memory_mb=512,
        hugepage_kb=None,
        guest_hugepages=0,
        ports=(),
    )
    argv = parameters.argv(PROGRAM, f"{host.scratch}/{name}")
    argv += ivshmem.argv([region], "ivshmem-plain")
    guest = stack.enter_context(
        qemu.boot(host, parameters, program=PROGRAM, timeout_s=BOOT_S, argv=argv)
    )
    device = guest.run(_FIND).strip()
    guest.run(f"echo 1 > {device}/enable")
    bar = guest.run(f"sed -n 3p {device}/resource").split()
    first, last = (int(word, 16) for word in bar[:2])
    assert last - first + 1 == memnic.SIZE_MB << 20
    return Side(guest, first)


def frames(seed: int) -> Sequence[bytes]:
    return build_frames(plain_flow(0, 1), 64, FRAMES, seed=seed)


def test_both_guests_find_the_metadata(sides: list[Side]) -> None:
    for side in sides:
        data = side.read(0, 32)
        assert memnic.parse_header(data, "the guest's BAR 2").mac == MAC


@pytest.mark.parametrize(("direction", "sender"), [(memnic.UP, 0), (memnic.DOWN, 1)])
def test_frames_go_from_one_guest_to_the_other(
    sides: list[Side], region: Region, direction: int, sender: int
) -> None:
    one, other = sides[sender], sides[1 - sender]
    for number, frame in enumerate(frames(sender)):
        at = memnic.slot(direction, number)
        assert memnic.frame_in(other.read(at, 2 * WORD)) is None
        one.write(at, memnic.filled(frame))
        assert memnic.frame_in(other.read(at, WORD * 9)) == frame
        with Path(region.path).open("rb") as file:
            file.seek(at)
            assert memnic.frame_in(file.read(memnic.SLOT_BYTES)) == frame
        other.write(at, bytes(WORD))
        assert memnic.frame_in(one.read(at, 2 * WORD)) is None


def test_metadata_that_is_spoilt_is_not_found(sides: list[Side]) -> None:
    none = pytest.raises(DutError, match="no MEMNIC metadata: it begins with 0x00000000")
    for side in sides:
        side.write(0, bytes(WORD))
    for side in sides:
        with none:
            memnic.parse_header(side.read(0, 32), "the guest's BAR 2")
    sides[0].write(0, b"vNIC\x01\0\0\0")
    assert memnic.parse_header(sides[1].read(0, 32), "the guest's BAR 2").mac == MAC
