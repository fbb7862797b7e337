"""A booted guest: its shell, the console of its testpmd, and the machine that it runs on.

Whatever started it, QEMU itself or libvirt, it is talked to in the same way: by two
virtio-serial ports, one with a shell and one for testpmd, and by QMP.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from pytest_vswitch.apps.testpmd import ENDED
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.console import Console
from pytest_vswitch.hosts.host import Host


def device_id(port: int) -> str:
    """What QEMU calls a virtio port; libvirt takes only names that begin like this."""
    return f"ua-port{port}"


_BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
_ASK_S = 2.0
_DYING_S = 5.0
"""How long the end of a QEMU whose consoles are closed may be on its way [s]."""


class Machine(Protocol):
    """The QEMU that a guest runs on, as its hypervisor gives access to it."""

    @property
    def name(self) -> str:
        """What errors call it: `QEMU`, with the guest's number if there are several."""

    @property
    def command(self) -> tuple[str, ...]:
        """QEMU's argument list."""

    def end(self, *, within_s: float = 0.0) -> str | None:
        """How QEMU ended, e.g. `exit status -9`, or None while it runs; waits up to `within_s`.

        Raises DutError when what looks after it is gone.
        """

    def tail(self) -> str:
        """Its last output, for error messages."""

    def execute(self, command: str, **arguments: object) -> Any:
        """A QMP command. Raises DutError when QEMU refuses, is gone, or does not answer."""

    def close(self) -> None:
        """End what talks to QEMU, not QEMU."""


class Guest:
    """A booted guest."""

    def __init__(
        self, host: Host, machine: Machine, shell: Console, testpmd: Console, kernel_log: str
    ) -> None:
        """`kernel_log` is the path on the host of what its serial port says."""
        self.machine = machine
        self.shell = shell
        self.testpmd = testpmd
        self._host = host
        self._kernel_log = kernel_log
        self._commands = 0
        self._checked = 0.0

    @property
    def version(self) -> str:
        return version_text(self.machine.execute("query-version"))

    def property(self, port: int, name: str) -> str:
        """A property of a virtio device, as QEMU has it now: `on`, `off` or a value."""
        path = f"/machine/peripheral/{device_id(port)}"
        value = self.machine.execute("qom-get", path=path, property=name)
        return ("on" if value else "off") if isinstance(value, bool) else str(value)

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

    def wait_until_up(self, timeout_s: float) -> None:
        """Wait for an answer of its shell. Raises DutError with what QEMU and the guest said."""
        try:
            self.run("true", timeout_s=timeout_s, why="a shell that answers: the guest is up")
        except DutError as error:
            dying_s = _DYING_S if self.shell.ended else 0.0
            name, end = self.machine.name, self.machine.end(within_s=dying_s)
            gone = f"{name} is gone ({end})" if end else str(error)
            raise DutError(
                f"the guest did not boot: {gone}\n  {name} said:\n    "
                f"{self.machine.tail() or '(nothing)'}\n  guest console:\n{self.kernel_log()}"
            ) from None

    def reboot(self, timeout_s: float) -> None:
        """Reset the machine, and wait until a shell of the next boot answers. Raises DutError."""
        before = self.run(_BOOT_ID)
        # It was started to end with its guest, so that a crash is no endless loop.
        self.machine.execute("set-action", reboot="reset")
        self.machine.execute("system_reset")
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or self.machine.end():
                raise DutError(
                    f"the guest did not boot again within {timeout_s:g} s; its console:\n"
                    f"{self.kernel_log()}"
                )
            # Asked again: the shell that is going down may have taken the question with it.
            with contextlib.suppress(DutError):
                now = self.run(_BOOT_ID, timeout_s=min(left_s, _ASK_S))
                if now != before:
                    break
        self.machine.execute("set-action", reboot="shutdown")

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
        name = self.machine.name
        if end := self.machine.end():
            raise DutError(
                f"{name} is gone ({end}); its last output:\n"
                f"    {self.machine.tail() or '(none)'}\n  guest console:\n{self.kernel_log()}"
            )
        if ended := self.testpmd.seen(ENDED):
            raise DutError(
                f"{self.testpmd.name} is gone (exit status {ended[1]}){self.testpmd.quote()}"
            )
        if time.monotonic() - self._checked < 1:
            return
        self._checked = time.monotonic()
        try:
            status = self.machine.execute("query-status")["status"]
        except DutError as error:
            raise DutError(
                f"{error}; {name}'s last output:\n    {self.machine.tail() or '(none)'}\n"
                f"  guest console:\n{self.kernel_log()}"
            ) from None
        if status != "running":
            raise DutError(f"the guest is frozen: {name} says `{status}`{self.testpmd.quote()}")

    def kernel_log(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._host.read_text(self._kernel_log).splitlines()
            panics = [number for number, line in enumerate(lines) if "Kernel panic" in line]
            lines = lines[panics[0] :][:10] if panics else lines[-10:]
            return "\n".join(f"    {line.rstrip()}" for line in lines) or "    (nothing)"
        return "    (no log)"


@contextlib.contextmanager
def connected(host: Host, machine: Machine, name: str, directory: str) -> Iterator[Guest]:
    """The guest whose consoles are sockets in `directory`: `shell` and `testpmd`.

    Raises HostError when nobody listens on them.
    """
    with (
        host.console(f"{directory}/shell", f"{name} shell") as shell,
        host.console(f"{directory}/testpmd", f"{name} testpmd") as testpmd,
    ):
        yield Guest(host, machine, shell, testpmd, f"{directory}/guest-kernel.log")


def version_text(answer: Any) -> str:
    """E.g. `7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)`, from QMP `query-version`."""
    numbers = answer["qemu"]
    package = answer["package"].strip(" ()")
    version = f"{numbers['major']}.{numbers['minor']}.{numbers['micro']}"
    return f"{version} ({package})" if package else version
