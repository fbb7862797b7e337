"""QEMU: its command line, what QMP tells, and a running guest.

Options as in QEMU 7.2.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_vswitch.apps import socket_file, users_guest
from pytest_vswitch.apps.guest import Guest, connected, device_id
from pytest_vswitch.apps.guest_image import GuestImage
from pytest_vswitch.errors import DutError, HostError
from pytest_vswitch.hosts.host import Host, Process
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab.schema import Lab

# --- parameters ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VhostUserPort:
    """A virtio-net device of the guest, with its back-end at the other end of `socket`."""

    socket: str
    mac: str
    slot: int
    """PCI device number in the guest."""
    listens: bool = False
    """Whether QEMU listens on the socket, not the back-end."""

    @property
    def address(self) -> str:
        """As the guest names it."""
        return f"0000:00:{self.slot:02x}.0"


def wishes(ports: Sequence[VhostUserPort], hugepages: int) -> str:
    """What `guest/init` and `guest/serve` are asked for, as arguments of the kernel."""
    addresses = ",".join(port.address for port in ports)
    return f"vswitch.ports={addresses} vswitch.hugepages={hugepages}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What a guest is started with, by QEMU itself or by libvirt."""

    name: str = "guest"
    """Of the guest, and of its directory, e.g. `guest-2`."""
    image: GuestImage
    accelerator: str
    """`kvm` or `tcg`."""
    vcpus: int
    cpus: Sequence[int] = ()
    """The host's CPU of each virtual one; empty: wherever Linux puts them."""
    memory_mb: int
    hugepage_kb: int | None
    """Page size of guest memory [KiB]; None: ordinary pages."""
    guest_hugepages: int
    """2 MB pages reserved inside the guest."""
    ports: Sequence[VhostUserPort]
    queues: int = 1
    """Queue pairs of each of them."""
    virtio: Mapping[str, str] = field(default_factory=dict)
    """Properties of every virtio-net-pci device."""
    removable: VhostUserPort | None = None
    """One more port, `vf1`, in a PCI Express slot of its own, `slot0`: it can be unplugged."""

    @property
    def label(self) -> str:
        """The guest's name as messages give it."""
        return self.name.replace("-", " ")

    @property
    def kernel_command_line(self) -> str:
        rest = f"1-{self.vcpus - 1}"
        arguments = [
            "console=ttyS0 quiet panic=-1 nmi_watchdog=0",
            f"isolcpus={rest} rcu_nocbs={rest} irqaffinity=0" if self.vcpus > 1 else "",
            wishes(self.ports, self.guest_hugepages),
            self.image.arguments,
        ]
        return " ".join(filter(None, arguments))

    @property
    def login_argv(self) -> list[str]:
        """A network with nothing but the guest's SSH server in it, on the host's loopback."""
        if self.image.login is None:
            return []
        forward = f"hostfwd=tcp:127.0.0.1:{self.image.login.port}-:22"
        device = "virtio-net-pci,netdev=login,id=login,bus=pcie.0,addr=0x3"
        return ["-netdev", f"user,id=login,restrict=on,{forward}", "-device", device]

    @property
    def _several_queues(self) -> dict[str, str]:
        """Properties of a port with more than one queue pair: an interrupt for each ring."""
        return {"mq": "on", "vectors": str(2 * self.queues + 2)} if self.queues > 1 else {}

    def argv(self, program: str, directory: str) -> list[str]:
        """`directory` takes the control sockets and the guest's kernel log."""
        memory = f"memory-backend-memfd,id=memory,size={self.memory_mb}M,share=on"
        if self.hugepage_kb:
            memory += f",hugetlb=on,hugetlbsize={self.hugepage_kb}k,prealloc=on"
        argv = [program, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        argv += ["-name", f"{self.name},debug-threads=on"]  # by which virtual CPUs are found
        argv += ["-machine", "q35,memory-backend=memory", "-accel", self.accelerator]
        argv += ["-cpu", "host" if self.accelerator == "kvm" else "max"]
        argv += ["-smp", str(self.vcpus), "-m", str(self.memory_mb), "-object", memory]
        if self.image.kernel:
            argv += ["-kernel", self.image.kernel]
            argv += ["-initrd", self.image.initramfs] if self.image.initramfs else []
            argv += ["-append", self.kernel_command_line]
        for index, disk in enumerate(self.image.disks):
            how = f"if=none,id=disk{index},file={disk.path},format={disk.format}"
            argv += ["-drive", how + (",readonly=on" if disk.read_only else "")]
            argv += ["-device", f"virtio-blk-pci,drive=disk{index},addr={4 + index:#x}"]
        argv += self.login_argv
        for index, port in enumerate(self.ports):
            device = {
                "netdev": f"net{index}",
                "id": device_id(index),
                "mac": port.mac,
                "addr": hex(port.slot),
                **self._several_queues,
                **self.virtio,
            }
            words = ",".join(f"{key}={value}" for key, value in device.items())
            server = ",server=on" if port.listens else ""
            argv += ["-chardev", f"socket,id=vhost{index},path={port.socket}{server}"]
            queues = f",queues={self.queues}" if self.queues > 1 else ""
            argv += ["-netdev", f"vhost-user,id=net{index},chardev=vhost{index}{queues}"]
            argv += ["-device", f"virtio-net-pci,{words}"]
        if self.removable:
            argv += ["-device", f"pcie-root-port,id=slot0,chassis=1,addr={self.removable.slot:#x}"]
            argv += ["-chardev", f"socket,id=vf1,path={self.removable.socket}"]
            argv += ["-netdev", "vhost-user,id=vf1,chardev=vf1"]
            device = {"netdev": "vf1", "id": "vf1", "mac": self.removable.mac, "bus": "slot0"}
            words = ",".join(f"{key}={value}" for key, value in {**device, **self.virtio}.items())
            argv += ["-device", f"virtio-net-pci,{words}"]
        argv += ["-serial", f"file:{directory}/guest-kernel.log", "-device", "virtio-serial-pci"]
        for name in ("shell", "testpmd"):
            argv += ["-chardev", f"socket,id={name},path={directory}/{name},server=on,wait=off"]
            argv += ["-device", f"virtserialport,chardev={name},name=vswitch.{name}"]
        return [*argv, "-qmp", f"unix:{directory}/qmp,server=on,wait=off"]

    def thread(self, vcpu: int) -> str:
        """What QEMU calls the thread of a virtual CPU."""
        return f"CPU {vcpu}/{self.accelerator.upper()}"


# --- running ------------------------------------------------------------------------------

_DYING_S = 1.0
"""How long the last words of a QEMU that ends may be on their way [s]."""

_ANSWER_S = 10.0
"""How long QEMU may take to answer on its QMP socket [s]."""


class Qmp:
    """A QMP session, for callers that are not asynchronous."""

    def __init__(self, host: Host, path: str) -> None:
        """Raises HostError when nobody listens, DutError when it is not QMP."""
        from qemu.qmp import QMPClient

        stream = host.connect(path)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="qmp", daemon=True)
        self._thread.start()
        self._client = QMPClient("pytest-vswitch")
        try:
            self._wait(self._client.connect(stream))
        except DutError:
            self.close()
            stream.close()
            raise

    def execute(self, command: str, **arguments: object) -> Any:
        """Raises DutError when QEMU refuses, is gone, or does not answer within 10 s."""
        return self._wait(self._client.execute(command, arguments or None))

    def events(self) -> Sequence[Mapping[str, Any]]:
        """All that QEMU has told of its own accord since the session began, with its time."""
        return self._client.events.history

    def close(self) -> None:
        """Also of a QEMU that is gone or frozen. Done twice it does no harm."""
        if self._loop.is_closed():
            return
        # The library asserts that it was connected.
        with contextlib.suppress(DutError, AssertionError):
            self._wait(self._client.disconnect())
        with contextlib.suppress(DutError):
            self._wait(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, work: Any) -> Any:
        from qemu.qmp import QMPError

        pending = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return pending.result(timeout=_ANSWER_S)
        except concurrent.futures.TimeoutError:  # not the built-in one before Python 3.11
            pending.cancel()
            raise DutError(
                f"QEMU does not answer on its QMP socket within {_ANSWER_S:g} s"
            ) from None
        except concurrent.futures.CancelledError:
            raise DutError("QEMU's QMP socket was closed") from None
        except (QMPError, EOFError, OSError) as error:
            raise DutError(f"QEMU on its QMP socket: {error}") from None


async def _cancel_others() -> None:
    """End what is still under way in this loop."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class QemuMachine:
    """A QEMU that this run started; see `guest.Machine`."""

    def __init__(
        self,
        host: Host,
        parameters: Parameters,
        process: Process,
        command: Sequence[str],
        qmp: str,
    ) -> None:
        """`qmp` is the path of its QMP socket."""
        self.command = tuple(command)
        self.name = parameters.label.replace("guest", "QEMU", 1)
        self.process = process
        self._host = host
        self._parameters = parameters
        self._qmp_socket = qmp

    @functools.cached_property
    def qmp(self) -> Qmp:
        """Connected when first asked for. Raises DutError."""
        try:
            return Qmp(self._host, self._qmp_socket)
        except HostError as error:
            raise DutError(f"{self.name} on its QMP socket: {error}") from None

    def end(self, *, within_s: float = 0.0) -> str | None:
        status = self.process.status(within_s=within_s)
        return None if status is None else f"exit status {status}"

    def tail(self) -> str:
        return self.process.tail()

    def execute(self, command: str, **arguments: object) -> Any:
        return self.qmp.execute(command, **arguments)

    def pin(self) -> None:
        """Give each virtual CPU its own, as the guide's `qmp-vcpu-pin` does (4.2.5)."""
        for vcpu, cpu in enumerate(self._parameters.cpus):
            self.process.pin(
                self._parameters.thread(vcpu), cpu, why="a CPU for each virtual one (guide, 4.2.5)"
            )

    def close(self) -> None:
        if "qmp" in self.__dict__:
            self.qmp.close()


def preflight(lab: Lab, host: Host) -> None:
    """QEMU needs nothing but its program, which every guest needs."""
    del lab, host


@contextlib.contextmanager
def boot(
    host: Host,
    parameters: Parameters,
    *,
    program: str,
    timeout_s: float,
    argv: Sequence[str] = (),
) -> Iterator[Guest]:
    """A guest whose shell answers. Raises DutError, with its last words, if that takes longer.

    `argv` is for a QEMU that is started otherwise than by `parameters`.
    """
    name = parameters.name
    directory = f"{host.scratch}/{name}"
    argv = argv or parameters.argv(program, directory)
    with contextlib.ExitStack() as stack:
        # A QEMU that was killed leaves its sockets: the next one must not be looked for there.
        listens = [port.socket for port in parameters.ports if port.listens]
        for path in (directory, *listens):
            stack.enter_context(host.changing(Change("made", path)))
        host.run(["mkdir", "-p", directory], why="the guest's consoles, QMP and kernel log")
        process = stack.enter_context(
            host.spawn(
                argv,
                name=name.replace("guest", "qemu", 1),
                why="the guest, two virtio ports on the switch's sockets (guide, 4.2.5)",
            )
        )
        machine = QemuMachine(host, parameters, process, argv, f"{directory}/qmp")
        stack.callback(machine.close)
        # QEMU makes the QMP socket last.
        if not socket_file.appears(host, process, f"{directory}/qmp", timeout_s=timeout_s):
            said = _last_words(process, "(no output)")
            raise DutError(f"{machine.name} did not start:\n    {said}")
        try:
            guest = stack.enter_context(connected(host, machine, parameters.label, directory))
        except HostError as error:
            # It opens its sockets before it looks at its devices.
            said = _last_words(process, f"(no output; {error})")
            raise DutError(f"{machine.name} did not start:\n    {said}") from None
        users_guest.log_in(host, guest, parameters.image, directory, timeout_s)
        guest.wait_until_up(timeout_s)
        machine.pin()
        yield guest


def _last_words(process: Process, otherwise: str) -> str:
    """All that it said before it ended, which may still be on its way."""
    with contextlib.suppress(DutError):
        process.read_until(re.compile("(?!)"), timeout_s=_DYING_S, what="its end")
    return process.tail() or otherwise
