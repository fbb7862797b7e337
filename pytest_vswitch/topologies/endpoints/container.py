"""testpmd in a container, with two virtio-user ports, swapping MAC addresses (guide, chapter 6).

No virtual machine, no QEMU, the same vhost-user ports on the vSwitch's side. Its program is
the host's own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Final, Literal

from pytest_vswitch.apps import containers, docker, dpdk, hugetlb, podman, testpmd
from pytest_vswitch.apps.containers import Engine, Mount, Parameters
from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.host import Host, Process, check_runs
from pytest_vswitch.hosts.leftovers import MARK
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab.dpdk import SYSTEM
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies import lcores, macswap
from pytest_vswitch.topologies.counts import PortCounts
from pytest_vswitch.topologies.endpoints import EndpointFacts, Place
from pytest_vswitch.topologies.endpoints.container_limits import Limits, Promise
from pytest_vswitch.topologies.ports import JUMBO_MTU, require_programs
from pytest_vswitch.topologies.topology import Flow

WHERE: Final = "container"
MAX_MTU: Final = JUMBO_MTU

_START_TIMEOUT_S = 120.0
"""An emulated host takes its time."""

_PROGRAMS = {
    "podman": [("podman", "podman")],
    "docker": [("dockerd", "docker.io"), ("/usr/bin/docker", "docker.io"), ("runc", "runc")],
}
"""Of each engine, with the Debian package."""

_TOO_MANY = "Too many memory regions"
"""testpmd's words for more than eight; it goes on, with a port that carries nothing."""

_BANNER_LINES = 1000
"""Lines of testpmd's first output that are looked at."""


@dataclass(frozen=True, slots=True)
class Container:
    """See `endpoints.Endpoint`."""

    process: Process
    engine: Engine
    forwarder: testpmd.Testpmd
    limits: Limits
    versions: Mapping[str, str]
    remarks: tuple[str, ...]
    command: tuple[str, ...]
    where: str = WHERE
    _dropped: dict[int, int] = field(default_factory=dict)
    """By port number: what it had dropped before forwarding was restarted."""

    @property
    def name(self) -> str:
        return self.process.name

    @property
    def facts(self) -> EndpointFacts:
        return EndpointFacts(
            versions={"container dpdk": self.forwarder.version, **self.versions},
            virtio_features="",
            accelerator="none",
            remarks=self.remarks,
            commands=((self.name, self.command),),
        )

    def counts(self) -> tuple[PortCounts, PortCounts]:
        return macswap.counts(self.forwarder, self._dropped)

    def restart(self) -> None:
        macswap.restart(self.forwarder, self._dropped)

    def transform(self, frame: bytes, entered: int) -> bytes:
        del entered
        return macswap.transform(frame)

    def flow(self, entered: int, plain: Flow) -> Flow:
        del entered
        return plain

    def check_alive(self) -> None:
        self.engine.check_alive()
        check_runs(self.process)


def preflight(lab: Lab, host: Host) -> None:
    """Raise InputError for what a container needs and the host lacks."""
    chosen = _engine(lab, host)
    dpdk.require(lab, host, "guest")
    if lab.guest.dpdk != SYSTEM and lab.container.image == "built":
        raise InputError(
            f"{lab.where('container', 'image')}: an image is built of the system's files, and the "
            f"DPDK {lab.guest.dpdk} is none of them; take `container.image: own`"
        )
    require_programs(host, [(program, package, "") for program, package in _PROGRAMS[chosen]])
    if chosen == "podman":
        podman.find_runtime(host)
    _user(lab, host, chosen)


def vcpus(lab: Lab) -> int:
    """A main lcore and forwarding ones; the guide's 6.2 has one of each."""
    return lab.container.lcores


def memory_mb(lab: Lab) -> int:
    return lab.container.memory_mb


def _engine(lab: Lab, host: Host) -> Literal["podman", "docker"]:
    """podman, unless the lab names docker or the host has only that."""
    if lab.container.engine != "auto":
        return lab.container.engine
    return "docker" if not host.which("podman") and host.which("dockerd") else "podman"


def _user(lab: Lab, host: Host, chosen: str) -> containers.User:
    where = lab.where("container", "rootless")
    return containers.user(host, lab.container.rootless, where, mapped=chosen == "podman")


@contextlib.contextmanager
def start(lab: Lab, host: Host, place: Place) -> Iterator[Container]:
    """Raises InputError, HostError, DutError."""
    chosen = _engine(lab, host)
    program: ModuleType = {"podman": podman, "docker": docker}[chosen]
    user = _user(lab, host, chosen)
    group = f"vswitch-{host.scratch.rpartition('/')[2]}{_dashed(place)}"
    directory = f"{host.scratch}/{chosen}{_dashed(place)}"
    cpus = place.cpus or tuple(lcores.available(host))
    size_kb = place.pages.size_kb
    with contextlib.ExitStack() as stack:
        tree = stack.enter_context(hugetlb.counting(host)) if size_kb else None
        stack.enter_context(program.store(host, directory, group))
        if tree and size_kb:
            hugetlb.limit(host, tree, group, size_kb, lab.container.memory_mb)
        version = dpdk.of_peer(lab, host)
        root = containers.prepare_root(
            host,
            f"{directory}/root",
            version.program,
            built=lab.container.image == "built",
            tree=version.root,
        )
        sockets = _sockets(host, stack, directory, place, user)
        engine: Engine = stack.enter_context(program.engine(host, directory, root))
        parameters = Parameters(
            name=group,
            group=group,
            mounts=[*root.mounts, *sockets],
            cpus=cpus,
            user=user,
            environment={MARK: host.scratch.rpartition("/")[2]},
        )
        inside = version if version.root else root.testpmd
        command = engine.run(parameters, _testpmd(lab, place, cpus).argv(inside))
        process = stack.enter_context(
            host.spawn(
                command,
                name=f"container{place.suffix} testpmd",
                stop_with="quit\n",
                why="the container, with a virtio-user port for each vhost-user port; its user "
                f"on the DUT is {user.uid} ({user.reason}) (guide, 6.2, step 5)",
            )
        )
        forwarder = testpmd.Testpmd(process, start_timeout_s=_START_TIMEOUT_S)
        _check_regions(process, lab, place)
        forwarder.start()
        promise = Promise(
            uid=user.uid,
            cpus=frozenset(cpus),
            hugepages_mb=lab.container.memory_mb if tree and size_kb else None,
        )
        remarks = () if tree or not size_kb else ("nothing limits the container's hugepages",)
        yield Container(
            process,
            engine,
            forwarder,
            Limits(host, engine.inside(group, ()), group, tree, size_kb, promise),
            versions={**engine.versions, "container user": f"{user.uid} ({user.reason})"},
            remarks=remarks,
            command=tuple(command),
        )


def _dashed(place: Place) -> str:
    return place.suffix.replace(" ", "-")


def _sockets(
    host: Host,
    stack: contextlib.ExitStack,
    directory: str,
    place: Place,
    user: containers.User,
) -> list[Mount]:
    """The vhost-user sockets in the container, at /run/vhostN/socket or /run/vhostN.

    A socket that is made in the container is in a directory that it has of its own.
    """
    owner = f"{user.uid}:{user.uid}"
    mounts = []
    for index, port in enumerate(place.vhosts):
        inside = f"/run/vhost{index}"
        if not place.listens:
            if user.rootless:
                why = "the container's user may connect to it"
                host.run(["chown", owner, "--", port.socket], why=why)
            mounts.append(Mount(port.socket, inside, read_only=False))
            continue
        own = f"{directory}/vhost{index}"
        host.run(["install", "-d", "--", own], why="where the container makes its socket")
        host.run(["chown", owner, "--", own])
        stack.enter_context(host.changing(Change("made", port.socket)))
        host.run(["ln", "-s", "--", f"{own}/socket", port.socket])
        mounts.append(Mount(own, inside, read_only=False))
    return mounts


def _testpmd(lab: Lab, place: Place, cpus: tuple[int, ...]) -> testpmd.Parameters:
    spread = ",".join(map(str, cpus))
    end = "/socket,server=1" if place.listens else ""
    return testpmd.Parameters(
        lcores=",".join(
            f"{lcore}@{cpu}" if place.cpus else f"{lcore}@({spread})"
            for lcore, cpu in enumerate(place.cpus or range(place.vcpus))
        ),
        memory_mb=lab.container.memory_mb,
        file_prefix="container",
        hugepages=place.pages.size_kb is not None,
        single_file_segments=place.pages.size_kb is not None and lab.container.single_file_segments,
        vdevs=[
            f"net_virtio_user{index},path=/run/vhost{index}{end},queues=1,mac={place.mac(index)}"
            for index in range(len(place.vhosts))
        ],
        forward_mode="macswap",
        port_topology="chained",
        forwarding_cores=place.vcpus - 1,
        mbufs=4096,
        mtu=lab.dut.mtu,
    )


def _check_regions(process: Process, lab: Lab, place: Place) -> None:
    """Raise InputError when its memory is in too many pieces to be shared (guide, 6.3)."""
    if _TOO_MANY not in process.tail(_BANNER_LINES):
        return
    pages = lab.container.memory_mb * 1024 // (place.pages.size_kb or 1)
    raise InputError(
        f"{process.name} says `{_TOO_MANY}`: vhost-user carries 8, and its {pages} pages of "
        f"{place.pages.size_kb} kB are a file each (guide, 6.3); leave "
        "container.single_file_segments on, or take hugepages of 1 GB "
        f"({lab.where('container', 'single_file_segments')})"
    )
