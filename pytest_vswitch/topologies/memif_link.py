"""testpmds with memif ports and nothing else, as in the memif guide's examples.

For what the options do: a chain shows how fast a link is, not which ring it negotiated.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_vswitch.apps import dpdk, memif
from pytest_vswitch.apps.testpmd import Parameters, Testpmd, parse_rx_bytes
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.host import Host, Process, end
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies import lcores

_MEMORY_MB: Final = 64
_MBUFS: Final = 4096
_LINES: Final = 200
"""As much of its output as is kept."""
_WAIT_S: Final = 20.0
"""For what takes milliseconds on an idle machine."""
_POLL_S: Final = 0.02
_NO_PORTS: Final = re.compile(r"EAL: Error - exiting")
"""What testpmd says, asked for queues of ports that there are not."""


@dataclass(frozen=True, slots=True)
class End:
    """A running testpmd at one or both ends of memif links."""

    process: Process
    testpmd: Testpmd

    @property
    def refusals(self) -> Sequence[str]:
        """What its driver said that it refused, or that it was refused; see `memif.refusals`."""
        return memif.refusals(self.process.tail(_LINES))

    def regions(self) -> int:
        """Regions of memory that it hands to its peer, as a client that says all."""
        self._wait(lambda: memif.connected(self.process.tail(_LINES)), "there is no connection")
        return memif.regions(self.process.tail(_LINES))

    def connected(self, port: int = 0) -> bool:
        return memif.parse_link(self.testpmd.command(f"show port info {port}"))

    def wait_until_connected(self, port: int = 0) -> None:
        """Raises DutError with what its driver said."""
        self._wait(lambda: self.connected(port), f"port {port} is not connected")

    def wait_until_disconnected(self, port: int = 0) -> None:
        """Raises DutError."""
        self._wait(lambda: not self.connected(port), f"port {port} is still connected")

    def wait_until_refused(self) -> Sequence[str]:
        """The refusals, as soon as there is one. Raises DutError."""
        self._wait(lambda: bool(self.refusals), "nothing was refused")
        return self.refusals

    def receive(self) -> None:
        """Count and drop what arrives, from now on."""
        self.testpmd.command("set fwd rxonly")
        self.testpmd.start()

    def stop(self) -> None:
        """Forward no more."""
        self.testpmd.command("stop")

    def received(self, frames: int, port: int = 0) -> int:
        """Frames that have arrived; waits until there are as many. Raises DutError."""

        def count() -> int:
            return self.testpmd.counters()[port].rx_packets

        self._wait(
            lambda: count() >= frames, f"fewer than {frames} frames have arrived at port {port}"
        )
        return count()

    def received_bytes(self, port: int = 0) -> int:
        """Without FCS."""
        return parse_rx_bytes(self.testpmd.command(f"show port stats {port}"))

    def send(self, frames: int, frame_bytes: int = 64, port: int = 0) -> None:
        """Send so many frames, FCS not counted in `frame_bytes`; at most 512."""
        for text in (
            f"set portlist {port}",
            "set fwd rxonly",
            f"set txpkts {frame_bytes}",
            f"set burst {frames}",
            "start tx_first 1",
            "stop",
        ):
            self.testpmd.command(text)

    def fill(self, frame_bytes: int = 64) -> int:
        """Send by port 0 until its ring takes no more; the frames that it took.

        Nobody may read at the other end. Raises DutError when it takes all.
        """
        before = self.testpmd.counters()[0].tx_packets
        self.testpmd.command("set fwd txonly")
        self.testpmd.command(f"set txpkts {frame_bytes}")
        self.testpmd.start()
        self._wait(
            lambda: self.testpmd.counters()[0].tx_dropped > 0, "the ring of port 0 is not full"
        )
        self.stop()
        return self.testpmd.counters()[0].tx_packets - before

    def reconnect(self, port: int = 0) -> None:
        """Connect again, after the server has gone: a client does not by itself (DPDK 22.11)."""
        self.testpmd.command(f"port stop {port}")
        self.testpmd.command(f"port start {port}")

    def kill(self) -> None:
        """SIGKILL; returns when it is gone. Raises DutError if it does not go."""
        end(self.process)

    def _wait(self, fact: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + _WAIT_S
        while not fact():
            if time.monotonic() > deadline:
                last = self.process.tail().replace("\n", "\n    ")
                raise DutError(
                    f"{self.process.name}: {otherwise} after {_WAIT_S:g} s; "
                    f"its last output:\n    {last}"
                )
            time.sleep(_POLL_S)


class Bench:
    """Where testpmds with memif ports are started."""

    def __init__(self, lab: Lab, host: Host) -> None:
        """Raises InputError without testpmd."""
        dpdk.require(lab, host, "dut")
        self.host = host
        self.socket = f"{host.scratch}/memif-link"
        """A path for the control socket of a link; nothing is there."""
        self._dpdk = dpdk.of_host(lab, host)

    def remove_socket(self) -> None:
        """As the guide says: what a dead server leaves is in the next one's way."""
        self.host.run(["rm", "--", self.socket])

    @contextlib.contextmanager
    def testpmd(
        self,
        name: str,
        *ports: memif.Options,
        single_file_segments: bool = False,
        tell_all: bool = False,
    ) -> Iterator[End]:
        """A testpmd with these ports, not forwarding. Raises DutError.

        With `tell_all` (see `memif.TELL_ALL`), ask for `regions` or `wait_until_refused` first.
        What it leaves behind when it is killed is removed: its sockets, too.
        """
        with self._spawned(name, ports, single_file_segments, tell_all) as process:
            yield End(process, Testpmd(process))

    def refusals(self, name: str, *ports: memif.Options) -> Sequence[str]:
        """What the driver says of ports that it does not make. Raises DutError if it does."""
        with self._spawned(name, ports) as process:
            process.read_until(_NO_PORTS, timeout_s=_WAIT_S, what="the end of testpmd")
            return memif.refusals(process.tail(_LINES))

    @contextlib.contextmanager
    def _spawned(
        self,
        name: str,
        ports: Sequence[memif.Options],
        single_file_segments: bool = False,
        tell_all: bool = False,
    ) -> Iterator[Process]:
        cpus = ",".join(map(str, lcores.available(self.host)))
        parameters = Parameters(
            lcores=f"0@({cpus}),1@({cpus})",
            memory_mb=_MEMORY_MB,
            file_prefix=f"vswitch-{self.host.scratch.rpartition('/')[2]}-{name}",
            # Its memory can be shared all the same, and none has to be reserved.
            hugepages=False,
            single_file_segments=single_file_segments,
            vdevs=[options.device(number) for number, options in enumerate(ports)],
            forward_mode="io",
            mbufs=_MBUFS,
            log_level=memif.TELL_ALL if tell_all else "",
        )
        made = [f"/var/run/dpdk/{parameters.file_prefix}"]
        made += [port.socket for port in ports if port.role == "server" and not port.abstract]
        with contextlib.ExitStack() as stack:
            for path in dict.fromkeys(made):
                if not self.host.exists(path):  # a second server does not own the socket
                    stack.enter_context(self.host.changing(Change("made", path)))
            yield stack.enter_context(
                self.host.spawn(
                    parameters.argv(self._dpdk), name=f"memif {name}", stop_with="quit\n"
                )
            )
