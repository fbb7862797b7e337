"""Wiring for `--nic sriov`: what it needs, and how servers, guest and bond come up (1.4, 1.5).

What is wired is told in `sriov_migration`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from pytest_vswitch.apps import dpdk, guest_image, kvm, qemu, qemu_versions, testpmd
from pytest_vswitch.apps import guest as guest_app
from pytest_vswitch.apps.guest_image import GuestImage
from pytest_vswitch.apps.qmp_console import started
from pytest_vswitch.errors import InputError, NotHere
from pytest_vswitch.hosts import hugepages
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.hugepages import Hugepages
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab.address import LOCAL
from pytest_vswitch.lab.ports import NicPortSpec
from pytest_vswitch.lab.preflight import check_lcores, require_ports
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies import lcores, ports, sriov_migration_guest, virtual_machine
from pytest_vswitch.topologies import sriov_migration_place as server_of
from pytest_vswitch.topologies.endpoints import guest_testpmd
from pytest_vswitch.topologies.lcores import LcorePlan, Wanted
from pytest_vswitch.topologies.places import SOURCE, TARGET, room
from pytest_vswitch.topologies.sriov_migration import NAME, SriovMigration
from pytest_vswitch.topologies.sriov_migration_guest import VF_DRIVER, VIRTIO_ADDRESS
from pytest_vswitch.topologies.sriov_migration_move import SriovMove, Stop
from pytest_vswitch.topologies.topology import NicPort

_PORTS: Final = 2
"""The lab's: the PF of the source, and that of the target."""
_MEMORY_MB = 256


def preflight(lab: Lab, host: Host) -> None:
    """Raise NotHere where the ports are no PFs, InputError for what else is missing."""
    if lab.ports[0].kind != "nic":
        raise NotHere(
            f"--nic sriov needs NICs with SR-IOV as ports: {lab.where('ports', 0)} is of kind "
            f"{lab.ports[0].kind}"
        )
    require_ports(lab, f"{NAME} --nic sriov", _PORTS)
    if lab.guest.hypervisor != "qemu" or lab.guest.image != "builtin":
        raise InputError(
            f"{lab.where('guest')}: {NAME} moves the built-in guest, and tells QEMU itself what "
            "to do: take `hypervisor` and `image` out"
        )
    _preflight_place(lab, host, 0)
    if lab.target is None or lab.target.host == lab.dut.host:
        _preflight_place(lab, host, 1)
    else:
        for key, section in (("dut", lab.dut), ("target", lab.target)):
            if section.host == LOCAL:
                raise InputError(
                    f"{lab.where(key, 'host')}: guests come to both servers over TCP: write the "
                    f"name by which the other one reaches it, not `{LOCAL}`"
                )
    check_lcores(lab, set(lcores.available(host)))
    _cores(lab, host)


def _preflight_place(lab: Lab, host: Host, number: int) -> None:
    port = _spec(lab, number)
    where = lab.where("ports", lab.ports.index(port), "bdf")
    ports.require_programs(host, [("ip", "iproute2", "")])
    virtual_machine.preflight(lab, host)
    if not guest_image.has_module(host, lab.guest.kernel, VF_DRIVER):
        raise InputError(
            f"{lab.where('guest', 'kernel')}: on {host.name} the guest's kernel lacks {VF_DRIVER}: "
            "apt-get install dpdk-kmods-dkms builds it for kernels whose headers are installed"
        )
    if not host.is_root():
        raise InputError(f"{NAME} on {host.name} needs root: for VFs, a bridge and hugepages")
    if not host.exists(f"/sys/bus/pci/devices/{port.bdf}"):
        raise InputError(f"{where}: {host.name} has no PCI device {port.bdf}")
    if not host.exists(f"/sys/bus/pci/devices/{port.bdf}/sriov_numvfs"):
        raise NotHere(
            f"{where}: {NAME} --nic sriov wants a PF, with its kernel's driver: {port.bdf} of "
            f"{host.name} cannot have virtual functions"
        )


def _spec(lab: Lab, number: int) -> NicPortSpec:
    """The PF of a place: the first two ports; of two pairs, the first of each."""
    port = lab.ports[number * (len(lab.ports) // _PORTS)]
    assert port.kind == "nic"  # a lab's ports are of one kind
    return port


def _cores(lab: Lab, host: Host) -> LcorePlan:
    return lcores.plan_for(lab, host, [Wanted("guest", guest_testpmd.vcpus(lab))])


@contextlib.contextmanager
def provision(lab: Lab, host: Host, there: Host | None = None) -> Iterator[SriovMigration]:
    """Both places, and a guest at the source that forwards by its VF; undone with the block.

    `there` is the host of the target, if it is another one. Raises InputError for a lab that
    does not fit, HostError for what a host lacks or refuses, DutError for a program that does
    not come up.
    """
    preflight(lab, host)
    second = there or host
    if there is not None:
        _preflight_place(lab, there, 1)
    cores = _cores(lab, host)
    with contextlib.ExitStack() as stack:
        size = lab.guest.memory_mb
        pages = stack.enter_context(
            hugepages.reserve(host, lab.dut.hugepages, (size,) * (1 if there else 2))
        )
        if there is not None:
            wanted = {None: "none", 2048: "2M", 1048576: "1G"}[pages.size_kb]
            stack.enter_context(hugepages.reserve(there, wanted, (size,)))
        stops: list[Stop] = []
        for number, (name, machine) in enumerate(((SOURCE, host), (TARGET, second))):
            part = stack.enter_context(room(machine, name))
            server = stack.enter_context(server_of.opened(part, _spec(lab, number), name, number))
            image = stops[0].image if number and there is None else _image(lab, machine)
            stops.append(Stop(name, part, server, image, _uri(lab, part, number, there)))
        here, target = stops
        running = stack.enter_context(contextlib.ExitStack())
        parameters = _parameters(lab, here, cores, pages)
        directory = here.directory
        running.enter_context(here.host.changing(Change("made", directory)))
        here.host.run(["mkdir", "-p", directory], why="the guest's consoles, QMP and kernel log")
        program = qemu_versions.program(lab, host)
        argv = sriov_migration_guest.argv(parameters, program, directory, here.server)
        machine_ = running.enter_context(
            started(here.host, argv, directory, "the guest, with virtio and a VF (guide, 1.4.2)")
        )
        guest = running.enter_context(guest_app.connected(here.host, machine_, "guest", directory))
        guest.wait_until_up(lab.guest.boot_timeout_s)
        for vcpu, cpu in enumerate(parameters.cpus):
            machine_.process.pin(parameters.thread(vcpu), cpu, why="a CPU for each virtual one")
        sriov_migration_guest.bind(guest, VIRTIO_ADDRESS, "uio_pci_generic")
        sriov_migration_guest.bind_vf(guest)
        here.server.give_address()
        command = _forwarding(parameters).argv(parameters.image.testpmd)
        guest.start(command)
        forwarder = testpmd.Testpmd(guest.testpmd)
        topology = SriovMigration(
            _wire(lab),
            (here, target),
            SriovMove(guest, machine_, forwarder, running),
            generator_cpu=cores.generator_cpu,
            pages=pages,
            command=tuple(command),
            remarks=cores.remarks,
        )
        stack.callback(lambda: topology.move.close())
        topology.bring_up()
        yield topology


def _image(lab: Lab, host: Host) -> GuestImage:
    return guest_image.prepare(
        host,
        kernel=lab.guest.kernel,
        testpmd=dpdk.of_peer(lab, host),
        drivers=sriov_migration_guest.DRIVERS,
        modules=sriov_migration_guest.MODULES,
    )


def _uri(lab: Lab, part: Host, number: int, there: Host | None) -> str:
    """Where a guest that comes to this place is sent: over TCP between two servers (1.3.8)."""
    section = (lab.dut, lab.target)[number]
    if there is None or section is None:
        return f"unix:{part.scratch}/migration"
    address = section.host.rpartition("@")[2]
    name = address if address.startswith("[") else address.partition(":")[0]
    return f"tcp:{name}:5555"


def _parameters(lab: Lab, here: Stop, cores: LcorePlan, pages: Hugepages) -> qemu.Parameters:
    accelerator = kvm.choose(
        here.host, lab.guest.accelerator, here.image, qemu_versions.program(lab, here.host)
    )
    return qemu.Parameters(
        image=here.image,
        accelerator=accelerator.name,
        vcpus=cores.endpoints[0].vcpus,
        cpus=cores.endpoints[0].cpus,
        memory_mb=lab.guest.memory_mb,
        hugepage_kb=pages.size_kb,
        guest_hugepages=_MEMORY_MB // 2 + 32,
        ports=[],
        # QEMU announces the guest: a guest whose DPDK does so by itself crashed now and then.
        virtio={"guest_announce": "off", **lab.guest.virtio},
    )


def _forwarding(parameters: qemu.Parameters) -> testpmd.Parameters:
    return testpmd.Parameters(
        lcores=",".join(f"{lcore}@{lcore}" for lcore in range(parameters.vcpus)),
        memory_mb=_MEMORY_MB,
        file_prefix="guest",
        hugepages=True,
        driver_directory=parameters.image.driver_directory,
        forward_mode="macswap",
        port_topology="chained",
        forwarding_cores=1,
        mbufs=4096,
        descriptors=256,
    )


def _wire(lab: Lab) -> NicPort:
    port = _spec(lab, 0)
    return NicPort(port.name, port.bdf, port.generator or "", port.line_rate_gbps * 1e9)
