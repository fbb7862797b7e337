"""A virtual machine behind a vSwitch: what it needs, how it comes up, what it tells."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pytest_vswitch import registry
from pytest_vswitch.apps import guest_image, kvm, qemu
from pytest_vswitch.apps.guest import Guest
from pytest_vswitch.apps.guest_image import GuestImage
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.endpoints import EndpointFacts, Place
from pytest_vswitch.topologies.ports import require_programs

_BOOT_TIMEOUT_S = 90.0
_SLOT = 0x10
"""PCI device number of the first virtio port in the guest."""


@dataclass(frozen=True, slots=True)
class VirtualMachine:
    """A running virtual machine."""

    guest: Guest
    image: GuestImage
    accelerator: kvm.Accelerator
    virtio: Mapping[str, str]
    """Properties that the lab sets on its ports."""
    command: tuple[str, ...]
    """QEMU's."""

    def facts(
        self, versions: Mapping[str, str], *commands: tuple[str, tuple[str, ...]]
    ) -> EndpointFacts:
        """What was read from it, with `versions` and `commands` of what runs in it."""
        remarks: tuple[str, ...] = ()
        if self.accelerator.name != "kvm":
            remarks = (
                f"the guest runs on {self.accelerator.name}, emulated, many times slower than "
                f"KVM: {self.accelerator.reason}",
            )
        return EndpointFacts(
            versions={
                **versions,
                "qemu": self.guest.version,
                "guest kernel": self.guest.run("uname -r").strip(),
            },
            virtio_features=", ".join(
                f"{name}='{self.guest.property(0, name)}'" for name in self.virtio
            ),
            accelerator=self.accelerator.name,
            remarks=remarks,
            commands=((self.guest.machine.name, self.command), *commands),
        )


def preflight(lab: Lab, host: Host) -> None:
    """Raise InputError for what a virtual machine needs and the host lacks."""
    require_programs(
        host,
        [
            (lab.dut.testpmd, "dpdk-dev", f"{lab.where('dut', 'testpmd')}: "),
            (lab.guest.qemu, "qemu-system-x86", f"{lab.where('guest', 'qemu')}: "),
            ("busybox", "busybox-static", ""),
            ("cpio", "cpio", ""),
        ],
    )
    registry.hypervisor(lab.guest.hypervisor).preflight(lab, host)
    guest_image.find_kernel(host, lab.guest.kernel)


def memory_mb(lab: Lab) -> int:
    return lab.guest.memory_mb


@contextlib.contextmanager
def boot(lab: Lab, host: Host, place: Place, *, hugepages_mb: int) -> Iterator[VirtualMachine]:
    """A guest whose shell answers, with two virtio ports and so much memory for a DPDK in it.

    Raises HostError, DutError.
    """
    image = guest_image.prepare(host, kernel=lab.guest.kernel, testpmd=lab.dut.testpmd)
    accelerator = kvm.choose(host, lab.guest.accelerator, image, lab.guest.qemu)
    parameters = qemu.Parameters(
        name="guest" + place.suffix.replace(" ", "-"),
        image=image,
        accelerator=accelerator.name,
        vcpus=place.vcpus,
        memory_mb=lab.guest.memory_mb,
        hugepage_kb=place.pages.size_kb,
        guest_hugepages=hugepages_mb // 2 + 32 if hugepages_mb else 0,
        ports=[
            qemu.VhostUserPort(port.socket, place.mac(index), _SLOT + index, place.listens)
            for index, port in enumerate(place.vhosts)
        ],
        virtio=lab.guest.virtio,
    )
    boot = registry.hypervisor(lab.guest.hypervisor).boot
    with boot(host, parameters, program=lab.guest.qemu, timeout_s=_BOOT_TIMEOUT_S) as guest:
        guest.pin(place.cpus)
        command = parameters.argv(lab.guest.qemu, f"{host.scratch}/{parameters.name}")
        yield VirtualMachine(guest, image, accelerator, lab.guest.virtio, tuple(command))
