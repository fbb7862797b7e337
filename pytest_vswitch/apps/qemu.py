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
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_vswitch.apps.guest_image import GuestImage
from pytest_vswitch.apps.testpmd import ENDED
from pytest_vswitch.errors import DutError, HostError, InputError
from pytest_vswitch.hosts.console import Console
from pytest_vswitch.hosts.host import Host, Process
from pytest_vswitch.hosts.undo import Change

# --- parameters ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VhostUserPort:
    """A virtio-net device of the guest whose back-end listens on `socket`."""

    socket: str
    mac: str
    slot: int
    """PCI device number in the guest."""

    @property
    def address(self) -> str:
        """As the guest names it."""
        return f"0000:00:{self.slot:02x}.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What QEMU is started with."""

    image: GuestImage
    accelerator: str
    """`kvm` or `tcg`."""
    vcpus: int
    memory_mb: int
    hugepage_kb: int | None
    """Page size of guest memory [KiB]; None: ordinary pages."""
    guest_hugepages: int
    """2 MB pages reserved inside the guest."""
    ports: Sequence[VhostUserPort]
    virtio: Mapping[str, str] = field(default_factory=dict)
    """Properties of every virtio-net-pci device."""

    def argv(self, program: str, directory: str) -> list[str]:
        """`directory` takes the control sockets and the guest's kernel log."""
        memory = f"memory-backend-memfd,id=memory,size={self.memory_mb}M,share=on"
        if self.hugepage_kb:
            memory += f",hugetlb=on,hugetlbsize={self.hugepage_kb}k,prealloc=on"
        rest = f"1-{self.vcpus - 1}"
        kernel_arguments = [
            "console=ttyS0 quiet panic=-1 nmi_watchdog=0",
            f"isolcpus={rest} rcu_nocbs={rest} irqaffinity=0" if self.vcpus > 1 else "",
            f"vswitch.ports={','.join(port.address for port in self.ports)}",
            f"vswitch.hugepages={self.guest_hugepages}",
        ]
        argv = [program, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        argv += ["-name", "guest,debug-threads=on"]  # by which virtual CPUs are found
        argv += ["-machine", "q35,memory-backend=memory", "-accel", self.accelerator]
        argv += ["-cpu", "host" if self.accelerator == "kvm" else "max"]
        argv += ["-smp", str(self.vcpus), "-m", str(self.memory_mb), "-object", memory]
        argv += ["-kernel", self.image.kernel, "-initrd", self.image.initramfs]
        argv += ["-append", " ".join(filter(None, kernel_arguments))]
        for index, port in enumerate(self.ports):
            device = {
                "netdev": f"net{index}",
                "id": f"port{index}",
                "mac": port.mac,
                "addr": hex(port.slot),
                **self.virtio,
            }
            words = ",".join(f"{key}={value}" for key, value in device.items())
            argv += ["-chardev", f"socket,id=vhost{index},path={port.socket}"]
            argv += ["-netdev", f"vhost-user,id=net{index},chardev=vhost{index}"]
            argv += ["-device", f"virtio-net-pci,{words}"]
        argv += ["-serial", f"file:{directory}/guest-kernel.log", "-device", "virtio-serial-pci"]
        for name in ("shell", "testpmd"):
            argv += ["-chardev", f"socket,id={name},path={directory}/{name},server=on,wait=off"]
            argv += ["-device", f"virtserialport,chardev={name},name=vswitch.{name}"]
        return [*argv, "-qmp", f"unix:{directory}/qmp,server=on,wait=off"]

    def thread(self, vcpu: int) -> str:
        """What QEMU calls the thread of a virtual CPU."""
        return f"CPU {vcpu}/{self.accelerator.upper()}"


# --- facts --------------------------------------------------------------------------------


def version_text(answer: Mapping[str, Any]) -> str:
    """E.g. `7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)`, from QMP `query-version`."""
    numbers = answer["qemu"]
    package = answer["package"].strip(" ()")
    version = f"{numbers['major']}.{numbers['minor']}.{numbers['micro']}"
    return f"{version} ({package})" if package else version


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

    def close(self) -> None:
        """Also of a QEMU that is gone or frozen. Done twice it does no harm."""
        if self._loop.is_closed():
            return
        with contextlib.suppress(DutError):
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


class Guest:
    """A booted guest: its shell and the console of its testpmd."""

    def __init__(
        self,
        host: Host,
        parameters: Parameters,
        process: Process,
        shell: Console,
        testpmd: Console,
        directory: str,
    ) -> None:
        self._host = host
        self._parameters = parameters
        self._directory = directory
        self._commands = 0
        self._checked = 0.0
        self.process = process
        self.shell = shell
        self.testpmd = testpmd

    @functools.cached_property
    def qmp(self) -> Qmp:
        """Connected when first asked for. Raises DutError."""
        try:
            return Qmp(self._host, f"{self._directory}/qmp")
        except HostError as error:
            raise DutError(f"QEMU on its QMP socket: {error}") from None

    def close(self) -> None:
        """End what talks to QEMU, not QEMU."""
        if "qmp" in self.__dict__:
            self.qmp.close()

    @property
    def version(self) -> str:
        return version_text(self.qmp.execute("query-version"))

    def property(self, port: int, name: str) -> str:
        """A property of a virtio device, as QEMU has it now: `on`, `off` or a value."""
        value = self.qmp.execute("qom-get", path=f"/machine/peripheral/port{port}", property=name)
        return ("on" if value else "off") if isinstance(value, bool) else str(value)

    def pin(self, cpus: Sequence[int]) -> None:
        """Pin virtual CPU i to `cpus[i]`, as the guide's `qmp-vcpu-pin` does (4.2.5)."""
        for vcpu, cpu in enumerate(cpus):
            self.process.pin(
                self._parameters.thread(vcpu), cpu, why="a CPU for each virtual one (guide, 4.2.5)"
            )

    def run(self, command: str, *, timeout_s: float = 10.0, why: str = "") -> str:
        """One line for the guest's shell; its output. Raises DutError on a failing status."""
        self._commands += 1
        end = f"vswitch-{self._commands}-ended"
        self.shell.write(f"{command}\necho {end}:$?\n", why=why)
        output = self.shell.read_until(
            re.compile(rf"{end}:(\d+)\n"), timeout_s=timeout_s, what=f"end of `{command}`"
        )
        text, _, status = output.strip().partition(f"{end}:")
        if status not in ("", "0"):
            raise DutError(f"guest: `{command}` failed with status {status}: {text}")
        return text

    def start(self, argv: Sequence[str]) -> None:
        """Run testpmd on its serial port; when it ends, the port says so."""
        # No word of argv has a character that this shell would take for its own.
        self.run(
            f"({' '.join(argv)}; status=$?; echo; echo vswitch: testpmd ended with status $status) "
            "0<>/dev/vswitch.testpmd >&0 2>&1 &",
            why="the guest's testpmd, on a console of its own (guide, 4.3.3)",
        )

    def check_alive(self) -> None:
        """Raise DutError if QEMU, the guest or its testpmd is gone or frozen.

        QEMU is asked once a second at most: it shares its lock with the virtual CPUs.
        """
        if self.process.status() is not None:
            raise DutError(
                f"QEMU is gone (exit status {self.process.status()}); its last output:\n"
                f"    {self.process.tail() or '(none)'}\n  guest console:\n{self.kernel_log()}"
            )
        if ended := self.testpmd.seen(ENDED):
            raise DutError(f"guest testpmd is gone (exit status {ended[1]}){self.testpmd.quote()}")
        if time.monotonic() - self._checked < 1:
            return
        self._checked = time.monotonic()
        try:
            status = self.qmp.execute("query-status")["status"]
        except DutError as error:
            raise DutError(
                f"{error}; QEMU's last output:\n    {self.process.tail() or '(none)'}\n"
                f"  guest console:\n{self.kernel_log()}"
            ) from None
        if status != "running":
            raise DutError(f"the guest is frozen: QEMU says `{status}`{self.testpmd.quote()}")

    def kernel_log(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._host.read_text(f"{self._directory}/guest-kernel.log").splitlines()
            panics = [number for number, line in enumerate(lines) if "Kernel panic" in line]
            lines = lines[panics[0] :][:10] if panics else lines[-10:]
            return "\n".join(f"    {line.rstrip()}" for line in lines) or "    (nothing)"
        return "    (no log)"


@contextlib.contextmanager
def boot(host: Host, parameters: Parameters, *, program: str, timeout_s: float) -> Iterator[Guest]:
    """A guest whose shell answers. Raises DutError, with its last words, if that takes longer."""
    directory = f"{host.scratch}/guest"
    argv = parameters.argv(program, directory)
    with contextlib.ExitStack() as stack:
        # A QEMU that was killed leaves its sockets: the next one must not be looked for there.
        stack.enter_context(host.changing(Change("made", directory)))
        host.run(["mkdir", "-p", directory], why="the guest's consoles, QMP and kernel log")
        process = stack.enter_context(
            host.spawn(
                argv,
                name="qemu",
                why="the guest, two virtio ports on the switch's sockets (guide, 4.2.5)",
            )
        )
        deadline = time.monotonic() + timeout_s
        # QEMU makes the QMP socket last.
        while not host.exists(f"{directory}/qmp"):
            if process.status() is not None or time.monotonic() > deadline:
                raise DutError(f"QEMU did not start:\n    {_last_words(process, '(no output)')}")
            time.sleep(0.01)  # polls for a socket file
        try:
            shell = stack.enter_context(host.console(f"{directory}/shell", "guest shell"))
            testpmd = stack.enter_context(host.console(f"{directory}/testpmd", "guest testpmd"))
        except HostError as error:
            # It opens its sockets before it looks at its devices.
            said = _last_words(process, f"(no output; {error})")
            raise DutError(f"QEMU did not start:\n    {said}") from None
        guest = Guest(host, parameters, process, shell, testpmd, directory)
        stack.callback(guest.close)
        try:
            guest.run("true", timeout_s=timeout_s, why="a shell that answers: the guest is up")
        except DutError as error:
            status = process.status()
            gone = f"QEMU ended with status {status}" if status is not None else str(error)
            raise DutError(
                f"the guest did not boot: {gone}\n  QEMU said:\n    "
                f"{process.tail() or '(nothing)'}\n  guest console:\n{guest.kernel_log()}"
            ) from None
        yield guest


def _last_words(process: Process, otherwise: str) -> str:
    """All that it said before it ended, which may still be on its way."""
    with contextlib.suppress(DutError):
        process.read_until(re.compile("(?!)"), timeout_s=_DYING_S, what="its end")
    return process.tail() or otherwise


def require_memory(host: Host, needed_mb: int) -> None:
    """Raise InputError when the host has not that much memory left for a guest."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", host.read_text("/proc/meminfo"))
    available_mb = int(found[1]) // 1024 if found else 0
    if available_mb < needed_mb:
        raise InputError(
            f"{host.name}: not enough memory: guest and testpmd need {needed_mb} MB, "
            f"{available_mb} MB are available; lower guest.memory_mb or dut.memory_mb in the lab"
        )
