"""Open vSwitch with DPDK: its two daemons, what its tools are told, and what they print.

All that it keeps is in one directory of the run: the system's own Open vSwitch is not touched.
Options and texts are those of Open vSwitch 3.1 with DPDK 22.11; see ovs-vswitchd.conf.db(5).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pytest_vswitch.errors import DeadlineError, DutError, HostError, InputError
from pytest_vswitch.hosts.host import Host, Process, check_runs, end

PACKAGE = "openvswitch-switch-dpdk"

DATAPATH_DEVICE = "ovs-netdev"
"""TAP device that the userspace datapath makes, whatever its bridges are called; it persists."""

# --- parameters ---------------------------------------------------------------------------

_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
_LOG = ("-vconsole:info", "-vsyslog:off", "-vfile:off", "-vcoverage:console:off")
"""To standard error only; the event counters would push a fault's own words out of sight."""

_TOOL_S = 20
"""How long one of its tools may take [s]; a port's memory is laid out meanwhile."""


@dataclass(frozen=True, slots=True)
class Directory:
    """Where one instance keeps its database and its sockets."""

    path: str

    @property
    def database(self) -> str:
        return f"{self.path}/conf.db"

    @property
    def socket(self) -> str:
        """Of the database server."""
        return f"{self.path}/db.sock"

    @property
    def control(self) -> str:
        """Of the switch, for ovs-appctl."""
        return f"{self.path}/vswitchd.ctl"

    def openflow(self, bridge: str) -> str:
        """Of a bridge, for ovs-ofctl."""
        return f"{self.path}/{bridge}.mgmt"

    def create_database(self) -> list[str]:
        return ["ovsdb-tool", "create", self.database, _SCHEMA]

    def serve_database(self) -> list[str]:
        control = f"--unixctl={self.path}/ovsdb.ctl"
        return ["ovsdb-server", self.database, f"--remote=punix:{self.socket}", control, *_LOG]

    def switch(self, program: str) -> list[str]:
        """A bridge's own sockets have no option: they are in the run directory."""
        database, control = f"unix:{self.socket}", f"--unixctl={self.control}"
        return ["env", f"OVS_RUNDIR={self.path}", program, database, control, *_LOG]

    def vsctl(self, *words: str, timeout_s: int = _TOOL_S) -> list[str]:
        return ["ovs-vsctl", f"--db=unix:{self.socket}", f"--timeout={timeout_s}", *words]

    def ofctl(self, bridge: str, command: str, *words: str) -> list[str]:
        """OpenFlow 1.4 is the first whose port statistics have each driver's own."""
        argv = ["ovs-ofctl", "--protocols=OpenFlow14", "--no-names", f"--timeout={_TOOL_S}"]
        return [*argv, command, self.openflow(bridge), *words]

    def appctl(self, command: str, *words: str) -> list[str]:
        return ["ovs-appctl", f"--target={self.control}", f"--timeout={_TOOL_S}", command, *words]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Settings of the switch, made before it starts."""

    main_cpus: Sequence[int]
    """For all threads but those that poll; empty: wherever Linux puts them."""
    pmd_cpus: Sequence[int]
    """Each gets a polling thread (PMD), pinned to it."""
    memory_mb: int
    nodes: int
    """NUMA nodes of the host, on each of which it takes no more than `memory_mb`."""
    hugepage_kb: int | None
    """Size of the hugepages on which its memory lies; None: ordinary pages."""
    file_prefix: str
    devices: Sequence[str] = ()
    """Addresses of the PCI devices that it may take."""

    def settings(self) -> list[str]:
        """Columns of table Open_vSwitch, for `ovs-vsctl set`."""
        # Open vSwitch adds --in-memory, which cannot be without hugepages, unless told of
        # --legacy-mem, which being without them implies.
        eal = ["-m", str(self.memory_mb), "--file-prefix", self.file_prefix]
        eal += [] if self.hugepage_kb else ["--no-huge", "--legacy-mem"]
        eal += [word for device in self.devices for word in ("-a", device)] or ["--no-pci"]
        cpus = {"pmd-cpu-mask": mask(self.pmd_cpus)}
        if self.main_cpus:
            cpus["dpdk-lcore-mask"] = mask(self.main_cpus)
        memory = {}
        if self.hugepage_kb:
            # Its first pool of mbufs is as large as can be: it would take the guest's pages.
            limit_mb = -(-self.memory_mb * 1024 // self.hugepage_kb) * self.hugepage_kb // 1024
            memory = {"dpdk-socket-limit": ",".join([str(limit_mb)] * self.nodes)}
        settings = {"dpdk-init": "true", "dpdk-extra": " ".join(eal), **memory, **cpus}
        return [f"other_config:{name}={_quoted(text)}" for name, text in settings.items()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port of a bridge, as it is asked for."""

    name: str
    number: int
    """In OpenFlow."""
    kind: Literal["dpdk", "dpdkvhostuserclient"]
    options: Mapping[str, str]
    pmd_cpu: int
    """CPU of the thread that polls its queues: all of them, see `add_bridge`."""
    mtu: int
    """Largest IP packet [bytes]: its mbufs are laid out for it, what is longer is dropped."""
    queues: int = 1

    def words(self, bridge: str) -> list[str]:
        polled = ",".join(f"{queue}:{self.pmd_cpu}" for queue in range(self.queues))
        words = ["--", "add-port", bridge, self.name, "--", "set", "Interface", self.name]
        words += [f"type={self.kind}", f"ofport_request={self.number}"]
        words += [f"options:{name}={_quoted(text)}" for name, text in self.options.items()]
        words += [f"other_config:pmd-rxq-affinity={_quoted(polled)}"]
        return [*words, f"mtu_request={self.mtu}"]


def add_bridge(name: str, ports: Iterable[Port]) -> list[str]:
    """Words for ovs-vsctl: a bridge in userspace that forwards nothing without a flow.

    Each port's queues are pinned to one thread, so that where frames are polled is the same
    in every run, and so that one thread alone sends to a port's partner.
    """
    bridge = ["datapath_type=netdev", "fail_mode=secure"]
    words = ["add-br", name, "--", "set", "Bridge", name, *bridge]
    return [*words, *(word for port in ports for word in port.words(name))]


def flow(enter: int, leave: int) -> str:
    """What comes in by a port of this number goes out by the other, as it is."""
    return f"priority=1,in_port={enter},actions=output:{leave}"


def miss(enter: int) -> str:
    """What no other flow takes is dropped anyway; this one counts it."""
    return f"priority=0,in_port={enter},actions=drop"


def mask(cpus: Iterable[int]) -> str:
    return hex(sum(1 << cpu for cpu in set(cpus)))


def _quoted(text: str) -> str:
    """A comma, for one, would end a value of ovs-vsctl's."""
    return text if re.fullmatch(r"[A-Za-z0-9_./-]+", text) else json.dumps(text)


# --- facts --------------------------------------------------------------------------------

PROGRAMS = ("/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk", "ovs-vswitchd")
"""Debian's with DPDK, which its alternatives may not point to; that of others has it built in."""

_READY = re.compile(r"bridge\|INFO\|\S+ \(Open vSwitch\) (\S+)\n")
_DPDK = re.compile(r"Using DPDK (\S+)")
_SETUP_FAILED = re.compile(r"Error detected while setting up '([^']+)': (.*?)\.?(?:  See|$)", re.M)
_PORT = re.compile(r"^ *port +(\S+): (.*?)(?=^ *port |\Z)", re.MULTILINE | re.DOTALL)
_COUNT = re.compile(r"(\w+)=(\d+)")
_FLOW = re.compile(r"n_packets=(\d+),.*? (\S*\bin_port=(\d+)\S*) actions=(.*)")
_PMD = re.compile(r"^pmd thread .*?:\n((?: +.*\n?)*)", re.MULTILINE)
_PMD_COUNT = re.compile(r"^ +([^:\n]+): (\d+)(?: \([\d.]+%\))?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PortCounters:
    """Counters of one port since it was made [frames]."""

    rx: int
    tx: int
    own: Mapping[str, int] = field(default_factory=dict)
    """By its driver's own names, e.g. `ovs_tx_failure_drops`."""


@dataclass(frozen=True, slots=True)
class FlowCount:
    """Frames that matched a flow."""

    match: str
    """E.g. `priority=1,in_port=3`."""
    in_port: int
    actions: str
    packets: int

    def __str__(self) -> str:
        return f"flow {self.match} actions={self.actions}"

    def outputs(self, port: int) -> bool:
        """Whether they were sent to that port."""
        return re.search(rf"\boutput:{port}\b", self.actions) is not None


def find_program(host: Host) -> str:
    """Path of an ovs-vswitchd that has DPDK. Raises InputError."""
    found = [path for name in PROGRAMS if (path := host.which(name))]
    for path in found:
        version = host.ask([path, "--version"], check=False, why="has it DPDK?").output
        if re.search(r"^DPDK ", version, re.MULTILINE):
            return path
    lacks = f"{found[0]} has none" if found else "there is none"
    raise InputError(
        f"{host.name} has no Open vSwitch with DPDK, {lacks}: apt-get install {PACKAGE}"
    )


def parse_ports(output: str) -> Mapping[int, PortCounters]:
    """By port number, from `ovs-ofctl dump-ports` in OpenFlow 1.4; without the bridge's own.

    Raises DutError when the output is not of that form.
    """
    ports = {}
    for number, text in _PORT.findall(output):
        if not number.isdecimal():
            continue
        rx, tx = (re.search(rf"\b{way} pkts=(\d+)", text) for way in ("rx", "tx"))
        if not (rx and tx):
            raise DutError(
                f"Open vSwitch does not say how many frames passed port {number}; "
                f"is nothing connected to it?\n  port {number}: {text.strip()}"
            )
        own = {name: int(count) for name, count in _COUNT.findall(text.partition("CUSTOM")[2])}
        ports[int(number)] = PortCounters(int(rx[1]), int(tx[1]), own)
    if not ports:
        raise DutError(f"ovs-ofctl printed no port's counters:\n{output}")
    return ports


def parse_flows(output: str) -> list[FlowCount]:
    """From `ovs-ofctl dump-flows`; those that match no port number are left out."""
    return [
        FlowCount(match, int(port), actions.strip(), int(packets))
        for packets, match, port, actions in _FLOW.findall(output)
    ]


def parse_pmds(output: str) -> Mapping[str, int]:
    """Sums over the polling threads, from `ovs-appctl dpif-netdev/pmd-stats-show`.

    By its own words, e.g. `emc hits`, `processing cycles`. Raises DutError for no thread.
    """
    threads = _PMD.findall(output)
    if not threads:
        raise DutError(f"ovs-appctl printed no polling thread's statistics:\n{output}")
    sums: dict[str, int] = {}
    for text in threads:
        for name, count in _PMD_COUNT.findall(text):
            sums[name] = sums.get(name, 0) + int(count)
    return sums


# --- running ------------------------------------------------------------------------------


class OpenVswitch:
    """A running instance: both daemons, and one bridge once `add_bridge` was told of it."""

    def __init__(
        self, host: Host, directory: Directory, database: Process, switch: Process, bridge: str
    ) -> None:
        """Waits until it has read its database. Raises DutError with its own words."""
        self._host = host
        self._directory = directory
        self._daemons = (database, switch)
        self._bridge = bridge
        text = switch.read_until(_READY, timeout_s=60.0, what="the switch's reading its database")
        version, dpdk = _READY.search(text), _DPDK.search(text)
        self.version = version[1] if version else "unknown"
        self.dpdk_version = dpdk[1] if dpdk else "unknown"

    def add_bridge(self, ports: Sequence[Port]) -> None:
        """Raises DutError, with Open vSwitch's own words, for a port that it cannot make."""
        words = add_bridge(self._bridge, ports)
        output = self._told(self._directory.vsctl(*words), "the bridge and its ports")
        if failed := _SETUP_FAILED.search(output):
            log = self._daemons[1].tail().replace("\n", "\n    ")
            raise DutError(
                f"Open vSwitch cannot set up port {failed[1]}: {failed[2]}; "
                f"its last output:\n    {log}"
            )

    def kill(self, links: Iterable[str]) -> None:
        """SIGKILL to the switch; its database stays. Raises DutError when it does not go.

        What it had said of these ports' links is forgotten, lest the next one be believed to
        have said it.
        """
        end(self._daemons[1])
        words = ["--no-wait", "init"]
        for name in links:
            words += ["--", "clear", "Interface", name, "link_state"]
        self._host.run(self._directory.vsctl(*words), timeout_s=_TOOL_S + 5.0)

    def wait_for_links(self, names: Sequence[str], *, timeout_s: int) -> None:
        """Until each port's link is up. Raises DeadlineError."""
        for name in names:
            argv = self._directory.vsctl(
                "wait-until", "Interface", name, "link_state=up", timeout_s=timeout_s
            )
            try:
                why = "whose vhost-user front-end is connected and ready"
                self._told(argv, why, timeout_s=timeout_s)
            except HostError:
                status = self._told(self._directory.vsctl("get", "Interface", name, "status"))
                raise DeadlineError(
                    f"Open vSwitch: the link of {name} was not up within {timeout_s} s; "
                    f"its status: {status.strip()}"
                ) from None

    def replace_flows(self, flows: Iterable[str]) -> None:
        """These, and no others."""
        why = "flows of an older time, as the guides delete them, too"
        self._told(self._directory.ofctl(self._bridge, "del-flows"), why)
        text = "".join(f"{flow}\n" for flow in flows)
        why = "each port with its partner; at last, what counts frames that no flow takes"
        self._told(self._directory.ofctl(self._bridge, "add-flows", "-"), why, stdin=text)

    def driver(self, port: str) -> str:
        """E.g. `net_memif`."""
        argv = self._directory.vsctl("--if-exists", "get", "Interface", port, "status:driver_name")
        return self._told(argv).strip().strip('"')

    def counters(self) -> Mapping[int, PortCounters]:
        """By port number, as they are now."""
        return parse_ports(self._told(self._directory.ofctl(self._bridge, "dump-ports")))

    def flows(self) -> list[FlowCount]:
        """What matched them until now, which takes Open vSwitch half a second to gather."""
        self._told(self._directory.appctl("revalidator/wait"))
        return parse_flows(self._told(self._directory.ofctl(self._bridge, "dump-flows")))

    def pmds(self) -> Mapping[str, int]:
        """See `parse_pmds`."""
        return parse_pmds(self._told(self._directory.appctl("dpif-netdev/pmd-stats-show")))

    def check_alive(self, *, within_s: float = 0.0) -> None:
        """Raises DutError, with its last words, when one of its daemons is gone."""
        for daemon in self._daemons:
            check_runs(daemon, within_s=within_s)

    def _told(
        self, argv: Sequence[str], why: str = "", *, stdin: str = "", timeout_s: float = _TOOL_S
    ) -> str:
        """What a tool prints, which ends by itself after `timeout_s`.

        Raises DutError if a daemon is gone, or else HostError.
        """
        try:
            return self._host.run(argv, stdin=stdin, timeout_s=timeout_s + 5.0, why=why).output
        except HostError:
            self.check_alive(within_s=1.0)  # its socket is closed before it has ended
            raise
