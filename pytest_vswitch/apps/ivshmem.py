"""IVSHMEM: memory of the host as a PCI device of a guest, in the words of each QEMU.

Sources: QEMU's docs/specs/ivshmem-spec.txt; "ivshmem: Split ivshmem-plain, ivshmem-doorbell off
ivshmem" (QEMU 2.6); "Remove deprecated ivshmem device" (QEMU 4.0).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_vswitch.errors import DutError

Form = Literal["ivshmem", "ivshmem-plain"]

FORMS: tuple[tuple[Form, tuple[int, int], tuple[int, int] | None], ...] = (
    ("ivshmem-plain", (2, 6), None),
    ("ivshmem", (0, 13), (4, 0)),
)
"""(device, the first QEMU that has it, the first that has it no more), the better one first."""

PCI_ID = "1af4:1110"
"""Vendor and device of either form."""

SHM = "/dev/shm"
"""Where Linux keeps what `shm_open` makes."""


@dataclass(frozen=True, slots=True)
class Region:
    """POSIX shared memory that a guest gets as BAR 2 of a PCI device."""

    name: str
    """As `shm_open` takes it, without the slash, e.g. `ovs_dpdk_48`."""
    size_mb: int
    """A power of two, as that of every BAR [MiB]."""

    @property
    def path(self) -> str:
        """Of its file on the host."""
        return f"{SHM}/{self.name}"


def form(version: str) -> Form:
    """The device for a QEMU of that version, e.g. `7.2.22`. Raises DutError if it has none."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if found:
        number = (int(found[1]), int(found[2]))
        for name, first, gone in FORMS:
            if first <= number and (gone is None or number < gone):
                return name
    raise DutError(f"QEMU {version} has no IVSHMEM device: take 0.13 or later")


def argv(regions: Sequence[Region], form: Form) -> list[str]:
    """QEMU's words for a device for each region, in order."""
    words: list[str] = []
    for number, region in enumerate(regions):
        if form == "ivshmem":
            # A size without a unit is in MiB.
            words += ["-device", f"ivshmem,size={region.size_mb},shm=/{region.name}"]
            continue
        backend = f"memory-backend-file,id=shared{number},share=on"
        words += ["-object", f"{backend},mem-path={region.path},size={region.size_mb}M"]
        words += ["-device", f"ivshmem-plain,memdev=shared{number}"]
    return words
