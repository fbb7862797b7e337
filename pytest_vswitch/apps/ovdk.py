"""Intel DPDK vSwitch: its build's layout, what its programs are told, and what they print.

From its guides for MEMNIC and KNI, and the sources of its releases of 2014. It is four programs:
the database server, `ovs_dpdk` (the data plane, DPDK's primary process), `ovs-vswitchd` (a
secondary one), and for KNI the manager of what a guest may see.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_vswitch.apps.openvswitch import mask
from pytest_vswitch.errors import DutError, InputError
from pytest_vswitch.hosts.host import Host

Transport = Literal["memnic", "kni"]

BRIDGE = "br0"
FIRST_PORT: Mapping[str, int] = {"phy": 16, "kni": 32, "memnic": 48}
"""OpenFlow numbers say what a port is: 16 to 31 NICs, 32 to 47 KNI, 48 to 63 MEMNIC."""
CORES = 5
"""That the guides give it: messages and statistics, guests, each NIC, ovs-vswitchd."""
BASE_VIRTADDR = "0x2aaa2aa00000"
"""Where the processes map the shared memory, in the examples of its documentation."""

_TOOL_S = 20
"""How long ovs-vsctl may wait for the database server [s]."""

# --- layout -------------------------------------------------------------------------------

_PLACES: Mapping[str, tuple[str, ...]] = {
    "ovsdb-tool": ("openvswitch/ovsdb",),
    "ovsdb-server": ("openvswitch/ovsdb",),
    "ovs-vsctl": ("openvswitch/utilities",),
    "ovs-ofctl": ("openvswitch/utilities",),
    "ovs_dpdk": ("openvswitch/datapath/dpdk/build", "openvswitch/datapath/dpdk/build/app"),
    "ovs-vswitchd": ("openvswitch/vswitchd",),
    "vswitch.ovsschema": ("openvswitch/vswitchd",),
    "ovs-ivshm-mngr": ("openvswitch/utilities", "openvswitch/utilities/ovs-ivshm-mngr/build/app"),
    "qemu-system-x86_64": ("qemu/x86_64-softmmu",),
}
"""Where a built release has a file; what was copied together has it at the top (MEMNIC guide)."""
_ALWAYS = tuple(name for name in _PLACES if name not in ("ovs-ivshm-mngr", "qemu-system-x86_64"))


@dataclass(frozen=True, slots=True)
class Release:
    """A built Intel DPDK vSwitch."""

    root: str
    paths: Mapping[str, str]
    """By name of the file."""

    def argv(self, program: str, *words: str) -> list[str]:
        return [self.paths[program], *words]


def find(host: Host, root: str, also: Sequence[str] = ()) -> Release:
    """The programs of the release below `root`, those in `also` too. Raises InputError."""
    paths: dict[str, str] = {}
    missing: list[str] = []
    for name in (*_ALWAYS, *also):
        there = [f"{root}/{place}/{name}" for place in _PLACES[name]] + [f"{root}/{name}"]
        found = [path for path in there if host.exists(path)]
        paths |= {name: found[0]} if found else {}
        missing += [] if found else [there[0]]
    if missing:
        raise InputError(
            f"{host.name} has no built Intel DPDK vSwitch in {root}: there is no "
            f"{', no '.join(missing)}"
        )
    return Release(root, paths)


def version(host: Host, release: Release) -> str:
    """Of the Open vSwitch that it is made of, which is all that it tells, e.g. `2.0.0`."""
    said = host.ask(release.argv("ovs-vsctl", "--version"), check=False, why="its version").output
    found = re.search(r"\(Open vSwitch\) (\S+)", said)
    return f"Open vSwitch {found[1]}" if found else "unknown"


# --- parameters ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Port:
    """A port of the bridge."""

    name: str
    number: int
    """In OpenFlow."""
    kind: str
    """Type of its interface, e.g. `dpdkkni`."""
    option: int | None = None
    """Which of the NICs it is, counted from 1, where the interface is asked for it."""

    def words(self) -> list[str]:
        words = ["add-port", BRIDGE, self.name, "--", "set", "Interface", self.name]
        words += [f"type={self.kind}", f"ofport_request={self.number}"]
        return words + ([] if self.option is None else [f"option:port={self.option}"])


def phy_port(transport: Transport, kind: str, index: int) -> Port:
    """A NIC, `index` of them by PCI address; `kind` is `dpdk` or `dpdkphy`."""
    number = FIRST_PORT["phy"] + index
    return Port(_name(transport, number), number, kind, index + 1 if kind == "dpdkphy" else None)


def guest_port(transport: Transport, index: int) -> Port:
    """One towards the guest."""
    number = FIRST_PORT[transport] + index
    return Port(_name(transport, number), number, f"dpdk{transport}")


def _name(transport: Transport, number: int) -> str:
    """As the guides do: for MEMNIC it is the name of the shared memory, too."""
    return f"ovs_dpdk_{number}" if transport == "memnic" else f"port{number}"


@dataclass(frozen=True, slots=True)
class Directory:
    """Where a run keeps its database and sockets; the guides have them in /usr/local."""

    path: str
    release: Release

    @property
    def socket(self) -> str:
        return f"{self.path}/db.sock"

    @property
    def environment(self) -> list[str]:
        """A bridge's own sockets have no option: they are in the run directory."""
        return ["env", f"OVS_RUNDIR={self.path}"]

    def create_database(self) -> list[str]:
        schema = self.release.paths["vswitch.ovsschema"]
        return self.release.argv("ovsdb-tool", "create", f"{self.path}/conf.db", schema)

    def serve_database(self) -> list[str]:
        words = [f"{self.path}/conf.db", f"--remote=punix:{self.socket}"]
        return [*self.environment, *self.release.argv("ovsdb-server", *words)]

    def vsctl(self, *words: str) -> list[str]:
        """For the server it waits, not for ovs-vswitchd, which starts later (`--no-wait`)."""
        options = [f"--db=unix:{self.socket}", "--retry", f"--timeout={_TOOL_S}", "--no-wait"]
        return self.release.argv("ovs-vsctl", *options, *words)

    def add_bridge(self) -> list[str]:
        return self.vsctl("add-br", BRIDGE, "--", "set", "Bridge", BRIDGE, "datapath_type=dpdk")

    def switch(self, core: int) -> list[str]:
        words = ["-c", mask([core]), "--proc-type=secondary", "--", f"unix:{self.socket}"]
        return [*self.environment, *self.release.argv("ovs-vswitchd", *words)]

    def ofctl(self, command: str, *words: str) -> list[str]:
        return [*self.environment, *self.release.argv("ovs-ofctl", command, BRIDGE, *words)]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPlane:
    """What `ovs_dpdk` is started with."""

    transport: Transport
    cores: Sequence[int]
    """For messages and statistics, for guests, and for each NIC."""
    devices: Sequence[str]
    """PCI addresses of the NICs, in their order: so DPDK numbers them."""
    memory_mb: int
    huge_directory: str
    base_virtaddr: str = BASE_VIRTADDR
    guest_ports: int = 2

    def words(self) -> list[str]:
        """EAL's, then its own."""
        messages, guests, *nics = self.cores
        eal = ["-c", mask(self.cores), "-n", "4", "--proc-type=primary"]
        eal += [f"--base-virtaddr={self.base_virtaddr}", "-m", str(self.memory_mb)]
        eal += ["--huge-dir", self.huge_directory]
        eal += [word for device in self.devices for word in ("-w", device)]
        count = str(self.guest_ports)
        own = ["-p", hex((1 << len(self.devices)) - 1)]
        own += ["-n", count, "-m", count] if self.transport == "memnic" else ["-k", count]
        own += ["--stats=0", f"--vswitchd={messages}", f"--client_switching_core={guests}"]
        queues = ",".join(f"({port},0,{core})" for port, core in enumerate(nics))
        return [*eal, "--", *own, f"--config={queues}"]


def share(release: Release, core: int, metadata: str, ports: Iterable[str]) -> list[str]:
    """The manager that writes a guest's metadata of the ports of these names; for KNI."""
    shared = f"{metadata}:{','.join(ports)}"
    words = ["-c", mask([core]), "--proc-type=secondary", "--", shared]
    return release.argv("ovs-ivshm-mngr", *words)


def flow(enter: int, leave: int) -> str:
    """IPv4 that comes in by one port leaves by the other.

    The guides match one pair of addresses; frames of many flows are sent here.
    """
    return f"in_port={enter},dl_type=0x0800,idle_timeout=0,action=output:{leave}"


# --- facts --------------------------------------------------------------------------------

READY = re.compile(r"CPU frequency is \d+ MHz")
"""What `ovs_dpdk` says when its ports are there."""

_PORT = re.compile(r"^ *port +(\d+): (.*?)(?=^ *port |\Z)", re.MULTILINE | re.DOTALL)
_SHOWN = re.compile(
    r'^ +Interface "?([^"\n]+?)"?\n +type: (\S+)(?:\n +options: \{port="?(\d+)"?\})?', re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Counters:
    """Of one port [frames]."""

    rx: int
    tx: int
    rx_dropped: int
    rx_errors: int
    tx_dropped: int


def parse_ports(output: str) -> dict[int, Counters]:
    """By port number, from `ovs-ofctl dump-ports`. Raises DutError."""
    found = {}
    for number, text in _PORT.findall(output):
        rx, _, tx = text.partition("tx ")
        ways = [dict(re.findall(r"(\w+)=(\d+)", way)) for way in (rx, tx)]
        try:
            counted = [int(ways[0][word]) for word in ("pkts", "drop", "errs")]
            sent = [int(ways[1][word]) for word in ("pkts", "drop")]
        except KeyError as error:
            raise DutError(
                f"ovs-ofctl does not tell {error} of port {number}, as releases before 1.0 do not "
                f"count:\n    {text.strip()}"
            ) from None
        found[int(number)] = Counters(counted[0], sent[0], counted[1], counted[2], sent[1])
    if not found:
        raise DutError(f"ovs-ofctl printed no port's counters:\n    {output.strip()}")
    return found


def check_ports(output: str, wanted: Sequence[Port]) -> None:
    """Hold what `ovs-vsctl show` prints against the ports asked for. Raises DutError.

    An `error:` of ovs-vswitchd's, e.g. for a type that it does not know, is told as it is.
    """
    if failed := re.search(r'^ +error: "?(.*?)"?$', output, re.MULTILINE):
        raise DutError(f"ovs-vswitchd cannot make a port: {failed[1]}")
    shown = {name: (kind, option) for name, kind, option in _SHOWN.findall(output)}
    for port in wanted:
        option = "" if port.option is None else str(port.option)
        if port.name not in shown:
            raise DutError(f"`ovs-vsctl show` does not name port {port.name}, which was added")
        if shown[port.name] != (port.kind, option):
            kind, seen = shown[port.name]
            raise DutError(
                f"port {port.name} is of type {kind}{f', port {seen}' if seen else ''}, and was "
                f"added as {port.kind}{f', port {option}' if option else ''}"
            )


def check_flows(output: str, wanted: Iterable[tuple[int, int]]) -> None:
    """Hold what `ovs-ofctl dump-flows` prints against (enter, leave). Raises DutError."""
    there = set()
    for line in output.splitlines():
        enter = re.search(r"\bin_port=(\d+)", line)
        leave = re.search(r"\bactions=output:(\d+)$", line.strip())
        if enter and leave and re.search(r"\bip\b|dl_type=0x0800", line):
            there.add((int(enter[1]), int(leave[1])))
        elif "actions=" in line:
            raise DutError(f"bridge {BRIDGE} has a flow that was not added: {line.strip()}")
    wanted = set(wanted)
    if there != wanted:
        enter_, leave_ = min(there ^ wanted)
        lacks = "lacks the flow" if (enter_, leave_) in wanted else "has a flow that was not added:"
        raise DutError(f"bridge {BRIDGE} {lacks} from port {enter_} to port {leave_}")
