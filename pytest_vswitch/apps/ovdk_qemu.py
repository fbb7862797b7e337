"""QEMU's command line for a guest with IVSHMEM devices, as in the guides for MEMNIC and KNI.

Its words are those of QEMU 1.6 to 2.x, on which the release's own QEMU is based; today's takes
them, too. The release's is a process of DPDK's, with arguments of EAL's before its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_vswitch.apps.openvswitch import mask
from pytest_vswitch.apps.qemu import Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """What QEMU is started with."""

    guest: Parameters
    """Its image, accelerator, CPUs and memory."""
    share: str
    """Folder on the host that the guest sees as a FAT disk, the second one: /dev/sdb."""
    devices: Sequence[str]
    """Words for its IVSHMEM devices."""
    eal_cores: Sequence[int] = ()
    """CPUs of a QEMU that is a secondary process of DPDK's; empty: it is an ordinary one."""

    def argv(self, program: str, directory: str) -> list[str]:
        """`directory` takes the control sockets and the guest's kernel log."""
        argv = [program]
        if self.eal_cores:
            argv += ["-c", mask(self.eal_cores), "--proc-type", "secondary", "-n", "4", "--"]
        kvm = self.guest.accelerator == "kvm"
        argv += ["-cpu", "host", "-enable-kvm"] if kvm else []
        first, *others = self.guest.image.disks
        argv += ["-boot", "c", "-drive", f"file={first.path},format={first.format},index=0"]
        argv += ["-drive", f"file=fat:rw:{self.share},format=raw,snapshot=off,index=1"]
        for index, disk in enumerate(others, 2):
            argv += ["-drive", f"file={disk.path},format={disk.format},media=cdrom,index={index}"]
        argv += ["-m", f"{self.guest.memory_mb}M", "-smp", str(self.guest.vcpus)]
        argv += ["-name", self.guest.name, "-display", "none", "-no-reboot"]
        # No monitor and no network, but a screen, which an image may want.
        argv += ["-nodefaults", "-vga", "std"]
        if login := self.guest.image.login:
            forward = f"hostfwd=tcp:127.0.0.1:{login.port}-:22"
            argv += ["-netdev", f"user,id=login,restrict=on,{forward}"]
            argv += ["-device", "virtio-net-pci,netdev=login"]
        argv += ["-serial", f"file:{directory}/guest-kernel.log", "-device", "virtio-serial-pci"]
        for name in ("shell", "testpmd"):
            argv += ["-chardev", f"socket,id={name},path={directory}/{name},server=on,wait=off"]
            argv += ["-device", f"virtserialport,chardev={name},name=vswitch.{name}"]
        argv += ["-qmp", f"unix:{directory}/qmp,server=on,wait=off"]
        return [*argv, *self.devices]
