"""TRex as a lab's traffic generator."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pytest_vswitch.errors import HostError, InputError, VswitchError
from pytest_vswitch.hosts.host import Host, Process
from pytest_vswitch.hosts.open_host import OpenHost
from pytest_vswitch.hosts.opening import open_address
from pytest_vswitch.lab.address import LOCAL, is_remote
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.lab.trex import Trex
from pytest_vswitch.topologies.topology import Flow, MemifPort, NicPort
from pytest_vswitch.traffic.generator import DirectionCounts, Latency, Offer
from pytest_vswitch.traffic.profile import Capabilities
from pytest_vswitch.traffic.trex import client, server, streams
from pytest_vswitch.traffic.trex.tunnel import tunnel
from pytest_vswitch.traffic.worker_process import Silent, WorkerProcess, portions

_LOOPBACK = "127.0.0.1"
_REPLY_S = 60.0
"""Beyond the time that a command itself may take; a server that is gone is noticed sooner."""
_LOOK_S = 1.0
"""How often it is looked whether the server's process still runs [s]."""
NAME = "trex generator"


class Attachable(Protocol):
    """What TRex asks of a topology."""

    @property
    def ports(self) -> Sequence[MemifPort | NicPort]: ...
    @property
    def generator_cpu(self) -> int | None: ...
    def peer(self, port: int) -> int: ...
    def flow(self, port: int) -> Flow: ...


class TrexGenerator:
    """Sends and counts frames on TRex ports, through the official client in our worker.

    Use it as a context manager: on entering, the client connects and takes the ports; on
    leaving, it gives them back. `path` is the client, `address` (name, port of requests, port
    of events) its server; `process` is that server, if we started it. `place` tells readers
    where it is.

    Raises HostError when the server does not answer, refuses, dies, or has its ports taken,
    and DutError when a port has no link.
    """

    simulated = False

    def __init__(
        self,
        here: Host,
        path: Path,
        address: tuple[str, int, int],
        topology: Attachable,
        trex: Trex,
        *,
        place: str,
        process: Process | None = None,
    ) -> None:
        self._path = path
        self._address = address
        self._topology = topology
        self._trex = trex
        self._place = place
        self._server = process
        argv = here.python("pytest_vswitch.traffic.trex.worker")
        self._worker = WorkerProcess(here, NAME, argv, watch=self._check_server)
        self._numbers: list[int] = []
        self._memif = isinstance(topology.ports[0], MemifPort)
        self._versions = ""

    @property
    def description(self) -> str:
        return f"TRex {self._versions} on {self._place}"

    @property
    def capabilities(self) -> Capabilities:
        return streams.capabilities(memif=self._memif)

    @property
    def pid(self) -> int:
        """Of the worker."""
        return self._worker.pid

    def __enter__(self) -> TrexGenerator:
        self._worker.__enter__()
        try:
            self._connect()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *error: Any) -> None:
        self._worker.__exit__(*error)

    def exchange(
        self, frames: Mapping[int, Sequence[bytes]], *, wait_s: float
    ) -> Mapping[int, list[bytes]]:
        """Send exact frames (without FCS), by port; return what came back, by port.

        Through the server's receiving core in service mode: exact, and slow. Ends as soon as
        as many frames have come back as were sent, or after `wait_s`.
        """
        self.abort()
        back: dict[int, list[bytes]] = {port: [] for port in range(len(self._numbers))}
        for portion in portions(frames):
            batch = {
                self._numbers[port]: [frame.hex() for frame in queue]
                for port, queue in portion.items()
            }
            self._worker.command(do="exchange", frames=batch, wait_s=wait_s)
            event = self._wait(wait_s + _REPLY_S, "exchanged")
            for number, queue in event["frames"].items():
                back[self._numbers.index(int(number))] += [bytes.fromhex(frame) for frame in queue]
        return back

    def start(self, offer: Offer) -> None:
        """Begin one trial; returns at once. Raises InputError for frames that cannot be."""
        self.abort()
        ports = range(len(self._numbers))
        total = round(offer.rate_pps * offer.duration_s)
        intended = [total * (n + 1) // len(ports) - total * n // len(ports) for n in ports]
        planned = [stream for port in ports for stream in self._plan(offer, port, intended[port])]
        self._worker.command(
            do="start",
            directions=[
                (self._numbers[port], self._numbers[self._topology.peer(port)]) for port in ports
            ],
            streams=[stream.told() for stream in planned],
            intended=intended,
            duration_s=offer.duration_s,
            # Of a memif port, the DUT empties the queue; of a card, the card does.
            refusing=self._memif,
        )
        self._worker.in_trial = True

    def poll(self, timeout_s: float) -> Sequence[DirectionCounts] | None:
        """Wait up to `timeout_s` for the trial's end: its counts, or None if it still runs."""
        try:
            event = self._wait(timeout_s, "counts")
        except Silent:
            return None
        self._worker.in_trial = False
        return self._counts(event)

    def finish(self) -> None:
        """Send no more; `poll` tells what became of the trial, `intended` is what was due."""
        if self._worker.in_trial:
            self._worker.command(do="finish")

    def recount(self) -> Sequence[DirectionCounts]:
        """Look for stragglers of the trial that ended; its counts by now."""
        self._worker.command(do="recount")
        return self._counts(self._wait(_REPLY_S, "counts"))

    def abort(self) -> None:
        """Stop sending at once; the trial's counts are thrown away."""
        if self._worker.in_trial:
            self._worker.in_trial = False
            self._worker.command(do="abort")
            self._wait(_REPLY_S, "aborted")

    def _plan(
        self, offer: Offer, port: int, share: int
    ) -> Sequence[streams.Stream | streams.Replay]:
        """What `port`, one of the topology's, sends of an offer: so many frames."""
        number, memif = self._numbers[port], self._memif
        if offer.profile.replay:
            return streams.plan_replay(offer, offer.profile.replay, number, share, memif=memif)
        line_rate_bps = self._topology.ports[port].line_rate_bps
        flow = self._topology.flow(port)
        return streams.plan(offer, flow, number, share, line_rate_bps, memif=memif)

    def _connect(self) -> None:
        name, sync_port, async_port = self._address
        wait_s = self._trex.start_timeout_s if self._server is not None else 0.0
        self._worker.command(
            do="connect",
            client=str(self._path),
            server=name,
            sync_port=sync_port,
            async_port=async_port,
            user=self._trex.user,
            force=self._trex.force,
            wait_s=wait_s,
        )
        told = self._wait(wait_s + _REPLY_S, "connected")
        self._versions = f"{told['version']} (scapy {told['scapy']}, pyzmq {told['zmq']})"
        self._numbers = numbers(self._topology.ports, told["ports"], self._trex.ports)
        self._worker.command(do="acquire", ports=self._numbers)
        self._wait(_REPLY_S, "acquired")

    def _wait(self, timeout_s: float, wanted: str) -> dict[str, Any]:
        """An event of the worker, while the server's process is watched."""
        left_s = timeout_s
        try:
            while True:
                self._check_server()
                try:
                    return self._worker.event(min(left_s, _LOOK_S), wanted)
                except Silent:
                    left_s -= _LOOK_S
                    if left_s <= 0:
                        raise
        except Silent:
            raise
        except VswitchError:
            self._worker.in_trial = False
            raise

    def _check_server(self) -> None:
        if self._server is None or (status := self._server.status()) is None:
            return
        self._worker.in_trial = False
        raise HostError(
            f"{NAME}: its server on {self._place} ended (exit status {status}); its last "
            f"output:\n{server.last_words(self._server)}"
        )

    def _counts(self, event: Mapping[str, Any]) -> list[DirectionCounts]:
        """By the topology's ports, not TRex's."""
        found = []
        for told in event["directions"]:
            latency = told["latency"]
            ours = {
                **told,
                "tx_port": self._numbers.index(told["tx_port"]),
                "rx_port": self._numbers.index(told["rx_port"]),
                "latency": None if latency is None else Latency(**latency),
                "silences": (),
                "announcements": (),
            }
            found.append(DirectionCounts(**ours))
        return found


def numbers(
    ports: Sequence[MemifPort | NicPort], there: Sequence[Mapping[str, str]], named: Sequence[int]
) -> list[int]:
    """TRex's number of each port: as the lab says, by PCI address, or in order of the numbers.

    A server lists them as it likes: v3.08 the last one first. Raises InputError when there are
    too few.
    """
    if named and len(named) < len(ports):
        raise InputError(
            f"`trex.ports` names {len(named)} ports, but the topology has {len(ports)}"
        )
    if named:
        return list(named[: len(ports)])
    if len(there) < len(ports):
        raise InputError(f"the TRex server has {len(there)} ports, the topology {len(ports)}")
    by_pci = {port["pci"]: int(port["number"]) for port in there if port["pci"]}
    found = [by_pci.get(port.generator) for port in ports if isinstance(port, NicPort)]
    known = [number for number in found if number is not None]
    if len(known) == len(ports):
        return known
    return sorted(int(port["number"]) for port in there)[: len(ports)]


@contextlib.contextmanager
def attach(lab: Lab, host: Host, topology: Attachable) -> Iterator[TrexGenerator]:
    """The lab's TRex on the topology's ports: `host` is where its server runs, or is started.

    Raises InputError for what the lab lacks, HostError and DutError as `TrexGenerator` does.
    """
    trex = lab.trex or Trex()
    where = lab.where("trex")
    if lab.generator.netns is not None:
        raise InputError(
            f"{lab.where('generator', 'netns')}: a TRex server is not put into a network "
            "namespace; take `netns` out"
        )
    # A plan starts nothing, on this machine neither.
    remote = is_remote(lab.generator.host or lab.dut.host) and isinstance(host, OpenHost)
    with contextlib.ExitStack() as stack:
        here: Host = stack.enter_context(open_address(LOCAL)) if remote else host
        path = client.find(host, trex.path, here=not remote, where=where)
        process, place = None, f"{host.name}, {_kind(topology)} ports"
        if trex.server == "start":
            wanted = _parameters(lab, trex, host, topology, where)
            release = server.preflight(host, trex.path, where)
            for port in (trex.sync_port, trex.async_port):
                _require_free(host, port, where)
            started = server.started(host, release, wanted, trex.arguments)
            process, place = stack.enter_context(started), f"{place}, {wanted.cpus}"
        sync_port, async_port = trex.sync_port, trex.async_port
        if remote:
            sync_port = stack.enter_context(tunnel(host, sync_port))
            async_port = stack.enter_context(tunnel(host, async_port))
        yield stack.enter_context(
            TrexGenerator(
                here,
                path,
                (_LOOPBACK, sync_port, async_port),
                topology,
                trex,
                place=place,
                process=process,
            )
        )


def _parameters(
    lab: Lab, trex: Trex, host: Host, topology: Attachable, where: str
) -> server.Parameters:
    on_dut = lab.generator.host in (None, lab.dut.host)
    cpu = topology.generator_cpu if on_dut else None
    return server.parameters(
        trex,
        topology.ports,
        [topology.flow(port) for port in range(len(topology.ports))],
        prefix=f"trex-{Path(host.scratch).name}",
        cpu=cpu if lab.generator.cpu is None else lab.generator.cpu,
        ring_size=lab.generator.ring_size,
        where=where,
    )


def _require_free(host: Host, port: int, where: str) -> None:
    """Raise HostError when somebody's server is there: it would be taken for ours."""
    try:
        host.connect(port).close()
    except HostError:
        return
    raise HostError(
        f"{where}: on {host.name}, TCP port {port} is taken, perhaps by a TRex server: say "
        "`server: running` to use that, or choose other ports for ours"
    )


def _kind(topology: Attachable) -> str:
    return "memif" if any(isinstance(port, MemifPort) for port in topology.ports) else "NIC"
