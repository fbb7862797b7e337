"""Two kernels that talk through an exception path: for ping, iperf3 and TCP (guide, chapter 7).

testpmd forwards between two ports to the kernel, whose interfaces are in two network
namespaces, as if they were on two machines:

    client: 10.7.0.1 -- tap0 -- virtio_user0 -- testpmd -- virtio_user1 -- tap1 -- 10.7.0.2 :server
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_vswitch.apps import dpdk, iperf3, ping
from pytest_vswitch.apps.testpmd import Parameters, PortCounters, Testpmd
from pytest_vswitch.errors import DutError, HostError, InputError
from pytest_vswitch.hosts import hugepages, netns
from pytest_vswitch.hosts.host import Host, Process, check_runs
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies import exception_ways, lcores
from pytest_vswitch.topologies.exception_ways import Interface, Way
from pytest_vswitch.topologies.ports import require_programs
from pytest_vswitch.topologies.topology import Hop

_ENDS: Final = ("client", "server")
_ADDRESSES: Final = ("10.7.0.1", "10.7.0.2")
_TESTPMD: Final = "host testpmd"
_SERVER: Final = "iperf3 server"
_MORE_S: Final = 15.0
"""After the end of a transfer, when it is given up."""

_RX_OFFLOADS: Final = 0x201C
"""UDP_CKSUM, TCP_CKSUM, TCP_LRO, SCATTER (rte_ethdev.h): what is left of the guide's
`--enable-lro --enable-rx-cksum`, which ask virtio for IPV4_CKSUM, too (refused by DPDK 22.11)."""
_TX_OFFLOADS: Final = 0x8028
"""TCP_CKSUM, TCP_TSO, MULTI_SEGS: what comes in unfinished is finished by the kernel again."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What is compared."""

    way: Way
    queues: int = 1
    """Of each port to the kernel."""
    offloads: bool = False
    """Segments of up to 64 KiB, checksums left open (virtio: GUEST_TSO4, GUEST_CSUM)."""
    queue_size: int = 1024
    """Of virtio-user [descriptors]."""
    forward_mode: str = ""
    """For faults on purpose; empty: `csum` with offloads, which asks for them at the other
    port, `io` without."""

    @property
    def words(self) -> Mapping[str, str]:
        return {
            "way": self.way.name,
            "queues": str(self.queues),
            "offloads": "on" if self.offloads else "off",
        }


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counters of both kernels and of testpmd."""

    kernels: tuple[Mapping[str, int], Mapping[str, int]]
    """Of each interface: `rx`, `tx`, `rx dropped`, `tx dropped` [frames]; and of its kernel's
    TCP: `bad checksums` [segments]."""
    ports: Mapping[int, PortCounters]
    queues: tuple[Mapping[int, int], Mapping[int, int]]
    """Frames that testpmd received, by queue, of each port."""


class Link:
    """A running one."""

    def __init__(
        self,
        host: Host,
        setup: Setup,
        process: Process,
        testpmd: Testpmd,
        interfaces: Sequence[Interface],
    ) -> None:
        self.setup = setup
        self.interfaces = interfaces
        self.testpmd = testpmd
        self.process = process
        self._host = host

    def ping(self, parameters: ping.Parameters | None = None) -> ping.Answers:
        """From the client's kernel to the server's. Raises DutError."""
        chosen = parameters or ping.Parameters(_ADDRESSES[1])
        answer = self._at(0, chosen.argv(), timeout_s=chosen.deadline_s + _MORE_S)
        return ping.parse(answer)

    @contextlib.contextmanager
    def server(self) -> Iterator[Process]:
        """iperf3 in the server's namespace, where nobody else reaches it. Raises DutError."""
        argv = [
            *netns.command(self.interfaces[1].namespace),
            *("stdbuf", "-oL"),
            *iperf3.Server(_ADDRESSES[1]).argv(),
        ]
        why = "listens in the run's own namespace only"
        with self._host.spawn(argv, name=_SERVER, why=why) as server:
            listens = re.compile(iperf3.LISTENS)
            server.read_until(listens, timeout_s=_MORE_S, what="a listening server")
            yield server

    def transfer(self, server: Process, client: iperf3.Client | None = None) -> iperf3.Transfer:
        """TCP from the client's kernel to the server's. Raises DutError."""
        chosen = client or iperf3.Client(_ADDRESSES[1])
        try:
            output = self._at(0, chosen.argv(), timeout_s=chosen.duration_s + _MORE_S)
            self._check(server)
            return iperf3.parse(output)
        except DutError:
            self._check(server)
            raise

    def client(self, duration_s: int, streams: int = 1) -> iperf3.Client:
        return iperf3.Client(_ADDRESSES[1], duration_s, streams)

    def snapshot(self) -> Snapshot:
        """Raises DutError."""
        first, second = (self._kernel(index) for index in (0, 1))
        xstats = self.testpmd.command("show port xstats all")
        return Snapshot((first, second), self.testpmd.counters(), parse_queues(xstats))

    def path(self, sender: int, before: Snapshot, after: Snapshot) -> Sequence[Hop]:
        """From one kernel (0: client, 1: server) to the other."""
        way, other = self.setup.way, 1 - sender
        came = after.ports[sender].rx_packets - before.ports[sender].rx_packets
        went = after.ports[other].tx_packets - before.ports[other].tx_packets
        dropped = after.ports[other].tx_dropped - before.ports[other].tx_dropped

        def since(end: int, word: str) -> int:
            return after.kernels[end][word] - before.kernels[end][word]

        inner = [f"{way.inner}{index}" for index in (0, 1)]
        outer = [f"{way.outer}{index}" for index in (0, 1)]
        sent, lost = since(sender, "tx"), since(sender, "tx dropped")
        return (
            Hop(f"kernel: {inner[sender]}", sent + lost, sent, {"tx dropped": lost}),
            Hop(f"{inner[sender]} -> {outer[sender]}", sent, came),
            Hop(
                f"{_TESTPMD}: {outer[sender]} -> {outer[other]}",
                came,
                went,
                {"TX-dropped": dropped},
            ),
            Hop(
                f"{outer[other]} -> {inner[other]}",
                went,
                since(other, "rx"),
                {"rx dropped": since(other, "rx dropped")},
            ),
        )

    def check_alive(self) -> None:
        """Raise DutError when testpmd is gone or an interface is down."""
        check_runs(self.process)
        for end in self.interfaces:
            path = f"/sys/class/net/{end.name}/flags"
            try:
                flags = int(netns.read(self._host, end.namespace, path), 16)
            except HostError:
                # Its interfaces go before a program that is killed does.
                check_runs(self.process, within_s=5.0)
                raise DutError(f"kernel: its interface {end.name} is gone") from None
            if not flags & 1:
                raise DutError(f"kernel: its interface {end.name} is down; it was up at first")

    def _check(self, server: Process) -> None:
        self.check_alive()
        check_runs(server)

    def _at(self, end: int, argv: Sequence[str], *, timeout_s: float) -> str:
        try:
            return self._host.run(
                [*netns.command(self.interfaces[end].namespace), *argv],
                timeout_s=timeout_s,
                check=False,
            ).output
        except HostError as error:
            self.check_alive()
            raise DutError(str(error)) from None

    def _kernel(self, end: int) -> Mapping[str, int]:
        place = self.interfaces[end]
        try:
            argv = ["ip", "-n", place.namespace, "-s", "-j", "link", "show", "dev", place.name]
            link = json.loads(self._host.ask(argv).output)[0]["stats64"]
            snmp = netns.read(self._host, place.namespace, "/proc/net/snmp")
        except (HostError, ValueError, LookupError) as error:
            self.check_alive()
            raise DutError(f"kernel: no counters of {place.name}: {error}") from None
        return {
            "rx": int(link["rx"]["packets"]),
            "tx": int(link["tx"]["packets"]),
            "rx dropped": int(link["rx"]["dropped"]),
            "tx dropped": int(link["tx"]["dropped"]),
            "bad checksums": _tcp(snmp, "InCsumErrors"),
        }


def preflight(setup: Setup, lab: Lab, host: Host) -> None:
    """Raise NotHere without vhost-net, InputError for what else is missing."""
    exception_ways.preflight(setup.way, host)
    if setup.offloads and setup.way is not exception_ways.VIRTIO_USER:
        raise InputError(f"the {setup.way.what} has no offloads towards the kernel")
    dpdk.require(lab, host, "dut")
    needed = [("iperf3", "iperf3", ""), ("ping", "iputils-ping", ""), ("ethtool", "ethtool", "")]
    require_programs(host, needed)


@contextlib.contextmanager
def linked(lab: Lab, host: Host, setup: Setup) -> Iterator[Link]:
    """Wire and start it; everything ends with the block.

    Raises InputError, HostError; DutError, with its last words, when testpmd does not come up.
    """
    preflight(setup, lab, host)
    way, cores = setup.way, lcores.plan_for(lab, host, [])
    virtio = way is exception_ways.VIRTIO_USER
    with contextlib.ExitStack() as stack:
        pages = stack.enter_context(
            hugepages.reserve(host, lab.dut.hugepages, (lab.dut.memory_mb,))
        )
        near = [stack.enter_context(exception_ways.near_side(host, name)) for name in _ENDS]
        far = stack.enter_context(exception_ways.far_side(host, way, len(_ENDS)))
        options = []
        if setup.offloads:
            options = [f"--rx-offloads={_RX_OFFLOADS:#x}"]
            if setup.forward_mode != "io":
                options.append(f"--tx-offloads={_TX_OFFLOADS:#x}")
        parameters = Parameters(
            lcores=cores.host_lcores,
            memory_mb=lab.dut.memory_mb,
            file_prefix=f"vswitch-{exception_ways.run_name(host)}",
            hugepages=pages.size_kb is not None,
            vdevs=[
                way.device(index, queues=setup.queues, queue_size=setup.queue_size)
                for index in range(len(_ENDS))
            ],
            forward_mode="csum" if setup.offloads and setup.forward_mode != "io" else "io",
            forwarding_cores=cores.host_forwarding,
            queues=setup.queues,
            descriptors=setup.queue_size if virtio else None,
            options=options,
        )
        left = Change("made", f"/var/run/dpdk/{parameters.file_prefix}")
        stack.enter_context(host.changing(left))
        process = stack.enter_context(
            host.spawn(
                [*netns.command(far), *parameters.argv(dpdk.of_host(lab, host))],
                name=_TESTPMD,
                stop_with="quit\n",
                why=f"between two ports to the kernel: {way.what} (guide, 7.1)",
            )
        )
        testpmd = Testpmd(process)
        if parameters.forward_mode == "csum":
            for port in (0, 1):
                testpmd.command(f"csum mac-swap off {port}")
                testpmd.command(f"tso set 1448 {port}")
        interfaces = [
            Interface(
                f"{way.inner}{index}", exception_ways.mac(index), near[index], f"{address}/24"
            )
            for index, address in enumerate(_ADDRESSES)
        ]
        exception_ways.plug(host, far, interfaces)
        if way is exception_ways.AF_PACKET and setup.forward_mode != "io":
            for end in interfaces:
                host.run(
                    [*netns.command(end.namespace), "ethtool", "-K", end.name, "tx", "off"],
                    why="a packet socket passes on no open checksum: the kernel is to fill it in",
                )
        testpmd.start()
        yield Link(host, setup, process, testpmd, interfaces)


# --- facts --------------------------------------------------------------------------------

_PORT = re.compile(r"NIC extended statistics for port (\d+)(.*?)(?=NIC extended|\Z)", re.DOTALL)
_QUEUE = re.compile(r"^rx_q(\d+)_(?:good_)?packets: (\d+)", re.MULTILINE)


def parse_queues(output: str) -> tuple[Mapping[int, int], Mapping[int, int]]:
    """Frames received by queue, of ports 0 and 1, from `show port xstats all`.

    Raises DutError when the output is not of that form.
    """
    found = {
        int(port): {int(queue): int(count) for queue, count in _QUEUE.findall(text)}
        for port, text in _PORT.findall(output)
    }
    if not (found.get(0) and found.get(1)):
        raise DutError(f"testpmd printed no queues of two ports:\n{output}")
    return found[0], found[1]


def _tcp(snmp: str, word: str) -> int:
    """A counter of /proc/net/snmp. Raises LookupError, ValueError."""
    names, values = (line.split() for line in snmp.splitlines() if line.startswith("Tcp:"))
    return int(values[names.index(word)])
