"""PVP: physical port - virtual machine - physical port, with testpmd in host and guest.

The reference setup of the guide's chapter 4: the chain of `vhost_chain`, with a virtual
machine as its endpoint. Where a lab has no NICs, memif ports stand for them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pytest_vswitch.apps import guest_image, kvm, qemu, testpmd
from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts import hugepages
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.preflight import check_lcores, require_ports
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies import lcores, ports
from pytest_vswitch.topologies.ports import PORTS
from pytest_vswitch.topologies.vhost_chain import EndpointFacts, VhostChain, start_switch

NAME = "pvp"

_GUEST_TESTPMD_MB = 256
_BOOT_TIMEOUT_S = 90.0


@dataclass(frozen=True, slots=True)
class VirtualMachine:
    """A guest whose testpmd forwards; see `vhost_chain.Endpoint`."""

    guest: qemu.Guest
    forwarder: testpmd.Testpmd
    accelerator: kvm.Accelerator
    virtio: Mapping[str, str]
    """Properties that the lab sets on its ports."""
    commands: tuple[tuple[str, tuple[str, ...]], ...]
    name: str = "guest testpmd"
    where: str = "guest"

    @property
    def facts(self) -> EndpointFacts:
        remarks: tuple[str, ...] = ()
        if self.accelerator.name != "kvm":
            remarks = (
                f"the guest runs on {self.accelerator.name}, emulated, many times slower than "
                f"KVM: {self.accelerator.reason}",
            )
        return EndpointFacts(
            versions={
                "guest dpdk": self.forwarder.version,
                "qemu": self.guest.version,
                "guest kernel": self.guest.run("uname -r").strip(),
            },
            virtio_features=", ".join(
                f"{name}='{self.guest.property(0, name)}'" for name in self.virtio
            ),
            accelerator=self.accelerator.name,
            remarks=remarks,
            commands=self.commands,
        )

    def check_alive(self) -> None:
        self.guest.check_alive()


def preflight(lab: Lab, host: Host) -> None:
    """Raise InputError for what the lab or the host lacks; nothing is changed."""
    require_ports(lab, NAME, PORTS)
    ports.require_programs(
        host,
        [
            (lab.dut.testpmd, "dpdk-dev", f"{lab.where('dut', 'testpmd')}: "),
            (lab.guest.qemu, "qemu-system-x86", f"{lab.where('guest', 'qemu')}: "),
            ("busybox", "busybox-static", ""),
            ("cpio", "cpio", ""),
        ],
    )
    if not host.is_root():
        raise InputError(
            f"{NAME} on {host.name} needs root: for hugepages, DPDK's physical addresses and "
            "the run's state in /run; run pytest as root, or try `--dut sim`"
        )
    ports.preflight(lab, host)
    check_lcores(lab, set(lcores.available(host)))
    lcores.plan_for(lab, host)
    guest_image.find_kernel(host, lab.guest.kernel)
    qemu.require_memory(host, lab.dut.memory_mb + lab.guest.memory_mb)


@contextlib.contextmanager
def provision(lab: Lab, host: Host) -> Iterator[VhostChain]:
    """Wire and start a PVP; everything ends with the block.

    Raises InputError for a lab that does not fit, HostError for what the host lacks,
    DutError, with its last words, for a program that does not come up.
    """
    preflight(lab, host)
    cores = lcores.plan_for(lab, host)
    image = guest_image.prepare(host, kernel=lab.guest.kernel, testpmd=lab.dut.testpmd)
    accelerator = kvm.choose(host, lab.guest.accelerator, image, lab.guest.qemu)

    with contextlib.ExitStack() as stack:
        needs_mb = (lab.dut.memory_mb, lab.guest.memory_mb)
        pages = stack.enter_context(hugepages.reserve(host, lab.dut.hugepages, needs_mb))
        sockets = [f"{host.scratch}/vhost{index}" for index in range(PORTS)]
        bound = stack.enter_context(ports.bound(lab, host))
        switch = stack.enter_context(start_switch(lab, host, bound, sockets, cores, pages))

        in_guest = qemu.Parameters(
            image=image,
            accelerator=accelerator.name,
            vcpus=cores.vcpus,
            memory_mb=lab.guest.memory_mb,
            hugepage_kb=pages.size_kb,
            guest_hugepages=_GUEST_TESTPMD_MB // 2 + 32,
            ports=[
                qemu.VhostUserPort(socket, f"52:54:00:02:d9:{index + 1:02x}", 0x10 + index)
                for index, socket in enumerate(sockets)
            ],
            virtio=lab.guest.virtio,
        )
        guest = stack.enter_context(
            qemu.boot(host, in_guest, program=lab.guest.qemu, timeout_s=_BOOT_TIMEOUT_S)
        )
        guest.pin(cores.vcpu_cpus)
        forwarding = testpmd.Parameters(
            lcores=",".join(f"{lcore}@{lcore}" for lcore in range(cores.vcpus)),
            memory_mb=_GUEST_TESTPMD_MB,
            file_prefix="guest",
            hugepages=True,
            driver_directory=guest_image.DRIVER_DIRECTORY,
            forward_mode="macswap",
            port_topology="chained",
            forwarding_cores=max(1, cores.vcpus - 1),
            mbufs=4096,
            descriptors=256,
        )
        guest.start(forwarding.argv(image.testpmd))
        forwarder = testpmd.Testpmd(guest.testpmd)
        forwarder.start()
        switch.testpmd.start()

        machine = VirtualMachine(
            guest,
            forwarder,
            accelerator,
            lab.guest.virtio,
            commands=(
                ("QEMU", tuple(in_guest.argv(lab.guest.qemu, f"{host.scratch}/guest"))),
                ("guest testpmd", tuple(forwarding.argv(image.testpmd))),
            ),
        )
        yield VhostChain(NAME, host, bound.ports, switch, machine, cores, pages)
