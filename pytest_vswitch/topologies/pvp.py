"""PVP: physical port - virtual machine - physical port, with testpmd in host and guest.

The reference setup of the guide's chapter 4. A frame sent into port 0 goes

    memif0 -> host testpmd -> vhost0 -> virtio0 -> guest testpmd (swaps MAC addresses)
           -> virtio1 -> vhost1 -> host testpmd -> memif1

and a frame sent into port 1 the other way round. Memif ports stand for the NICs.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_vswitch.apps import guest_image, kvm, qemu, testpmd
from pytest_vswitch.errors import DutError, InputError
from pytest_vswitch.hosts import hugepages
from pytest_vswitch.hosts.host import Host, Process
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab.preflight import check_lcores, require_ports
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies import lcores
from pytest_vswitch.topologies.lcores import LcorePlan
from pytest_vswitch.topologies.topology import Facts, Hop, MemifPort, Node

NAME = "pvp"
PORTS = 2

_MEMIF, _VHOST = (0, 1), (2, 3)
"""Port numbers in the host's testpmd, by index of the generator's port."""

_PORTLIST = (0, 2, 1, 3)
"""Forwarding order of chapter 4.2.4: memif0 with vhost0, memif1 with vhost1."""

_GUEST_TESTPMD_MB = 256
_BOOT_TIMEOUT_S = 90.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counters of both testpmds, by their port numbers."""

    host: Mapping[int, testpmd.PortCounters]
    guest: Mapping[int, testpmd.PortCounters]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was decided on the way to a running PVP."""

    accelerator: kvm.Accelerator
    pages: hugepages.Hugepages
    cores: LcorePlan
    virtio: Mapping[str, str]
    """Properties that the lab sets on the guest's ports."""
    commands: tuple[tuple[str, tuple[str, ...]], ...]
    """As in `Facts`."""


class Pvp:
    """A running PVP; see `topologies.topology.Topology`."""

    name = NAME

    def __init__(
        self,
        host: Host,
        ports: Sequence[MemifPort],
        process: Process,
        switch: testpmd.Testpmd,
        guest: qemu.Guest,
        forwarder: testpmd.Testpmd,
        chosen: Chosen,
    ) -> None:
        self._host = host
        self._process = process
        self._switch = switch
        self._guest = guest
        self._forwarder = forwarder
        self._chosen = chosen
        self.ports = ports
        self.generator_cpu = chosen.cores.generator_cpu
        """CPU left for the traffic generator; None if it shares the others'."""

    @functools.cached_property
    def facts(self) -> Facts:
        """Read from the programs when first asked for."""
        chosen = self._chosen
        infos = [self._switch.port_info(_MEMIF[index]) for index in range(len(self.ports))]
        return Facts(
            versions={
                "host dpdk": self._switch.version,
                "guest dpdk": self._forwarder.version,
                "qemu": self._guest.version,
                "guest kernel": self._guest.run("uname -r").strip(),
            },
            virtio_features=", ".join(
                f"{name}='{self._guest.property(0, name)}'" for name in chosen.virtio
            ),
            nic=", ".join(
                f"{port.name} ({info.driver}, shared memory)"
                for port, info in zip(self.ports, infos, strict=True)
            ),
            accelerator=chosen.accelerator.name,
            memory=str(chosen.pages),
            remarks=_remarks(chosen.accelerator, chosen.pages, chosen.cores),
            commands=chosen.commands,
        )

    @property
    def guest(self) -> qemu.Guest:
        return self._guest

    @property
    def nodes(self) -> Sequence[Node]:
        names = tuple(port.name for port in self.ports)
        return (
            Node("generator", "generator", names),
            Node("host testpmd", "host", (*names, "vhost0", "vhost1")),
            Node("guest testpmd", "guest", ("virtio0", "virtio1")),
        )

    def peer(self, port: int) -> int:
        return 1 - port

    def transform(self, frame: bytes) -> bytes:
        """`macswap`: source and destination MAC addresses change places."""
        return frame[6:12] + frame[:6] + frame[12:]

    def snapshot(self) -> Snapshot:
        return Snapshot(self._switch.counters(), self._forwarder.counters())

    def path(self, tx_port: int, before: object, after: object) -> Sequence[Hop]:
        assert isinstance(before, Snapshot)
        assert isinstance(after, Snapshot)
        there, back = tx_port, self.peer(tx_port)

        def host(port: int, counter: str) -> int:
            now, then = after.host[port], before.host[port]
            return int(getattr(now, counter)) - int(getattr(then, counter))

        def guest(port: int, counter: str) -> int:
            now, then = after.guest[port], before.guest[port]
            return int(getattr(now, counter)) - int(getattr(then, counter))

        enter, leave = self.ports[there].name, self.ports[back].name
        return (
            Hop(
                f"host testpmd: {enter} -> vhost{there}",
                entered=host(_MEMIF[there], "rx_packets"),
                left=host(_VHOST[there], "tx_packets"),
                drops={"TX-dropped": host(_VHOST[there], "tx_dropped")},
            ),
            Hop(
                f"vhost{there} -> virtio{there}",
                entered=host(_VHOST[there], "tx_packets"),
                left=guest(there, "rx_packets"),
                drops={
                    "RX-missed": guest(there, "rx_missed"),
                    "RX-errors": guest(there, "rx_errors"),
                },
            ),
            Hop(
                f"guest testpmd: virtio{there} -> virtio{back}",
                entered=guest(there, "rx_packets"),
                left=guest(back, "tx_packets"),
                drops={"TX-dropped": guest(back, "tx_dropped")},
            ),
            Hop(
                f"virtio{back} -> vhost{back}",
                entered=guest(back, "tx_packets"),
                left=host(_VHOST[back], "rx_packets"),
                drops={"RX-missed": host(_VHOST[back], "rx_missed")},
            ),
            Hop(
                f"host testpmd: vhost{back} -> {leave}",
                entered=host(_VHOST[back], "rx_packets"),
                left=host(_MEMIF[back], "tx_packets"),
                drops={"TX-dropped": host(_MEMIF[back], "tx_dropped")},
            ),
        )

    def check_alive(self) -> None:
        if (status := self._process.status()) is not None:
            raise DutError(
                f"host testpmd is gone (exit status {status}); its last output:\n    "
                + self._process.tail().replace("\n", "\n    ")
            )
        for port in self.ports:
            if not self._host.exists(port.socket):
                raise DutError(
                    f"the socket of {port.name}, {port.socket}, was removed while host testpmd "
                    "listened on it: no generator can connect any more; its last output:\n    "
                    + self._process.tail().replace("\n", "\n    ")
                )
        self._guest.check_alive()


def preflight(lab: Lab, host: Host) -> None:
    """Raise InputError for what the lab or the host lacks; nothing is changed."""
    require_ports(lab, NAME, PORTS)
    for program, package, where in (
        (lab.dut.testpmd, "dpdk-dev", f"{lab.where('dut', 'testpmd')}: "),
        (lab.guest.qemu, "qemu-system-x86", f"{lab.where('guest', 'qemu')}: "),
        ("busybox", "busybox-static", ""),
        ("cpio", "cpio", ""),
    ):
        if not host.which(program):
            raise InputError(
                f"{where}{host.name} has no program `{program}`: apt-get install {package}"
            )
    if not host.is_root():
        raise InputError(
            f"{NAME} on {host.name} needs root: for hugepages, DPDK's physical addresses and "
            "the run's state in /run; run pytest as root, or try `--dut sim`"
        )
    check_lcores(lab, set(lcores.available(host)))
    _plan_lcores(lab, host)
    guest_image.find_kernel(host, lab.guest.kernel)
    qemu.require_memory(host, lab.dut.memory_mb + lab.guest.memory_mb)


@contextlib.contextmanager
def provision(lab: Lab, host: Host) -> Iterator[Pvp]:
    """Wire and start a PVP; everything ends with the block.

    Raises InputError for a lab that does not fit, HostError for what the host lacks,
    DutError, with its last words, for a program that does not come up.
    """
    preflight(lab, host)
    cores = _plan_lcores(lab, host)
    image = guest_image.prepare(host, kernel=lab.guest.kernel, testpmd=lab.dut.testpmd)
    accelerator = kvm.choose(host, lab.guest.accelerator, image, lab.guest.qemu)

    with contextlib.ExitStack() as stack:
        needs_mb = (lab.dut.memory_mb, lab.guest.memory_mb)
        pages = stack.enter_context(hugepages.reserve(host, lab.dut.hugepages, needs_mb))
        sockets = [f"{host.scratch}/vhost{index}" for index in range(PORTS)]
        ports = [
            MemifPort(port.name, f"{host.scratch}/{port.name}", port.line_rate_gbps * 1e9)
            for port in lab.ports[:PORTS]
            if port.kind == "memif"
        ]
        on_host = _host_parameters(lab, host, ports, sockets, cores, pages)
        argv = on_host.argv(lab.dut.testpmd)
        # Without hugepages EAL cannot do `--in-memory`, and leaves its files behind; a
        # testpmd that was killed leaves its sockets, too.
        runtime = f"/var/run/dpdk/{on_host.file_prefix}"
        for path in (runtime, *sockets, *(port.socket for port in ports)):
            stack.enter_context(host.changing(Change("made", path)))
        process = stack.enter_context(
            host.spawn(
                argv,
                name="host testpmd",
                stop_with="quit\n",
                why="the switch: memif 0 and 1, vhost-user 2 and 3, chained by its portlist "
                "(guide, 4.2.4)",
            )
        )
        switch = testpmd.Testpmd(process)

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
        switch.start()

        commands = (
            ("host testpmd", tuple(argv)),
            ("QEMU", tuple(in_guest.argv(lab.guest.qemu, f"{host.scratch}/guest"))),
            ("guest testpmd", tuple(forwarding.argv(image.testpmd))),
        )
        chosen = Chosen(accelerator, pages, cores, lab.guest.virtio, commands)
        yield Pvp(host, ports, process, switch, guest, forwarder, chosen)


def _plan_lcores(lab: Lab, host: Host) -> LcorePlan:
    return lcores.plan(
        lcores.available(host),
        lcores=None if lab.dut.lcores == "auto" else lab.dut.lcores,
        vcpus=lab.guest.vcpus,
        generator_cpu=lab.generator.cpu,
    )


def _host_parameters(
    lab: Lab,
    host: Host,
    ports: Sequence[MemifPort],
    sockets: Sequence[str],
    cores: LcorePlan,
    pages: hugepages.Hugepages,
) -> testpmd.Parameters:
    memifs = [
        f"net_memif{index},role=server,id=0,socket={port.socket},socket-abstract=no"
        for index, port in enumerate(ports)
    ]
    vhosts = [f"net_vhost{index},iface={socket},client=0" for index, socket in enumerate(sockets)]
    return testpmd.Parameters(
        lcores=cores.host_lcores,
        memory_mb=lab.dut.memory_mb,
        file_prefix=f"vswitch-{host.scratch.rpartition('/')[2]}",
        hugepages=pages.size_kb is not None,
        vdevs=[*memifs, *vhosts],
        forward_mode="io",
        portlist=_PORTLIST,
        forwarding_cores=cores.host_forwarding,
    )


def _remarks(
    accelerator: kvm.Accelerator, pages: hugepages.Hugepages, cores: LcorePlan
) -> tuple[str, ...]:
    remarks = ["memif ports (shared memory) stand for NICs: no DMA, no PCIe, no wire"]
    if accelerator.name != "kvm":
        remarks.append(
            f"the guest runs on {accelerator.name}, emulated, many times slower than KVM: "
            f"{accelerator.reason}"
        )
    if pages.size_kb is None:
        remarks.append(f"no hugepages: {pages.reason}")
    return (*remarks, *cores.remarks)
