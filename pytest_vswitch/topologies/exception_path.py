"""Exception path: physical port - testpmd - the host's kernel, which routes - and back.

The chain of `chain`, with the kernel as its endpoint, one topology for each way to it (guide,
chapter 7, and the TAP and af_packet drivers beside it):

    port 0 -> testpmd -> virtio_user0 -> tap0 -> kernel -> tap1 -> virtio_user1 -> ... -> port 1
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from pytest_vswitch.apps import dpdk
from pytest_vswitch.apps.testpmd import Parameters, Testpmd
from pytest_vswitch.errors import DutError, HostError, InputError
from pytest_vswitch.hosts import hugepages, netns
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab.preflight import check_lcores, require_ports
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies import exception_ways, lcores, ports
from pytest_vswitch.topologies.axes import Axes
from pytest_vswitch.topologies.chain import Chain
from pytest_vswitch.topologies.endpoints import VIRTIO_PORTS
from pytest_vswitch.topologies.endpoints.host_kernel import ADDRESSES, HostKernel
from pytest_vswitch.topologies.exception_ways import Interface, Way
from pytest_vswitch.topologies.ports import PORTS
from pytest_vswitch.topologies.topology import NicPort
from pytest_vswitch.topologies.vswitches import Link, Reading
from pytest_vswitch.topologies.vswitches import testpmd as vswitch

_QUEUE_SIZE: Final = 1024
"""Of virtio-user [descriptors]; 256 by default (guide, 7.1)."""

_END_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class ExceptionWiring:
    """What brings up the topology of one way; see `registry.Wiring`."""

    way: Way

    @property
    def name(self) -> str:
        return f"exception_path_{self.way.name}"

    @property
    def AXES(self) -> Axes:
        return Axes(("host-kernel",), vswitch="testpmd")

    def preflight(self, lab: Lab, host: Host) -> None:
        """Raise InputError for what the lab or the host lacks; nothing is changed."""
        require_ports(lab, self.name, PORTS)
        if lab.dut.vswitch != "testpmd":
            raise InputError(f"{self.name} works with testpmd only, not with {lab.dut.vswitch}")
        vswitch.preflight(lab, host)
        exception_ways.preflight(self.way, host)
        if any(port.kind == "nic" and port.driver == "kernel" for port in lab.ports[:PORTS]):
            raise InputError(
                f"{self.name} runs testpmd in a network namespace of its own, where it cannot "
                "see a port whose driver stays the kernel's: give it `driver: vfio-pci`"
            )
        if lab.dut.mtu > 1500 and self.way is exception_ways.AF_PACKET:
            raise InputError(
                f"{self.name} carries frames of up to 1518 bytes: the buffers of the af_packet "
                "PMD have 2048 bytes; lower dut.mtu, or choose another way"
            )
        ports.preflight(lab, host)
        check_lcores(lab, set(lcores.available(host)))
        lcores.plan_for(lab, host, [])

    @contextlib.contextmanager
    def provision(self, lab: Lab, host: Host) -> Iterator[Chain]:
        """Wire and start it; everything ends with the block.

        Raises InputError for a lab that does not fit, HostError for what the host lacks,
        DutError, with its last words, for a program that does not come up.
        """
        self.preflight(lab, host)
        way, cores = self.way, lcores.plan_for(lab, host, [])
        with contextlib.ExitStack() as stack:
            pages = stack.enter_context(
                hugepages.reserve(host, lab.dut.hugepages, (lab.dut.memory_mb,))
            )
            bound = stack.enter_context(ports.bound(lab, host))
            near = stack.enter_context(exception_ways.near_side(host, "kernel"))
            far = stack.enter_context(exception_ways.far_side(host, way, VIRTIO_PORTS))
            outer = [f"{way.outer}{index}" for index in range(VIRTIO_PORTS)]
            names = [*(port.name for port in bound.ports), *outer]
            nics = frozenset(port.name for port in bound.ports if isinstance(port, NicPort))
            devices = [way.device(index, queue_size=_QUEUE_SIZE) for index in range(VIRTIO_PORTS)]
            parameters = Parameters(
                lcores=cores.host_lcores,
                memory_mb=lab.dut.memory_mb,
                file_prefix=f"vswitch-{exception_ways.run_name(host)}",
                hugepages=pages.size_kb is not None,
                devices=bound.devargs if nics else (),
                vdevs=[*(() if nics else bound.devargs), *devices],
                forward_mode="io",
                portlist=(0, 2, 1, 3),
                forwarding_cores=cores.host_forwarding,
                mtu=lab.dut.mtu,
                descriptors=_QUEUE_SIZE if way is exception_ways.VIRTIO_USER else None,
            )
            argv = [*netns.command(far), *parameters.argv(dpdk.of_host(lab, host))]
            # Without hugepages EAL leaves its files behind.
            left = Change("made", f"/var/run/dpdk/{parameters.file_prefix}")
            stack.enter_context(host.changing(left))
            process = stack.enter_context(
                host.spawn(
                    argv,
                    name=vswitch.NAME,
                    stop_with="quit\n",
                    why=f"each physical port beside one to the kernel: {way.what} (guide, 7.1)",
                )
            )
            switch = _Switch(
                process,
                Testpmd(process),
                tuple(argv),
                tuple(names),
                nics,
                host=host if way is exception_ways.AF_PACKET else None,
            )
            interfaces = [
                Interface(f"{way.inner}{index}", exception_ways.mac(index), near, address)
                for index, address in enumerate(ADDRESSES)
            ]
            exception_ways.plug(host, far, interfaces, lab.dut.mtu)
            kernel = HostKernel(host, interfaces, switch.check_ended)
            kernel.route()
            switch.forward()
            yield Chain(
                self.name,
                host,
                bound.ports,
                switch,
                [kernel],
                generator_cpu=cores.generator_cpu,
                pages=pages,
                remarks=cores.remarks,
                variant={"way": way.name},
                link=Link("vhost", way.outer, way.inner),
            )


@dataclass(slots=True)
class _Switch(vswitch.Switch):
    """testpmd as the vSwitch, and what its packet sockets, if it has any, dropped."""

    _lost: dict[str, int] = field(default_factory=dict)
    """Frames by port of testpmd, since it was started."""
    host: Host | None = None
    """Where its packet sockets are asked what they dropped: the driver does not count it."""

    def check_ended(self) -> None:
        """Raise DutError if it is gone, or about to be: its interfaces go before it does."""
        self.process.status(within_s=_END_S)
        self.check_alive()

    def read(self) -> Reading:
        """Raises DutError."""
        reading = vswitch.Switch.read(self)
        if self.host is None:
            return reading
        self._lost.update(self._socket_drops(self.host))
        counts = dict(reading.ports)
        for name, lost in self._lost.items():
            counts[name] = dataclasses.replace(counts[name], rx_drops={"packet socket full": lost})
        return Reading(counts, reading.statistics)

    def _socket_drops(self, host: Host) -> dict[str, int]:
        argv = [*host.python("pytest_vswitch.hosts.packet_sockets"), str(self.process.pid)]
        try:
            output = host.ask(argv).output
            found = {name: int(count) for name, count in map(str.split, output.splitlines())}
        except (HostError, ValueError) as error:
            raise DutError(f"{self.name}: its packet sockets cannot be asked: {error}") from None
        return {
            f"{exception_ways.AF_PACKET.outer}{index}": found.get(far, 0)
            + self._lost.get(f"{exception_ways.AF_PACKET.outer}{index}", 0)
            for index, far in enumerate(exception_ways.far_names(VIRTIO_PORTS))
        }


VHOST_NET: Final = ExceptionWiring(exception_ways.VIRTIO_USER)
TAP: Final = ExceptionWiring(exception_ways.TAP)
AF_PACKET: Final = ExceptionWiring(exception_ways.AF_PACKET)
