"""testpmd on the two VFs of a split port, and the generator at its wire."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_vswitch.apps.testpmd import PROMPT
from pytest_vswitch.errors import DutError

if TYPE_CHECKING:
    from tests.emulated.bifurcated import Host


def packed(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


class Testpmd:
    """testpmd on the two VFs, forwarding from one to the other; the host's `Process`."""

    __test__ = False

    def __init__(self, host: Host, argv: list[str], name: str) -> None:
        options = dict(word.partition("=")[::2] for word in argv if word.startswith("--"))
        assert options["--forward-mode"] == "mac"
        assert options["--portlist"] == "0,1"
        peers = [word.partition(",")[2] for word in argv if word.startswith("--eth-peer=")]
        self.peers = [packed(peer) for peer in peers]
        self.queues = int(options["--rxq"])
        self.name = name
        self.host = host
        self.running = False
        self.ended: int | None = None
        self.rx = [0, 0]
        self.tx = [0, 0]
        self.streams: dict[tuple[int, int], int] = {}
        self._output = f"EAL: RTE Version: 'DPDK 22.11.11'\n{PROMPT}"

    pid = 4711

    def receive(self, frame: bytes, vf: int, queue: int) -> list[bytes]:
        self.count(vf)
        if not self.running or queue >= self.queues:
            return []
        self.take(vf, queue)
        return self.forward(frame, vf)

    def count(self, vf: int) -> None:
        self.rx[vf] += 1

    def take(self, vf: int, queue: int) -> None:
        self.streams[vf, queue] = self.streams.get((vf, queue), 0) + 1

    def forward(self, frame: bytes, vf: int) -> list[bytes]:
        """`mac`: to the peer of the other port, from that port's address."""
        other = 1 - vf
        self.tx[other] += 1
        return [self.peers[other] + self.host.vf_macs[other] + frame[12:]]

    def write(self, text: str, *, why: str = "") -> None:
        del why
        for line in text.splitlines():
            self.host.on_step(f"tell {line}")
            self._output += f"{line}\n{self._answer(line)}{PROMPT}"

    def _answer(self, line: str) -> str:
        if line == "start":
            self.running = True
            return "mac packet forwarding - ports=2 - cores=1\n"
        if line == "show port stats all":
            return "".join(
                f"\n  {24 * '#'} NIC statistics for port {n}  {24 * '#'}\n"
                f"  RX-packets: {self.rx[n]:<10} RX-missed: 0          RX-bytes:  0\n"
                "  RX-errors: 0\n  RX-nombuf:  0         \n"
                f"  TX-packets: {self.tx[n]:<10} TX-errors: 0          TX-bytes:  0\n\n"
                f"  Throughput (since last show)\n  {76 * '#'}\n"
                for n in (0, 1)
            )
        if line == "show fwd stats all":
            streams = "".join(
                f"\n  ------- Forward Stats for RX Port={vf:2}/Queue={queue:2} -> "
                f"TX Port={1 - vf:2}/Queue={queue:2} -------\n"
                f"  RX-packets: {n:<14} TX-packets: {n:<14} TX-dropped: 0             \n"
                for (vf, queue), n in sorted(self.streams.items())
            )
            bar = 22 * "-"
            return streams + "".join(
                f"\n  {bar} Forward statistics for port {n}  {bar}\n"
                f"  RX-packets: {self.rx[n]:<14} RX-dropped: 0             RX-total: 0\n"
                f"  TX-packets: {self.tx[n]:<14} TX-dropped: 0             TX-total: 0\n"
                f"  {76 * '-'}\n"
                for n in (0, 1)
            )
        return "Command not found\n"

    def read_until(self, pattern: re.Pattern[str], *, timeout_s: float, what: str) -> str:
        if not (found := pattern.search(self._output)):
            raise DutError(f"{self.name}: no {what} within {timeout_s:g} s: {self._output}")
        text, self._output = self._output[: found.end()], self._output[found.end() :]
        return text

    def status(self, *, within_s: float = 0.0) -> int | None:
        del within_s
        return self.ended

    def signal(self, number: int) -> None:
        self.ended = -number

    def pin(self, thread: str, cpu: int, *, why: str = "") -> None: ...

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self._output.splitlines()[-lines:])

    def __enter__(self) -> Testpmd:
        return self

    def __exit__(self, *_: object) -> None:
        self.ended = 0
        self.host.testpmd = None


class Generator:
    """The other end of the wire; see `traffic.generator.Generator`."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def exchange(
        self, frames: Mapping[int, Sequence[bytes]], *, wait_s: float
    ) -> Mapping[int, list[bytes]]:
        del wait_s
        return {0: [out for frame in frames[0] for out in self.host.receive(frame)]}
