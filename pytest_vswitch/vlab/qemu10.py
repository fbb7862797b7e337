"""QEMU 10, which has `igb`: unpacked from Debian trixie, and the machine it makes.

Options as in QEMU 10.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.vlab import debian
from pytest_vswitch.vlab.debian import Say, Tree
from pytest_vswitch.vlab.state import Hardware, Place

_TREE = Tree("trixie", "extract", ("qemu-system-x86",))

NEEDED_MB = 600
"""Room that unpacking takes [MiB]."""


def prepare(host: Host, root: Path, say: Say) -> Path:
    """The tree below `root`, unpacked if there is none. Raises HostError."""

    def build(directory: Path) -> None:
        say("unpacking QEMU 10 from Debian packages: some seconds, once")
        debian.require_space(root, NEEDED_MB)
        debian.unpack(host, _TREE, directory / "tree")

    return debian.cached(host, str(root / "qemu"), [_TREE], build) / "tree"


def program(tree: Path) -> list[str]:
    """Run it by its own loader, with its own libraries and modules: nothing is installed."""
    libraries = tree / "usr/lib/x86_64-linux-gnu"
    path = ":".join(str(libraries / name) for name in ("", "pulseaudio", "systemd"))
    argv = ["env", f"QEMU_MODULE_DIR={libraries}/qemu", str(libraries / "ld-linux-x86-64.so.2")]
    argv += ["--library-path", path, str(tree / "usr/bin/qemu-system-x86_64")]
    return [*argv, "-L", str(tree / "usr/share/qemu"), "-L", str(tree / "usr/share/seabios")]


_CPU = "max,svm=off,la57=off"
"""All that is emulated but for virtual machines within, and a fifth level of page tables."""


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Open files that QEMU inherits."""

    qmp: int
    """Connected stream socket."""
    taps: Sequence[int]
    """TAP devices, one for each port."""


def arguments(
    place: Place, hardware: Hardware, cmdline: str, descriptors: Descriptors
) -> list[str]:
    """The machine: IOMMU with interrupt remapping, management NIC, `igb` ports, disk, console."""
    argv = [
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-name",
        f"{place.name},process=qemu-vlab",
    ]
    argv += ["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", _CPU]
    argv += ["-smp", str(hardware.cpus), "-m", str(hardware.memory_mb)]
    # eim: interrupts by x2APIC. Now and then QEMU 10.0 loses an end of interrupt that is written to
    # memory while another CPU sets up PCI, and that CPU hangs: in 4 of 37 boots, in none of 55 so.
    argv += ["-device", "intel-iommu,intremap=on,eim=on"]
    # It reaches nothing but who asks: neither the controller's loopback nor the world.
    forward = f"hostfwd=tcp:127.0.0.1:{hardware.ssh_port}-:22"
    argv += ["-netdev", f"user,id=management,restrict=on,ipv6=off,{forward}"]
    argv += ["-device", "virtio-net-pci,netdev=management,addr=0x1,mac=52:54:00:56:4c:ff,romfile="]
    for index, tap in enumerate(descriptors.taps):
        argv += ["-netdev", f"tap,id=port{index},fd={tap}"]
        argv += ["-device", f"pcie-root-port,id=slot{index},chassis={index + 1}"]
        mac = f"52:54:00:56:4c:{index:02x}"
        argv += ["-device", f"igb,netdev=port{index},bus=slot{index},mac={mac}"]
    # What the guest has synced is with this kernel, which outlives QEMU.
    drive = f"file={place.disk},if=none,id=disk,format=raw,cache=writeback,discard=unmap"
    argv += ["-drive", drive, "-device", "virtio-blk-pci,drive=disk"]
    argv += ["-kernel", str(place.kernel), "-initrd", str(place.initrd), "-append", cmdline]
    argv += ["-chardev", f"file,id=console,path={place.console},append=on"]
    argv += ["-serial", "chardev:console"]
    argv += ["-chardev", f"socket,id=qmp,fd={descriptors.qmp}", "-mon", "chardev=qmp,mode=control"]
    # It has no boot loader: a reset ends it, and the next one gets the kernel's new words.
    return [*argv, "-action", "reboot=shutdown"]
