"""testpmd behind two memif links, as their client, swapping MAC addresses.

A process of its own on the host: no virtual machine and no container. The vSwitch serves; the
client makes the rings and brings the memory for the frames.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pytest_vswitch.apps import dpdk, memif, testpmd
from pytest_vswitch.errors import DutError, InputError
from pytest_vswitch.hosts.host import Host, Process, check_runs, end
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies import lcores, macswap
from pytest_vswitch.topologies.counts import PortCounts
from pytest_vswitch.topologies.endpoints import EndpointFacts, Place
from pytest_vswitch.topologies.topology import Flow
from pytest_vswitch.topologies.vswitches import VhostPort

_MEMORY_MB = 256
_LINK_S = 5.0
"""For what takes milliseconds on an idle machine."""
_POLL_S = 0.02
_LINES = 200
"""Of its output: as many as are kept."""


class Peer:
    """A running one; see `endpoints.Endpoint`."""

    where = "host"

    def __init__(
        self,
        start: Callable[[], tuple[Process, testpmd.Testpmd]],
        command: Sequence[str],
        place: Place,
    ) -> None:
        """`start` starts the program, forwarding; for as long as this is used."""
        self._start = start
        self.process, self.forwarder = start()
        self._dropped: dict[int, int] = {}
        self._command = tuple(command)
        self._place = place
        self._connected = False

    @property
    def name(self) -> str:
        return self.process.name

    @property
    def whole(self) -> str:
        return f"{self.name} process"

    @property
    def facts(self) -> EndpointFacts:
        return EndpointFacts(
            versions={"peer dpdk": self.forwarder.version},
            virtio_features="",
            accelerator="none",
            remarks=(),
            commands=((self.name, self._command),),
        )

    def counts(self) -> tuple[PortCounts, PortCounts]:
        return macswap.counts(self.forwarder, self._dropped)

    def restart(self) -> None:
        macswap.restart(self.forwarder, self._dropped)

    def respawn(self) -> None:
        end(self.process)
        self.process, self.forwarder = self._start()
        self._dropped.clear()
        self._connected = False
        self.check_alive()

    def transform(self, frame: bytes, entered: int) -> bytes:
        del entered
        return macswap.transform(frame)

    def flow(self, entered: int, plain: Flow) -> Flow:
        del entered
        return plain

    def check_alive(self) -> None:
        check_runs(self.process)
        if not self._connected:  # asked once: a link that goes down later takes a program with it
            for number, port in enumerate(self._place.vhosts):
                self._check_connected(number, port)
            self._connected = True

    def _check_connected(self, number: int, port: VhostPort) -> None:
        deadline = time.monotonic() + _LINK_S
        while not memif.parse_link(self.forwarder.command(f"show port info {number}")):
            if time.monotonic() > deadline:
                words = "; ".join(self._refusals(number)) or "it says nothing"
                raise DutError(
                    f"{self.name} has no connection to {port.name}, {port.socket}: {words}"
                )
            time.sleep(_POLL_S)

    def _refusals(self, number: int) -> Sequence[str]:
        """What it says of another try, or nothing."""
        for text in ("stop", memif.TELL_ALL_NOW, f"port stop {number}", f"port start {number}"):
            self.forwarder.command(text)
        deadline = time.monotonic() + _LINK_S
        while not (words := memif.refusals(self.process.tail(_LINES))):
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)
        return words


@dataclass(frozen=True, slots=True)
class Kind:
    """See `endpoints.Kind`."""

    zero_copy: bool
    """Whether the client shares its mbufs, in place of copying frames to shared buffers."""
    WHERE: Literal["peer"] = "peer"
    MAX_MTU: int = 1500

    def preflight(self, lab: Lab, host: Host) -> None:
        """Raise InputError when the peer's testpmd is not there, or would lack queues."""
        if lab.guest.queues > 1:
            raise InputError(
                f"{lab.where('guest', 'queues')}: a memif peer has one queue of each port; take "
                "`queues` out"
            )
        dpdk.require(lab, host, "guest")

    def vcpus(self, lab: Lab) -> int:
        """A main lcore and a forwarding one, as in the guide's examples (`-l 2-3`)."""
        del lab
        return 2

    def memory_mb(self, lab: Lab) -> int:
        del lab
        return _MEMORY_MB

    @contextlib.contextmanager
    def start(self, lab: Lab, host: Host, place: Place) -> Iterator[Peer]:
        """Raises HostError, DutError."""
        run = host.scratch.rpartition("/")[2]
        parameters = testpmd.Parameters(
            lcores=_lcores(place, host),
            memory_mb=_MEMORY_MB,
            file_prefix=f"vswitch-{run}-peer{place.suffix.replace(' ', '-')}",
            hugepages=place.pages.size_kb is not None,
            single_file_segments=self.zero_copy,
            vdevs=[
                memif.Options(
                    role="client",
                    socket=port.socket,
                    mac=place.mac(index),
                    zero_copy=self.zero_copy,
                ).device(index)
                for index, port in enumerate(place.vhosts)
            ],
            forward_mode="macswap",
            port_topology="chained",
            forwarding_cores=place.vcpus - 1,
            # A zero-copy client keeps a ring's worth of them in each ring.
            mbufs=16384,
        )
        argv = parameters.argv(dpdk.of_peer(lab, host))
        with contextlib.ExitStack() as stack:
            # Without hugepages EAL leaves its files behind.
            stack.enter_context(
                host.changing(Change("made", f"/var/run/dpdk/{parameters.file_prefix}"))
            )

            def begin() -> tuple[Process, testpmd.Testpmd]:
                process = stack.enter_context(
                    host.spawn(
                        argv,
                        name=f"peer{place.suffix} testpmd",
                        stop_with="quit\n",
                        why="the memif client of both links (memif guide, `Example: testpmd`)",
                    )
                )
                forwarder = testpmd.Testpmd(process)
                forwarder.start()
                return process, forwarder

            yield Peer(begin, argv, place)


COPYING: Final = Kind(zero_copy=False)
ZERO_COPY: Final = Kind(zero_copy=True)


def _lcores(place: Place, host: Host) -> str:
    """For EAL's `--lcores`; lcore 0 is the main one."""
    if place.cpus:
        return ",".join(f"{lcore}@{cpu}" for lcore, cpu in enumerate(place.cpus))
    spread = ",".join(map(str, lcores.available(host)))
    return f"0@({spread}),1@({spread})"
