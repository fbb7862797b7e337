"""A guest behind an Intel DPDK vSwitch, whose kernel routes between two ports in shared memory.

What both guides (MEMNIC, KNI) have in common: sources that go in by a FAT disk, a QEMU with
IVSHMEM devices, interfaces, IP forwarding, routes and ARP, and the checks on the way. The guest
is `guest.image`, with what it takes to build kernel modules, and net-tools.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol

from pytest_vswitch.apps import qemu, qemu_versions, users_guest
from pytest_vswitch.apps.guest import Guest
from pytest_vswitch.apps.net_tools import Router
from pytest_vswitch.apps.ovdk_qemu import CommandLine
from pytest_vswitch.errors import DutError, InputError
from pytest_vswitch.hosts import changes
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.counts import PortCounts
from pytest_vswitch.topologies.endpoints import EndpointFacts, Place
from pytest_vswitch.topologies.endpoints.guest_kernel import Shares, interfaces, routed
from pytest_vswitch.topologies.ports import require_programs
from pytest_vswitch.topologies.topology import Flow
from pytest_vswitch.topologies.vswitches import ovdk as vswitch

BUILD_S: Final = 900.0
"""How long the guest may build for [s]: DPDK, on few CPUs."""
_MACS = ("00:4b:4e:49:30:00", "00:4b:4e:49:30:01")
"""The guides'."""
_CORES: Final = 2
_CHECK_S: Final = 1.0


class Driver(Protocol):
    """What makes the interfaces of a guest, and tells whether its metadata was found."""

    def check_shared(self) -> None:
        """Raise DutError for shared memory whose metadata is not as the guest needs it."""

    def check_metadata(self) -> None:
        """Raise DutError for a guest that has not found its metadata."""

    def check_alive(self) -> None:
        """Raise DutError for a program in the guest that is gone."""


class OvdkGuest:
    """See `endpoints.Endpoint`."""

    where = "guest"

    def __init__(
        self, name: str, guest: Guest, router: Router, driver: Driver, accelerator: str
    ) -> None:
        self.name = name
        self.guest = guest
        self.driver = driver
        self._router = router
        self._accelerator = accelerator
        self._shares = Shares()
        self._checked = 0.0

    @property
    def facts(self) -> EndpointFacts:
        remarks: tuple[str, ...] = ()
        if self._accelerator != "kvm":
            remarks = ("the guest runs on tcg, emulated, many times slower than KVM",)
        return EndpointFacts(
            versions={
                "qemu": self.guest.version,
                "guest kernel": self.guest.run("uname -r").strip(),
            },
            virtio_features="",
            accelerator=self._accelerator,
            remarks=remarks,
            commands=((self.guest.machine.name, self.guest.machine.command),),
        )

    def counts(self) -> tuple[PortCounts, PortCounts]:
        output = self.guest.run(self._router.counters)
        return self._shares.counts(self._router.parse_counters(output))

    def transform(self, frame: bytes, entered: int) -> bytes:
        """To the gateway, one hop further (RFC 1812, section 5.3.1)."""
        return routed(frame, self._router.interfaces[1 - entered])

    def flow(self, entered: int, plain: Flow) -> Flow:
        port = self._router.interfaces[entered]
        src_ip, dst_ip = (("1.1.0.1", "6.6.0.1"), ("6.6.0.1", "5.5.0.1"))[entered]
        return dataclasses.replace(
            plain, src_mac=port.gateway_mac, dst_mac=port.mac, src_ip=src_ip, dst_ip=dst_ip
        )

    def check_alive(self) -> None:
        self.guest.check_alive()
        if time.monotonic() - self._checked >= _CHECK_S:  # what asks in the guest takes its CPU
            self._checked = time.monotonic()
            self.driver.check_alive()

    def check_interfaces(self) -> None:
        """As the guides do: `ifconfig -a` has both, up and running. Raises DutError."""
        if output := self.guest.run("ifconfig -a", why="are both interfaces up and running?"):
            self._router.check(output)

    def check_routes(self) -> None:
        """It routes, by the gateways and their MAC addresses. Raises DutError."""
        for command, check in self._router.checks():
            if output := self.guest.run(command, why="does it route as it was told?"):
                check(output)


def preflight(lab: Lab, host: Host, files: Mapping[str, str]) -> None:
    """Raise InputError for what the guest needs and lab or host lack; `files` as for `boot`."""
    own = vswitch.section(lab)
    if lab.guest.image == "builtin":
        raise InputError(
            f"{lab.where('guest', 'image')}: the guest of {vswitch.NAME} builds a kernel module: "
            "name an image with a compiler, its kernel's headers and net-tools (guest.image)"
        )
    if lab.guest.kernel != "auto":
        raise InputError(
            f"{lab.where('guest', 'kernel')}: behind {vswitch.NAME} the image boots its own kernel"
        )
    if lab.guest.hypervisor != "qemu":
        raise InputError(
            f"{lab.where('guest', 'hypervisor')}: {lab.guest.hypervisor} knows no guest of "
            f"{vswitch.NAME}; only qemu starts one"
        )
    for path in files.values():
        key = "sources" if path.startswith(own.sources) else "path"
        if not host.exists(path.removesuffix("/.")):
            raise InputError(
                f"{lab.where('ovdk', key)}: {host.name} has no {path.removesuffix('/.')}, "
                "which the guest builds of"
            )
    if own.qemu == "guest":
        program = qemu_versions.program(lab, host)
        require_programs(host, [(program, "qemu-system-x86", f"{lab.where('guest', 'qemu')}: ")])
    users_guest.preflight(lab, host)


def vcpus(lab: Lab) -> int:
    """The guides give it two."""
    del lab
    return _CORES


def memory_mb(lab: Lab) -> int:
    """None that is shared: the guest's own is ordinary memory."""
    del lab
    return 0


def program(lab: Lab, host: Host) -> str:
    """The QEMU to start: the release's, or the lab's. Raises InputError."""
    if vswitch.section(lab).qemu == "guest":
        return qemu_versions.program(lab, host)
    return vswitch.release(lab, host).paths["qemu-system-x86_64"]


@contextlib.contextmanager
def boot(
    lab: Lab, host: Host, place: Place, devices: Sequence[str], files: Mapping[str, str]
) -> Iterator[tuple[Guest, str]]:
    """A guest with these devices whose shell answers, and its accelerator.

    `files` are what it gets, by the folder of the FAT disk that they are copied to. Raises
    HostError, DutError.
    """
    name = "guest" + place.suffix.replace(" ", "-")
    wishes = qemu.wishes((), 0)
    own_qemu = vswitch.section(lab).qemu == "vswitch"
    with contextlib.ExitStack() as stack:
        share = stack.enter_context(_share(host, f"{host.scratch}/{name}-share", files))
        image = stack.enter_context(users_guest.prepared(lab, host, name, wishes))
        kvm = lab.guest.accelerator != "tcg" and host.exists("/dev/kvm")
        parameters = qemu.Parameters(
            name=name,
            image=image,
            accelerator="kvm" if kvm else "tcg",
            vcpus=place.vcpus,
            memory_mb=lab.guest.memory_mb,
            hugepage_kb=None,
            guest_hugepages=0,
            ports=(),
        )
        line = CommandLine(
            guest=parameters,
            share=share,
            devices=devices,
            eal_cores=place.cpus if own_qemu else (),
        )
        started = program(lab, host)
        argv = line.argv(started, f"{host.scratch}/{name}")
        timeout_s = lab.guest.boot_timeout_s
        guest = stack.enter_context(
            qemu.boot(host, parameters, program=started, timeout_s=timeout_s, argv=argv)
        )
        yield guest, parameters.accelerator


@contextlib.contextmanager
def _share(host: Host, path: str, files: Mapping[str, str]) -> Iterator[str]:
    """The guides' /tmp/qemu_share: links are followed, for the FAT disk knows none."""
    with changes.making_directory(host, path):
        for folder, source in files.items():
            target = f"{path}/{folder}".rstrip("/")
            if folder and source.endswith("/."):
                host.run(["mkdir", "-p", "--", target])
            host.run(["cp", "-aL", "--", source, target], why="what the guest builds of")
        yield path


def fetch(guest: Guest, at: str, to: str) -> None:
    """Have the guest copy what the FAT disk has. Raises DutError."""
    for command, why in (
        (f"mkdir -p {at} {to}", "where the guides have them"),
        (f"mount -o iocharset=utf8 /dev/sdb1 {at}", "what the host has for it"),
        (f"cp -a {at}/. {to}", "sources to build of"),
    ):
        guest.run(command, why=why)


def build(guest: Guest, commands: Sequence[tuple[str, str]]) -> None:
    """Raises DutError."""
    for command, why in commands:
        guest.run(command, timeout_s=BUILD_S, why=why)


def route(guest: Guest, names: tuple[str, str], place: Place) -> Router:
    """Have the guest route between these interfaces. Raises DutError."""
    one, other = (
        dataclasses.replace(port, mac=mac)
        for port, mac in zip(interfaces(place, ("", "")), _MACS, strict=True)
    )
    router = Router(names, (one, other))
    for command, why in router.commands():
        guest.run(command, why=why)
    return router


def require(guest: Guest, command: str, otherwise: str, *, said: str, why: str) -> None:
    """Raise DutError, beginning with `otherwise`, unless a check in the guest says what it should.

    As the guest's shell carries it out, a plan, where nobody answers, holds it to that, too.
    """
    try:
        output = guest.run(command, why=why)
    except DutError as error:
        raise DutError(f"{otherwise}\n    {error}") from None
    if output and not re.search(said, output):
        raise DutError(f"{otherwise}\n    guest: `{command}` says: {output.strip()}")
