"""The lab's `ovdk` section: where the Intel DPDK vSwitch is, and how its guest is reached."""

from __future__ import annotations

from typing import Annotated, Literal

from pytest_vswitch.lab.section import Matching, Section

Path = Annotated[
    str, Matching(r"/[^\x00-\x1f\x7f,]+", "give an absolute path on the DUT, without commas")
]
Address = Annotated[str, Matching(r"0x[0-9a-f]{1,16}", "a virtual address, e.g. 0x2aaa2aa00000")]


class Ovdk(Section):
    """The Intel DPDK vSwitch of `dut.vswitch: ovdk`; its guest is `guest.image`."""

    path: Path
    """Folder of a built release on the DUT, with `openvswitch`, `qemu` and `guest` in it."""
    ports: Literal["memnic", "kni"] = "memnic"
    """What the guest has: MEMNIC, or KNI over DPDK's rings; each by its own guide."""
    sources: Path
    """What the guest builds its driver of: the folder of MEMNIC, or that of DPDK for KNI."""
    qemu: Literal["vswitch", "guest"] = "vswitch"
    """`vswitch`: the release's QEMU, a process of DPDK's; `guest`: `guest.qemu`, for MEMNIC."""
    physical: Literal["dpdk", "dpdkphy"] | None = None
    """Type of the NICs' interfaces; default: as in the guide, `dpdk` for MEMNIC, else `dpdkphy`."""
    base_virtaddr: Address = "0x2aaa2aa00000"
    """Where its processes map the shared memory; another one if they cannot map it there."""
