"""The TRex server, `t-rex-64 -i`: its parameters, its configuration file, and how it is run.

The keys of the configuration file are those of the TRex manual, "Platform YAML"; memif ports
and low-end mode are in its chapters "memif interfaces" and "Low-End machines". Measured with
TRex v3.08: two memif client ports, low end, `--software --no-scapy-server`.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts import knobs
from pytest_vswitch.hosts.host import Host, Process
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab.ports import BDF
from pytest_vswitch.lab.trex import Trex
from pytest_vswitch.machine import nics
from pytest_vswitch.topologies.topology import Flow, MemifPort, NicPort
from pytest_vswitch.traffic.af_packet import interface

PROGRAM = "t-rex-64"
_TRACEBACK = "*** traceback follows ***"
_ABORT_LINES = 400
"""More than the server prints when it aborts: two for each of at most 128 callers."""
_HUGEPAGES = "devices/system/node/node*/hugepages/hugepages-*kB/nr_hugepages"


@dataclass(frozen=True, slots=True)
class Parameters:
    """What the configuration file says."""

    interfaces: tuple[str, ...]
    """PCI addresses, or DPDK's `--vdev=...` words."""
    macs: tuple[tuple[str, str], ...]
    """(destination, source) of each port."""
    sync_port: int
    async_port: int
    prefix: str
    """Of DPDK's files, so that several servers live on one host."""
    memory_mb: int | None
    """None: TRex chooses."""
    low_end: bool
    cores: int
    lcores: tuple[int, ...]
    """CPUs for control, latency and sending; one with low end; none: TRex chooses."""
    bandwidth_gbps: float
    """Of a port; TRex takes as much memory as it needs."""

    @property
    def cpus(self) -> str:
        """For readers: where it runs."""
        cpus = ", ".join(map(str, self.lcores))
        if self.low_end:
            return f"low end, CPU {cpus}" if cpus else "low end, a shared CPU"
        cores = "one core" if self.cores == 1 else f"{self.cores} cores"
        return f"CPUs {cpus}" if cpus else f"{cores} for each pair of ports"

    def text(self) -> str:
        """The configuration file."""
        from ruamel.yaml import YAML
        from ruamel.yaml.scalarstring import DoubleQuotedScalarString as Quoted

        # Unquoted, 0000:03:00.0 and some MAC addresses are numbers of base 60 in YAML 1.1.
        one: dict[str, object] = {
            "version": 2,
            "port_limit": len(self.interfaces),
            "interfaces": [Quoted(one) for one in self.interfaces],
            "zmq_rpc_port": self.sync_port,
            "zmq_pub_port": self.async_port,
            "prefix": self.prefix,
            "port_info": [{"dest_mac": Quoted(to), "src_mac": Quoted(by)} for to, by in self.macs],
        }
        if self.memory_mb is not None:
            one["limit_memory"] = self.memory_mb
        if self.low_end:
            one["low_end"] = True
            if self.lcores:
                one["low_end_core"] = self.lcores[0]
        else:
            one["c"] = self.cores
            one["port_bandwidth_gb"] = max(1, round(self.bandwidth_gbps))
            if self.lcores:
                control, latency, *sending = self.lcores
                one["platform"] = {
                    "master_thread_id": control,
                    "latency_thread_id": latency,
                    "dual_if": [{"socket": 0, "threads": sending}],
                }
        written = io.StringIO()
        yaml = YAML()
        yaml.default_flow_style = False
        yaml.width = 4096
        yaml.dump([one], written)
        return written.getvalue()


def parameters(
    trex: Trex,
    ports: Sequence[MemifPort | NicPort],
    flows: Sequence[Flow],
    *,
    prefix: str,
    cpu: int | None,
    ring_size: int,
    where: str,
) -> Parameters:
    """For a lab's ports; `cpu` is the one left for the generator; `where`, the lab's section.

    `ring_size` are the frames that a memif port queues in each direction. Raises InputError for
    ports that TRex cannot have.
    """
    interfaces = tuple(
        _interface(number, port, ring_size, where) for number, port in enumerate(ports)
    )
    macs = tuple((flow.dst_mac, flow.src_mac) for flow in flows)
    memif = any(isinstance(port, MemifPort) for port in ports)
    if len(interfaces) % 2:
        if memif:
            raise InputError(f"{where}: TRex wants an even number of ports, not {len(interfaces)}")
        # Its ports come in pairs; beside a single card, this one is none.
        interfaces, macs = (*interfaces, "dummy"), (*macs, macs[-1][::-1])
    low_end = memif if trex.low_end is None else trex.low_end
    lcores = tuple(trex.lcores) or ((cpu,) if low_end and cpu is not None else ())
    needed = 1 if low_end else 2 + trex.cores * (len(interfaces) // 2)
    if lcores and len(lcores) != needed:
        raise InputError(
            f"{where}: `lcores` wants {needed} CPUs here, not {len(lcores)}: "
            + ("one, with low end" if low_end else "for control, for latency, and those that send")
        )
    return Parameters(
        interfaces=interfaces,
        macs=macs,
        sync_port=trex.sync_port,
        async_port=trex.async_port,
        prefix=prefix,
        memory_mb=trex.memory_mb,
        low_end=low_end,
        cores=trex.cores,
        lcores=lcores,
        bandwidth_gbps=max(port.line_rate_bps for port in ports) / 1e9,
    )


def argv(path: str, configuration: str, *, memif: bool, more: Sequence[str] = ()) -> list[str]:
    """The server's command line; it must be run from its own folder.

    `--iom 0` keeps its screen of counters away, `--no-scapy-server` a second server.
    """
    words = ["env", "-C", path, f"./{PROGRAM}", "-i", "--cfg", configuration, "--iom", "0"]
    words += ["--no-scapy-server"]
    if memif:
        words += ["--software"]  # a memif port has no filters
    return [*words, *(word for word in more if word not in words)]


def preflight(host: Host, path: str | None, where: str) -> str:
    """The folder of the release. Raises InputError for what the lab or the host lacks."""
    if path is None:
        raise InputError(
            f"{where}: name the folder of a TRex release on {host.name} as `trex.path`, or say "
            "`server: running` to use a server that runs"
        )
    if not host.exists(f"{path}/{PROGRAM}"):
        raise InputError(f"{where}: {host.name} has no {path}/{PROGRAM}")
    if not host.is_root():
        raise HostError(f"{host.name}: {PROGRAM} needs root")
    return path


@contextlib.contextmanager
def started(
    host: Host, path: str, wanted: Parameters, more: Sequence[str] = ()
) -> Iterator[Process]:
    """The server, beginning to start; it ends, and its files go, with the block.

    Whether it is ready, its sockets tell; see `driver`.
    """
    configuration = f"{host.scratch}/trex_cfg.yaml"
    memif = any("net_memif" in one for one in wanted.interfaces)
    with contextlib.ExitStack() as stack:
        stack.enter_context(prepared(host, wanted.interfaces))
        stack.enter_context(host.changing(Change("made", configuration)))
        stack.enter_context(host.changing(Change("made", f"/var/run/dpdk/{wanted.prefix}")))
        host.write_text(configuration, wanted.text())
        command = argv(path, configuration, memif=memif, more=more)
        why = "the traffic generator's server"
        yield stack.enter_context(host.spawn(command, name=PROGRAM, why=why))


def last_words(server: Process) -> str:
    """Why a server ended: if it aborted, the one line that says so, or else its last output.

    What follows such a line are addresses: which function called which, and what addr2line
    made of each (`??:0`).
    """
    output = server.tail(_ABORT_LINES)
    cause, aborted, _ = output.partition(_TRACEBACK)
    if aborted and (said := cause.strip()):
        return said.splitlines()[-1].strip()
    return server.tail()


@contextlib.contextmanager
def prepared(host: Host, interfaces: Sequence[str]) -> Iterator[None]:
    """Interfaces of Linux are up and silent; all is as before at the end.

    So is what TRex's scripts change for cards: drivers and hugepages. Raises InputError for a
    card or an interface that is not there, HostError for one that keeps the host reachable.
    """
    cards = [one for one in interfaces if re.fullmatch(BDF, one)]
    names = [name for one in interfaces for _, found, name in [one.partition("iface=")] if found]
    with contextlib.ExitStack() as stack:
        for name in names:
            interface.find(host, "", name, f"`generator: {name}`")
        interface.refuse_management(host, "", names)
        for name in names:
            stack.enter_context(interface.prepared(host, "", name))
        for bdf in cards:
            device = f"{knobs.SYS}/bus/pci/devices/{bdf}"
            if not host.exists(device):
                raise InputError(f"{host.name} has no PCI device {bdf} for TRex")
            nics.refuse_management(host, bdf)
            link = f"{device}/driver"
            driver = PurePosixPath(host.read_link(link)).name if host.exists(link) else ""
            stack.enter_context(host.changing(Change("bound", bdf, driver)))
        for knob in host.glob(f"{knobs.SYS}/{_HUGEPAGES}") if cards else ():
            stack.enter_context(host.changing(Change("rewrote", knob, host.read_text(knob))))
        yield


def _interface(number: int, port: MemifPort | NicPort, ring_size: int, where: str) -> str:
    if isinstance(port, MemifPort):
        if port.also:
            raise InputError(f"{where}: a TRex port cannot flood to several memif sockets")
        options = f"role=slave,id=0,socket-abstract=no,socket={port.socket}"
        options += f",rsize={ring_size.bit_length() - 1}"  # as a power of two
        return f"--vdev=net_memif{number},{options}"
    if re.fullmatch(BDF, port.generator):
        return port.generator
    if port.generator:
        return f"--vdev=net_af_packet{number},iface={port.generator}"
    raise InputError(
        f"{where}: which of TRex's ports {port.name} is wired to is not known: write its PCI "
        "address or interface as `generator:` of the port"
    )
