"""testpmd in a container, with two virtio-user ports, swapping MAC addresses (guide, chapter 6).

No virtual machine, no QEMU, the same vhost-user ports on the vSwitch's side. Its program is
the host's own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pytest_vswitch.apps import podman, testpmd
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.host import Host, Process
from pytest_vswitch.hosts.leftovers import MARK
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies import lcores, macswap
from pytest_vswitch.topologies.counts import PortCounts
from pytest_vswitch.topologies.endpoints import EndpointFacts, Place
from pytest_vswitch.topologies.ports import require_programs
from pytest_vswitch.topologies.topology import Flow

WHERE: Final = "container"

_MEMORY_MB = 256
_START_TIMEOUT_S = 120.0
"""An emulated host takes its time."""


@dataclass(frozen=True, slots=True)
class Container:
    """See `endpoints.Endpoint`."""

    process: Process
    forwarder: testpmd.Testpmd
    versions: Mapping[str, str]
    command: tuple[str, ...]
    where: str = WHERE

    @property
    def name(self) -> str:
        return self.process.name

    @property
    def facts(self) -> EndpointFacts:
        return EndpointFacts(
            versions={"container dpdk": self.forwarder.version, **self.versions},
            virtio_features="",
            accelerator="none",
            remarks=(),
            commands=((self.name, self.command),),
        )

    def counts(self) -> tuple[PortCounts, PortCounts]:
        return macswap.counts(self.forwarder)

    def transform(self, frame: bytes, entered: int) -> bytes:
        del entered
        return macswap.transform(frame)

    def flow(self, entered: int, plain: Flow) -> Flow:
        del entered
        return plain

    def check_alive(self) -> None:
        if (status := self.process.status()) is not None:
            last = self.process.tail().replace("\n", "\n    ")
            raise DutError(
                f"{self.name} is gone (exit status {status}); its last output:\n    {last}"
            )


def preflight(lab: Lab, host: Host) -> None:
    """Raise InputError for what a container needs and the host lacks."""
    require_programs(
        host,
        [
            (lab.dut.testpmd, "dpdk-dev", f"{lab.where('dut', 'testpmd')}: "),
            ("podman", "podman", ""),
        ],
    )
    podman.find_runtime(host)


def vcpus(lab: Lab) -> int:
    """A main lcore and a forwarding one, as in the guide's 6.2."""
    del lab
    return 2


def memory_mb(lab: Lab) -> int:
    del lab
    return _MEMORY_MB


@contextlib.contextmanager
def start(lab: Lab, host: Host, place: Place) -> Iterator[Container]:
    """Raises HostError, DutError."""
    runtime = podman.find_runtime(host)
    name = f"vswitch-{host.scratch.rpartition('/')[2]}{place.suffix.replace(' ', '-')}"
    directory = f"{host.scratch}/podman{place.suffix.replace(' ', '-')}"
    cpus = place.cpus or tuple(lcores.available(host))
    spread = ",".join(map(str, cpus))
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(podman.store(host, directory, runtime, name))
        program, mounts = podman.share_programs(host, root, lab.dut.testpmd)
        forwarding = testpmd.Parameters(
            lcores=(
                ",".join(f"{lcore}@{cpu}" for lcore, cpu in enumerate(cpus))
                if place.cpus
                else f"0@({spread}),1@({spread})"
            ),
            memory_mb=_MEMORY_MB,
            file_prefix="container",
            hugepages=place.pages.size_kb is not None,
            single_file_segments=place.pages.size_kb is not None,
            vdevs=[
                f"net_virtio_user{index},path=/run/vhost{index},queues=1,mac={place.mac(index)}"
                for index in range(len(place.vhosts))
            ],
            forward_mode="macswap",
            port_topology="chained",
            forwarding_cores=place.vcpus - 1,
            mbufs=4096,
        )
        parameters = podman.Parameters(
            name=name,
            directory=directory,
            root=root,
            mounts=[
                *mounts,
                *(
                    podman.Mount(port.socket, f"/run/vhost{index}", read_only=False)
                    for index, port in enumerate(place.vhosts)
                ),
            ],
            cpus=cpus,
            environment={MARK: host.scratch.rpartition("/")[2]},
        )
        command = parameters.argv(forwarding.argv(program))
        process = stack.enter_context(
            host.spawn(
                command,
                name=f"container{place.suffix} testpmd",
                stop_with="quit\n",
                why="the container, with a virtio-user port for each vhost-user port; the "
                "program and its libraries are the host's (guide, 6.2)",
            )
        )
        forwarder = testpmd.Testpmd(process, start_timeout_s=_START_TIMEOUT_S)
        forwarder.start()
        yield Container(process, forwarder, podman.versions(host, runtime), tuple(command))
