"""Container: the chain of `vhost_chain`, with testpmd in a podman container as its endpoint.

The container's testpmd has two virtio-user ports (guide, chapter 6): no virtual machine, no
QEMU, the same vhost-user ports on the host's side. Its program is the host's own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pytest_vswitch.apps import podman, testpmd
from pytest_vswitch.errors import DutError, InputError
from pytest_vswitch.hosts import hugepages
from pytest_vswitch.hosts.host import Host, Process
from pytest_vswitch.hosts.leftovers import MARK
from pytest_vswitch.lab.preflight import check_lcores, require_ports
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.machine import memory
from pytest_vswitch.topologies import lcores, ports
from pytest_vswitch.topologies.ports import PORTS
from pytest_vswitch.topologies.vhost_chain import EndpointFacts, VhostChain, start_switch

NAME: Final = "container"

_TESTPMD = "container testpmd"
_MEMORY_MB = 256
_START_TIMEOUT_S = 120.0
"""An emulated host takes its time."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container whose testpmd forwards; see `vhost_chain.Endpoint`."""

    process: Process
    forwarder: testpmd.Testpmd
    versions: Mapping[str, str]
    command: tuple[str, ...]
    name: str = _TESTPMD
    where: str = "container"

    @property
    def facts(self) -> EndpointFacts:
        return EndpointFacts(
            versions={"container dpdk": self.forwarder.version, **self.versions},
            virtio_features="",
            accelerator="none",
            remarks=(),
            commands=((self.name, self.command),),
        )

    def check_alive(self) -> None:
        if (status := self.process.status()) is not None:
            last = self.process.tail().replace("\n", "\n    ")
            raise DutError(
                f"{self.name} is gone (exit status {status}); its last output:\n    {last}"
            )


def preflight(lab: Lab, host: Host) -> None:
    """Raise InputError for what the lab or the host lacks; nothing is changed."""
    require_ports(lab, NAME, PORTS)
    ports.require_programs(
        host,
        [
            (lab.dut.testpmd, "dpdk-dev", f"{lab.where('dut', 'testpmd')}: "),
            ("podman", "podman", ""),
        ],
    )
    podman.find_runtime(host)
    if not host.is_root():
        raise InputError(
            f"{NAME} on {host.name} needs root: for hugepages, control groups and the run's "
            "state in /run; run pytest as root, or try `--dut sim`"
        )
    ports.preflight(lab, host)
    check_lcores(lab, set(lcores.available(host)))
    lcores.plan_for(lab, host, NAME)
    needed_mb, available_mb = lab.dut.memory_mb + _MEMORY_MB, memory.read(host).available_mb
    if available_mb < needed_mb:
        raise InputError(
            f"{host.name}: not enough memory: both testpmds need {needed_mb} MB, "
            f"{available_mb} MB are available; lower dut.memory_mb in the lab"
        )


@contextlib.contextmanager
def provision(lab: Lab, host: Host) -> Iterator[VhostChain]:
    """Wire and start the chain; everything ends with the block.

    Raises InputError for a lab that does not fit, HostError for what the host lacks,
    DutError, with its last words, for a program that does not come up.
    """
    preflight(lab, host)
    cores = lcores.plan_for(lab, host, NAME)
    runtime = podman.find_runtime(host)
    name = f"vswitch-{host.scratch.rpartition('/')[2]}"
    directory = f"{host.scratch}/podman"

    with contextlib.ExitStack() as stack:
        needs_mb = (lab.dut.memory_mb, _MEMORY_MB)
        pages = stack.enter_context(hugepages.reserve(host, lab.dut.hugepages, needs_mb))
        sockets = [f"{host.scratch}/vhost{index}" for index in range(PORTS)]
        bound = stack.enter_context(ports.bound(lab, host))
        switch = stack.enter_context(start_switch(lab, host, bound, sockets, cores, pages))

        root = stack.enter_context(podman.store(host, directory, runtime, name))
        program, mounts = podman.share_programs(host, root, lab.dut.testpmd)
        cpus = cores.vcpu_cpus or tuple(lcores.available(host))
        spread = ",".join(map(str, cpus))
        forwarding = testpmd.Parameters(
            lcores=(
                ",".join(f"{lcore}@{cpu}" for lcore, cpu in enumerate(cpus))
                if cores.vcpu_cpus
                else f"0@({spread}),1@({spread})"
            ),
            memory_mb=_MEMORY_MB,
            file_prefix="container",
            hugepages=pages.size_kb is not None,
            single_file_segments=pages.size_kb is not None,
            vdevs=[
                f"net_virtio_user{index},path=/run/vhost{index},queues=1,"
                f"mac=52:54:00:02:d9:{index + 1:02x}"
                for index in range(PORTS)
            ],
            forward_mode="macswap",
            port_topology="chained",
            forwarding_cores=cores.vcpus - 1,
            mbufs=4096,
        )
        parameters = podman.Parameters(
            name=name,
            directory=directory,
            root=root,
            mounts=[
                *mounts,
                *(
                    podman.Mount(socket, f"/run/vhost{index}", read_only=False)
                    for index, socket in enumerate(sockets)
                ),
            ],
            cpus=cpus,
            environment={MARK: host.scratch.rpartition("/")[2]},
        )
        command = forwarding.argv(program)
        process = stack.enter_context(
            host.spawn(
                parameters.argv(command),
                name=_TESTPMD,
                stop_with="quit\n",
                why="the container, with a virtio-user port for each vhost-user port; the "
                "program and its libraries are the host's (guide, 6.2)",
            )
        )
        forwarder = testpmd.Testpmd(process, start_timeout_s=_START_TIMEOUT_S)
        forwarder.start()
        switch.testpmd.start()

        container = Container(
            process,
            forwarder,
            podman.versions(host, runtime),
            command=tuple(parameters.argv(command)),
        )
        yield VhostChain(NAME, host, bound.ports, switch, container, cores, pages)
