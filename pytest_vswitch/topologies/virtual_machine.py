"""A virtual machine behind a vSwitch: what it needs, how it comes up, what it tells."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pytest_vswitch import registry
from pytest_vswitch.apps import dpdk, guest_image, kvm, qemu, qemu_versions, users_guest
from pytest_vswitch.apps.guest import Guest
from pytest_vswitch.apps.guest_image import GuestImage
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.endpoints import EndpointFacts, Place
from pytest_vswitch.topologies.ports import require_programs

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
    devices: tuple[str, ...]
    """PCI addresses in the guest of its virtio ports."""

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
            commands=((self.guest.machine.name, self.guest.machine.command), *commands),
        )


def preflight(lab: Lab, host: Host) -> None:
    """Raise InputError for what a virtual machine needs and the host lacks."""
    program = qemu_versions.program(lab, host)
    needed = [(program, "qemu-system-x86", f"{lab.where('guest', 'qemu')}: ")]
    if not users_guest.is_wanted(lab):
        dpdk.require(lab, host, "guest")
        needed += [
            ("busybox", "busybox-static", ""),
            ("cpio", "cpio", ""),
        ]
    require_programs(host, needed)
    registry.hypervisor(lab.guest.hypervisor).preflight(lab, host)
    if users_guest.is_wanted(lab):
        users_guest.preflight(lab, host)
    else:
        guest_image.find_kernel(host, lab.guest.kernel)


def memory_mb(lab: Lab) -> int:
    return lab.guest.memory_mb


@contextlib.contextmanager
def boot(lab: Lab, host: Host, place: Place, *, hugepages_mb: int) -> Iterator[VirtualMachine]:
    """A guest whose shell answers, with two virtio ports and so much memory for a DPDK in it.

    Raises HostError, DutError.
    """
    name = "guest" + place.suffix.replace(" ", "-")
    ports = [
        qemu.VhostUserPort(port.socket, place.mac(index), _SLOT + index, place.listens)
        for index, port in enumerate(place.vhosts)
    ]
    pages = hugepages_mb // 2 + 32 if hugepages_mb else 0
    wishes = qemu.wishes(ports, pages)
    with contextlib.ExitStack() as stack:
        image = stack.enter_context(_image(lab, host, name, wishes))
        program = qemu_versions.program(lab, host)
        accelerator = kvm.choose(host, lab.guest.accelerator, image, program)
        # A kernel that has its own drivers for the ports may use them before DPDK does: without
        # KVM, QEMU 7.2 crashes when one lets a vhost-user port interrupt by MSI-X.
        crashes = users_guest.is_wanted(lab) and accelerator.name != "kvm"
        parameters = qemu.Parameters(
            name=name,
            image=image,
            accelerator=accelerator.name,
            vcpus=place.vcpus,
            cpus=place.cpus,
            memory_mb=lab.guest.memory_mb,
            hugepage_kb=place.pages.size_kb,
            guest_hugepages=pages,
            ports=ports,
            queues=lab.guest.queues,
            virtio={**({"vectors": "0"} if crashes else {}), **lab.guest.virtio},
        )
        boot = registry.hypervisor(lab.guest.hypervisor).boot
        guest = stack.enter_context(
            boot(host, parameters, program=program, timeout_s=lab.guest.boot_timeout_s)
        )
        if users_guest.is_wanted(lab):
            users_guest.check(guest, image, wishes)
        devices = tuple(port.address for port in ports)
        yield VirtualMachine(guest, image, accelerator, lab.guest.virtio, devices)


@contextlib.contextmanager
def _image(lab: Lab, host: Host, name: str, wishes: str) -> Iterator[GuestImage]:
    """What the lab's guest boots: the built-in one, or the user's."""
    if users_guest.is_wanted(lab):
        with users_guest.prepared(lab, host, name, wishes) as image:
            yield image
    else:
        yield guest_image.prepare(host, kernel=lab.guest.kernel, testpmd=dpdk.of_peer(lab, host))
