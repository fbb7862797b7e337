"""libvirt: the host's own, or one of the run's own, and a guest that it defines and starts.

Options and texts are those of libvirt 9.0; the domain's XML is `domain_xml`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pytest_vswitch.apps import users_guest
from pytest_vswitch.apps.domain_xml import Domain
from pytest_vswitch.apps.guest import Guest, connected
from pytest_vswitch.apps.qemu import Parameters
from pytest_vswitch.errors import DutError, HostError, InputError
from pytest_vswitch.hosts.console import Console
from pytest_vswitch.hosts.host import Completed, Host, Process
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.hosts.undo_domains import virsh
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.machine import cpus

# --- parameters ---------------------------------------------------------------------------

SYSTEM = "qemu:///system"
SYSTEM_LOGS = "/var/log/libvirt/qemu"

SOCKETS = ("/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock")
"""Of a host's own libvirt; by socket activation they are there before it runs."""

_PLACES = ("etc", "var/lib", "var/log", "var/cache", "run")
"""Where libvirt keeps what it knows, each in a directory `libvirt`."""

_MOUNTED = tuple(f"/{place}/libvirt" for place in _PLACES)

_QEMU_CONF = """\
# As the guide's 4.2.5 says, for the sockets of a switch that runs as root.
user = "root"
group = "root"
remember_owner = 0
security_driver = "none"
# Without virtlogd, in what control groups it finds, with the devices that there are.
stdio_handler = "file"
cgroup_controllers = [ ]
namespaces = [ ]
"""

_LIBVIRTD_CONF = 'auth_unix_rw = "none"\n'

_UP = "vswitch: libvirtd is up"

_PRIVATE = f"""\
# First process of its namespaces: with it, all ends that libvirtd has started.
set -e
for place in {" ".join(_PLACES)}; do
    mount --bind "$1/$place" "/$place/libvirt"
done
exec 3<&0
DBUS_SYSTEM_BUS_ADDRESS=unix:path=/dev/null libvirtd --config "$1/etc/libvirtd.conf" \\
    --pid-file "$1/run/libvirtd.pid" </dev/null &
daemon=$!
while kill -0 $daemon && ! [ -S "$1/run/libvirt-sock" ]; do sleep 0.02; done
if [ -S "$1/run/libvirt-sock" ]; then echo "{_UP}"; fi
{{ read -r end; kill -KILL $daemon; }} <&3 &
wait $daemon
"""
"""A libvirtd that sees the directory `$1` in place of all that the host's libvirt keeps."""

_NAMESPACES = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


# --- facts --------------------------------------------------------------------------------


def last_words(log: str, lines: int = 15) -> str:
    """What QEMU said, from its log at libvirt, without its command line."""
    said: list[str] = []
    arguments = False
    for line in log.splitlines():
        if arguments or line.endswith(" \\"):
            said.clear()
            arguments = line.endswith(" \\")
        elif not re.search(r"Domain id=\d+ is tainted", line):
            said.append(line)
    return "\n".join(said[-lines:])


# --- running ------------------------------------------------------------------------------

_START_S = 60.0
"""How long libvirtd may take to come up, and to ask every QEMU what it can [s]."""

_DYING_S = 1.0
"""How long the end of a libvirtd that does not answer may be on its way [s]."""

_ANSWER_S = 10.0
"""How long QEMU may take to answer by way of libvirt [s]."""


@dataclass(frozen=True, slots=True)
class Libvirt:
    """A libvirtd that answers."""

    host: Host
    uri: str
    logs: str
    """Directory of QEMU's logs."""
    process: Process | None = None
    """The run's own; None: the host's, which was there before."""

    def run(
        self, *words: str, timeout_s: float = _START_S, check: bool = False, why: str = ""
    ) -> Completed:
        """A command of virsh. Raises HostError on expiry, and on failure if `check`."""
        argv = [*virsh(self.uri), *words]
        return self.host.run(argv, timeout_s=timeout_s, check=check, why=why)

    def check_alive(self, *, within_s: float = 0.0) -> None:
        """Raise DutError if it is the run's own, and gone, or ends `within_s`."""
        if self.process and (status := self.process.status(within_s=within_s)) is not None:
            raise DutError(
                f"libvirtd is gone (exit status {status}), and its domains with it; its last "
                f"output:\n    {self.process.tail() or '(none)'}"
            )


class LibvirtMachine:
    """The QEMU of a domain; see `guest.Machine`."""

    def __init__(self, libvirt: Libvirt, domain: Domain) -> None:
        self.name = domain.parameters.label.replace("guest", "QEMU", 1)
        self.shell: Console | None = None
        """Ends with QEMU."""
        self._libvirt = libvirt
        self._domain = domain

    @functools.cached_property
    def command(self) -> tuple[str, ...]:
        """As libvirt makes it of the XML, without the environment."""
        argv = ["domxml-to-native", "qemu-argv", "--domain", self._domain.name]
        words = shlex.split(self._libvirt.run(*argv).output)
        emulator = self._domain.emulator
        return tuple(words[words.index(emulator) :] if emulator in words else words)

    def end(self, *, within_s: float = 0.0) -> str | None:
        """libvirt is asked once the shell has ended, which it notices at the same time."""
        del within_s
        self._libvirt.check_alive()
        if self.shell is None or not self.shell.ended:
            return None
        state = self._libvirt.run("domstate", "--reason", self._domain.name)
        if state.status:
            self._libvirt.check_alive(within_s=_DYING_S)
            raise DutError(f"{self.name} is gone, and libvirt does not answer: {_words(state)}")
        # It may take a moment to notice what its own connections tell it.
        return f"libvirt says: {_words(state)}"

    def tail(self) -> str:
        try:
            log = self._libvirt.host.read_text(f"{self._libvirt.logs}/{self._domain.name}.log")
        except OSError:
            return ""
        return last_words(log).replace("\n", "\n    ")

    def execute(self, command: str, **arguments: object) -> Any:
        asked = json.dumps({"execute": command, **({"arguments": arguments} if arguments else {})})
        try:
            answer = self._libvirt.run(
                "qemu-monitor-command", self._domain.name, asked, timeout_s=_ANSWER_S
            )
        except HostError:
            self._libvirt.check_alive()
            raise DutError(
                f"{self.name} does not answer by way of libvirt within {_ANSWER_S:g} s"
            ) from None
        if answer.status:
            self._libvirt.check_alive(within_s=_DYING_S)
            raise DutError(f"{self.name} cannot be asked by way of libvirt: {_words(answer)}")
        said = json.loads(answer.output)
        if "error" in said:
            raise DutError(f"{self.name} refuses `{command}`: {said['error']['desc']}")
        return said["return"]

    def close(self) -> None:
        """Nothing stays connected."""


def _words(ended: Completed) -> str:
    """What virsh said, on one line."""
    return "; ".join(filter(None, map(str.strip, ended.output.splitlines()))) or "nothing"


def preflight(lab: Lab, host: Host) -> None:
    """Raise InputError when the host has no libvirt."""
    needed = ["virsh"] if _of_the_host(host) else ["virsh", "libvirtd"]
    for program in needed:
        if not host.which(program):
            raise InputError(
                f"{lab.where('guest', 'hypervisor')}: {host.name} has no program `{program}`: "
                "apt-get install libvirt-clients libvirt-daemon-system"
            )


def _of_the_host(host: Host) -> bool:
    """Whether a libvirt of the host's own answers."""
    if not any(host.exists(socket) for socket in SOCKETS):
        return False
    argv = [*virsh(SYSTEM), "version"]
    return host.ask(argv, check=False, why="does the host's libvirt run?").status == 0


@contextlib.contextmanager
def running(host: Host, directory: str) -> Iterator[Libvirt]:
    """The host's libvirt where it runs; else one of the run's own, with all in `directory`.

    Raises DutError when it does not come up.
    """
    if _of_the_host(host):
        yield Libvirt(host, SYSTEM, SYSTEM_LOGS)
        return
    cache = f"{host.cache}/libvirt"
    with contextlib.ExitStack() as stack:
        stack.enter_context(host.changing(Change("made", directory)))
        # Where to mount: what has to be made for it stays empty for all others.
        missing = [path for path in _MOUNTED if not host.exists(path)]
        for path in missing:
            stack.enter_context(host.changing(Change("directory", path)))
        own = [f"{directory}/{place}" for place in _PLACES if place != "var/cache"]
        host.run(["mkdir", "-p", "--", *own, cache, *missing])
        # What QEMU can do takes seconds to find out, and stays true until one is changed.
        host.run(["ln", "-s", "--", cache, f"{directory}/var/cache"])
        host.write_text(f"{directory}/etc/qemu.conf", _QEMU_CONF)
        host.write_text(f"{directory}/etc/libvirtd.conf", _LIBVIRTD_CONF)
        host.write_text(f"{directory}/start", _PRIVATE)
        process = stack.enter_context(
            host.spawn(
                ["unshare", *_NAMESPACES, "sh", f"{directory}/start", directory],
                name="libvirtd",
                stop_with="end\n",
                why="none runs here: one of the run's own, which takes all that it starts with it",
            )
        )
        process.read_until(re.compile(_UP), timeout_s=_START_S, what="libvirtd's socket")
        uri = f"qemu+unix:///system?socket={directory}/run/libvirt-sock"
        yield Libvirt(host, uri, f"{directory}/var/log/qemu", process)


@contextlib.contextmanager
def boot(host: Host, parameters: Parameters, *, program: str, timeout_s: float) -> Iterator[Guest]:
    """A guest whose shell answers. Raises DutError, with its last words, if that takes longer."""
    directory = f"{host.scratch}/{parameters.name}"
    run = PurePosixPath(host.scratch).name
    name = f"vswitch-{run}-{parameters.name}"
    with contextlib.ExitStack() as stack:
        libvirt = stack.enter_context(
            running(host, f"{host.scratch}/{parameters.name.replace('guest', 'libvirt', 1)}")
        )
        domain = Domain(
            name=name,
            run=run,
            parameters=parameters,
            emulator=host.which(program) or program,
            directory=directory,
            node=_node(host, parameters.cpus),
            security_models=_security_models(libvirt),
        )
        machine = LibvirtMachine(libvirt, domain)
        listens = [port.socket for port in parameters.ports if port.listens]
        for path in (directory, *listens, f"{libvirt.logs}/{name}.log"):
            stack.enter_context(host.changing(Change("made", path)))
        host.run(["mkdir", "-p", directory], why="the guest's consoles and kernel log")
        stack.enter_context(host.changing(Change("domain", name, after=libvirt.uri)))
        definition = f"{directory}/domain.xml"
        host.write_text(definition, domain.xml())
        for words, why in (
            (("define", "--validate", definition), "the guest as a domain (guide, 4.2.5)"),
            (("start", name), "the guest, two virtio ports on the switch's sockets"),
        ):
            try:
                libvirt.run(*words, timeout_s=timeout_s, check=True, why=why)
            except HostError as error:
                libvirt.check_alive()
                said = f"; {machine.name} said:\n    {tail}" if (tail := machine.tail()) else ""
                raise DutError(f"libvirt did not {words[0]} {name}: {error}{said}") from None
        try:
            guest = stack.enter_context(connected(host, machine, parameters.label, directory))
        except HostError as error:
            said = machine.tail() or f"(no output; {error})"
            raise DutError(f"{machine.name} did not start:\n    {said}") from None
        machine.shell = guest.shell
        users_guest.log_in(host, guest, parameters.image, directory, timeout_s)
        guest.wait_until_up(timeout_s)
        yield guest


def _security_models(libvirt: Libvirt) -> list[str]:
    """What confines domains: each has to be told to leave this one alone."""
    if libvirt.process:  # its settings say that there are none
        return []
    argv = [*virsh(libvirt.uri), "capabilities"]
    said = libvirt.host.ask(argv, why="what confines its domains?").output
    return re.findall(r"<secmodel>\s*<model>(\w+)</model>", said)


def _node(host: Host, wanted: Sequence[int]) -> int | None:
    """The NUMA node of these CPUs, if they share one."""
    nodes = {cpu.node for cpu in cpus.read(host).cpus if cpu.number in wanted}
    return nodes.pop() if len(nodes) == 1 else None
