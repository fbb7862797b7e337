"""MEMNIC: a network interface in shared memory, between a vSwitch and a guest.

The layout is that of NEC's MEMNIC 1 (`memnic.h`): little-endian, in a region of 16 MiB

    0 MiB  header        1 MiB  to the guest (up)        9 MiB  to the host (down)

where each direction has 1 MiB of its own counters, then 1024 slots of 4096 bytes.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from pytest_vswitch.apps.ivshmem import Region
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.host import Host

MAGIC = 0x43494E76
"""`vNIC`."""
VERSION = 1
SIZE_MB = 16

_MIB = 1 << 20
UP = 1 * _MIB
"""Where the direction to the guest begins [bytes]."""
DOWN = 9 * _MIB
SLOTS = 1024
SLOT_BYTES = 4096
FREE, USED, FILLED = 0, 1, 2
"""States of a slot."""
MAX_FRAME_BYTES = 1518
"""Without FCS: an MTU of 1500, and a VLAN tag."""

_HEADER = struct.Struct("<IIIIII6s")
_SLOT = struct.Struct("<II")

HEADER_BYTES = _HEADER.size

# --- the region ---------------------------------------------------------------------------


def region(port: int) -> Region:
    """What the vSwitch makes for the port of that number, from 48 on."""
    return Region(f"ovs_dpdk_{port}", SIZE_MB)


@dataclass(frozen=True, slots=True)
class Header:
    """The metadata at the beginning of a region."""

    magic: int
    version: int
    valid: bool
    """Whether the vSwitch has answered the reset that the guest's driver begins with."""
    mac: str

    def pack(self) -> bytes:
        mac = bytes.fromhex(self.mac.replace(":", ""))
        return _HEADER.pack(self.magic, self.version, int(self.valid), 0, 0, 0, mac)


def parse_header(data: bytes, where: str) -> Header:
    """Raises DutError, naming `where` it was, for memory that is no MEMNIC region."""
    if len(data) < HEADER_BYTES:
        raise DutError(f"{where} has {len(data)} bytes, and MEMNIC's metadata {HEADER_BYTES}")
    magic, version, valid, _, _, _, mac = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise DutError(
            f"{where} has no MEMNIC metadata: it begins with {magic:#010x} in place of "
            f"{MAGIC:#010x} (`vNIC`); is it the vSwitch's, and has that started?"
        )
    if version != VERSION:
        raise DutError(f"{where} is laid out for MEMNIC version {version}, not {VERSION}")
    return Header(magic, version, bool(valid), mac.hex(":"))


def read_header(host: Host, path: str) -> Header | None:
    """Of a region on the host; None in a plan, where nobody answers. Raises DutError."""
    argv = ["od", "-A", "d", "-v", "-t", "x1", "-N", str(HEADER_BYTES), "--", path]
    listed = host.run(argv, check=False, why="has the shared memory its metadata?")
    if listed.status:
        raise DutError(f"there is no {path}, which the vSwitch shares: {listed.output.strip()}")
    if not listed.output:
        return None
    words = [word for line in listed.output.splitlines() for word in line.split()[1:]]
    return parse_header(bytes.fromhex("".join(words)), path)


def slot(direction: int, number: int) -> int:
    """Where a slot of a direction (`UP`, `DOWN`) begins [bytes]."""
    return direction + _MIB + SLOT_BYTES * (number % SLOTS)


def filled(frame: bytes) -> bytes:
    """A slot with a frame (without FCS), for the other side to take."""
    return _SLOT.pack(FILLED, len(frame)) + frame


def frame_in(data: bytes) -> bytes | None:
    """The frame in a slot; None if there is none. Raises DutError for an impossible length."""
    status, length = _SLOT.unpack_from(data)
    if status != FILLED:
        return None
    if length > min(SLOT_BYTES - _SLOT.size, len(data) - _SLOT.size):
        raise DutError(f"a MEMNIC slot of {SLOT_BYTES} bytes says it holds {length}")
    return data[_SLOT.size : _SLOT.size + length]


# --- the guest's driver -------------------------------------------------------------------

SOURCES = "/root/memnic"
"""Where the guide has them in the guest."""

FOUND = "MEMNIC: new vNIC device found"
"""In the guest's kernel log, for each region."""
LOADED = "NIC DRIVER: Loaded"
"""After the last; the guide prints `MEPINIC`, and the driver `MEMNIC`."""

MAC_PATCH = "memnic_set_mac_address.patch"


def build() -> list[tuple[str, str]]:
    """(command, why) for the guest's shell."""
    make = f"make -C /lib/modules/$(uname -r)/build M={SOURCES}/linux"
    return [
        (
            f"patch -N -p1 -d {SOURCES} -i {SOURCES}/{MAC_PATCH}",
            "so that the MAC addresses may be set",
        ),
        (f"{make} clean", "the driver is built for this kernel"),
        (make, "the driver itself"),
        (f"insmod {SOURCES}/linux/memnic.ko", "the driver finds the shared memory"),
    ]


def interfaces(before: str, after: str) -> tuple[str, str]:
    """The two that loading the driver made, from `ls /sys/class/net` around it.

    Raises DutError. Without an answer, as in a plan, what the guide calls them.
    """
    if not after:
        return "eth1", "eth2"
    new = sorted(set(after.split()) - set(before.split()), key=_natural)
    if len(new) != 2:
        raise DutError(
            f"the guest's MEMNIC driver made {len(new)} interfaces, not 2"
            + (f": {', '.join(new)}" if new else "")
        )
    return new[0], new[1]


def _natural(name: str) -> list[int | str]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
