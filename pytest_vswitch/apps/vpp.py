"""VPP (fd.io): its startup configuration, its command line `vppctl`, and what that prints.

As VPP 25.10 has them, built from source: it ran p2p, pvp, container and memif. Debian has no
package of it, so the tests hold this against a stand-in that keeps VPP's state.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pytest_vswitch.apps import socket_file
from pytest_vswitch.errors import DutError, HostError
from pytest_vswitch.hosts.host import Host, Process

PACKAGE: Final = "vpp (of fd.io's own repository)"

_START_S: Final = 60.0

# --- parameters ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What VPP is started with."""

    directory: str
    """For its sockets and its log; of this run only."""
    prefix: str
    """Of its shared memory; of this run only."""
    main_cpu: int
    """Runs its command line, and forwards if there are no workers."""
    worker_cpus: Sequence[int] = ()
    heap_mb: int
    hugepage_kb: int | None = None
    """Of hugepages that are reserved for its frames; None: ordinary pages. Left to itself, VPP
    reserves hugepages, and does not give them back."""
    devices: Mapping[str, str] = field(default_factory=dict)
    """PCI addresses that DPDK takes, by the name that the interface gets."""

    @property
    def cli(self) -> str:
        """Socket of its command line."""
        return f"{self.directory}/cli.sock"

    def argv(self) -> list[str]:
        """The configuration is given word by word, so that no file is left of it."""
        cpu = ["main-core", str(self.main_cpu)]
        if self.worker_cpus:
            cpu += ["corelist-workers", ",".join(map(str, self.worker_cpus))]
        wanted = ["memif_plugin.so", "vhost_plugin.so"]
        wanted += ["dpdk_plugin.so"] if self.devices else []
        plugins = ["plugin", *_section("default", "disable")]
        for name in wanted:
            plugins += ["plugin", *_section(name, "enable")]
        words = ["vpp"]
        words += _section(
            "unix",
            *("nodaemon", "runtime-dir", self.directory),
            *("cli-listen", self.cli, "log", f"{self.directory}/log"),
        )
        words += _section("api-segment", "prefix", self.prefix)
        words += _section("socksvr", "socket-name", f"{self.directory}/api.sock")
        words += _section("statseg", "socket-name", f"{self.directory}/stats.sock")
        words += _section("memory", "main-heap-size", f"{self.heap_mb}M")
        pages = f"{self.hugepage_kb}K" if self.hugepage_kb else "default"
        words += _section("buffers", "page-size", pages)
        words += _section("cpu", *cpu)
        words += _section("plugins", *plugins)
        if self.devices:
            dev: list[str] = []
            for name, address in self.devices.items():
                dev += ["dev", *_section(address, "name", name)]
            words += _section("dpdk", *dev)
        return words


def _section(name: str, *words: str) -> list[str]:
    return [name, "{", *words, "}"]


def memif_socket(number: int, path: str) -> list[str]:
    """Make a control socket; `number` counts from 1, for 0 is VPP's own."""
    return ["create", "memif", "socket", "id", str(number), "filename", path]


def memif(socket: int) -> list[str]:
    """Make the server of interface 0 of a socket; see `memif_name`."""
    return ["create", "interface", "memif", "id", "0", "socket-id", str(socket), "master"]


def memif_name(socket: int) -> str:
    return f"memif{socket}/0"


def vhost_user(path: str) -> list[str]:
    """Make a vhost-user interface that listens; VPP answers with its name."""
    return ["create", "vhost-user", "socket", path, "server"]


def up(interface: str) -> list[str]:
    return ["set", "interface", "state", interface, "up"]


def poll(interface: str) -> list[str]:
    """Do not wait for interrupts: a peer that polls, too, need not send any."""
    return ["set", "interface", "rx-mode", interface, "polling"]


def cross_connect(enter: str, leave: str) -> list[str]:
    """Send whatever enters by one interface out by the other."""
    return ["set", "interface", "l2", "xconnect", enter, leave]


# --- facts --------------------------------------------------------------------------------

_VERSION = re.compile(r"^vpp v?(\S+)", re.MULTILINE)
_INTERFACE = re.compile(
    r"^(?P<name>\S+)\s+\d+\s+(?P<state>up|down)(?:\s+[\d/]+(?=\s|$))?\s*(?P<rest>.*)$"
)
_COUNTER = re.compile(r"^(?P<counter>[a-z][a-z0-9 _-]*?)\s+(?P<count>\d+)$")
_ERROR = re.compile(
    r"^\s*(?P<count>\d+)\s+(?P<node>\S+)\s+(?P<reason>.+?)(?:\s+(?:error|warn|info))?\s*$"
)
_RUNTIME = re.compile(
    r"^(?P<node>\S+)\s+\S.*?\s+(?P<calls>\d+)\s+(?P<vectors>\d+)\s+\d+\s+[\d.e+-]+\s+[\d.]+$"
)
_NAME = re.compile(r"[A-Za-z][\w./-]*")


def parse_version(output: str) -> str:
    """From `show version`."""
    found = _VERSION.search(output)
    return found[1] if found else "unknown"


def parse_interfaces(output: str) -> Mapping[str, Mapping[str, int]]:
    """Counters by interface, from `show interface`: those that are 0 are not named.

    Raises DutError when the output is not of that form.
    """
    interfaces: dict[str, dict[str, int]] = {}
    counters: dict[str, int] = {}
    for line in output.splitlines():
        if not line.strip() or line.split()[0] == "Name":
            continue
        rest = line.strip()
        if not line[0].isspace():
            if not (found := _INTERFACE.match(line)):
                raise DutError(f"VPP's `show interface` printed {line!r}, which is no interface")
            counters = interfaces.setdefault(found["name"], {})
            rest = found["rest"].strip()
        if rest:
            if not interfaces or not (counted := _COUNTER.match(rest)):
                raise DutError(f"VPP's `show interface` printed {line!r}, which is no counter")
            counters[counted["counter"]] = int(counted["count"])
    return interfaces


def parse_errors(output: str) -> Mapping[str, Mapping[str, int]]:
    """Counts by node and reason, from `show errors`; those of several threads are added."""
    nodes: dict[str, dict[str, int]] = {}
    for line in output.splitlines():
        if found := _ERROR.match(line):
            reasons = nodes.setdefault(found["node"], {})
            reasons[found["reason"]] = reasons.get(found["reason"], 0) + int(found["count"])
    return nodes


def parse_runtime(output: str, node: str) -> tuple[int, int]:
    """(calls, frames) of a node of the packet graph, of all threads, from `show runtime`."""
    rows = [found for line in output.splitlines() if (found := _RUNTIME.match(line))]
    mine = [row for row in rows if row["node"] == node]
    return sum(int(row["calls"]) for row in mine), sum(int(row["vectors"]) for row in mine)


# --- running ------------------------------------------------------------------------------


class Vpp:
    """A running VPP, as `vppctl` reaches it."""

    def __init__(self, host: Host, process: Process, cli: str) -> None:
        """Waits until it answers. Raises DutError, with its last words, when it does not."""
        self._host = host
        self.process = process
        self._cli = cli
        if not socket_file.appears(host, process, cli, timeout_s=_START_S):
            self.check_alive()
            raise DutError(
                f"{process.name} opened no command line at {cli} within {_START_S:g} s; "
                f"its last output:\n{self._last()}"
            )
        self.version = parse_version(self.show("version"))

    def show(self, *what: str) -> str:
        """Output of `show WHAT`. Raises DutError when it does not answer."""
        return self._command("show", *what)

    def do(self, words: Sequence[str], why: str = "") -> str:
        """A command that says nothing, or the name of what it made, unless it is refused.

        `vppctl` ends with status 0 all the same. Raises DutError with VPP's words.
        """
        said = self._command(*words, why=why).strip()
        if said and not _NAME.fullmatch(said):
            raise DutError(f"{self.process.name} refused `{' '.join(words)}`: {said}")
        return said

    def check_alive(self) -> None:
        """Raise DutError, with its last output, if it is gone."""
        if (status := self.process.status()) is not None:
            raise DutError(
                f"{self.process.name} is gone (exit status {status}); its last output:\n"
                + self._last()
            )

    def _command(self, *words: str, why: str = "") -> str:
        try:
            done = self._host.run(["vppctl", "-s", self._cli, *words], why=why)
        except HostError as error:
            self.check_alive()
            raise DutError(
                f"{self.process.name} did not answer `{' '.join(words)}`: {error}"
            ) from None
        return done.output.replace("\r", "")

    def _last(self) -> str:
        return "    " + self.process.tail().replace("\n", "\n    ")
