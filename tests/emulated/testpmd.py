"""testpmd on an emulated NIC: the process, its console, and what it does with frames."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_vswitch.apps.testpmd import PROMPT
from pytest_vswitch.errors import DutError
from tests.emulated import language
from tests.emulated.nic import PF, Delivery, tagged

if TYPE_CHECKING:
    from tests.emulated.dut import Dut


@dataclass(slots=True)
class Testpmd:
    """A running testpmd with one port: the PF's, or a VF's. It is the host's `Process`, too."""

    __test__ = False

    dut: Dut
    number: int
    """Its function."""
    argv: list[str]
    name: str = "testpmd"
    version: str = "22.11.11"
    ended: int | None = None
    mode: str = "io"
    running: bool = False
    started: bool = True
    """Whether its port is."""
    queues: int = 1
    vlan: int = 0
    """Inserted into what it sends."""
    filters_vlans: bool = False
    groups: set[bytes] = field(default_factory=set)
    """Multicast addresses that it was told."""
    sent_by_queue: dict[int, int] = field(default_factory=dict)
    _output: str = ""

    def __post_init__(self) -> None:
        options = dict(word.partition("=")[::2] for word in self.argv if word.startswith("--"))
        self.mode = options.get("--forward-mode", "io")
        self.queues = int(options.get("--rxq", "1"))
        if self.number != PF:
            self.dut.start_driver(self.number, int(options.get("--rxd", "512")))
        self._output = (
            f"EAL: RTE Version: 'DPDK {self.version}'\nPort 0: {self.mac}\n"
            f"Checking link statuses...\nDone\n{PROMPT}"
        )

    @property
    def mac_bytes(self) -> bytes:
        return self.dut.known_mac(self.number)

    @property
    def mac(self) -> str:
        return ":".join(f"{byte:02X}" for byte in self.mac_bytes)

    @property
    def words(self) -> tuple[int, int]:
        year, month = self.version.split(".")[:2]
        return int(year), int(month)

    # --- the process ---

    @property
    def pid(self) -> int:
        return 4000 + self.number

    def write(self, text: str, *, why: str = "") -> None:
        del why
        if self.ended is not None:
            raise DutError(f"{self.name} no longer takes input")
        for line in text.splitlines():
            self.dut.said.append(line)
            fault = self.dut.fault(len(self.dut.said))
            if fault == "dies":
                self._end(-9)
            elif fault == "refuses":
                self._output += f"{line}\n{language.BAD}{PROMPT}"
            elif not fault:
                answer = self.answer(line)
                self._output += f"{line}\n{answer}{PROMPT}"
            self.dut.flood()
            self.dut.settle()

    def read_until(self, pattern: re.Pattern[str], *, timeout_s: float, what: str) -> str:
        if not (found := pattern.search(self._output)):
            raise DutError(f"{self.name}: no {what} within {timeout_s:g} s: {self._output}")
        text, self._output = self._output[: found.end()], self._output[found.end() :]
        return text

    def status(self, *, within_s: float = 0.0) -> int | None:
        del within_s
        return self.ended

    def signal(self, number: int) -> None:
        self._end(-number)

    def pin(self, thread: str, cpu: int, *, why: str = "") -> None: ...

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self._output.splitlines()[-lines:])

    def __enter__(self) -> Testpmd:
        return self

    def __exit__(self, *_: object) -> None:
        self._end(0)

    def _end(self, status: int) -> None:
        if self.ended is None:
            self.ended = status
            self.running = False
            self.dut.programs.pop(self.number, None)

    def answer(self, line: str) -> str:
        """What it says to a line, which it carries out."""
        own = self.dut.answer_of_vf(self, line) if self.number != PF else None
        return language.answer(self, line) if own is None else own

    # --- the data path ---

    def forward(self, queue: int, frame: bytes) -> list[Delivery]:
        """What becomes of a frame that it polls."""
        if self.mode == "rxonly":
            return []
        if self.mode == "macswap":
            frame = frame[6:12] + frame[:6] + frame[12:]
        if self.mode == "mac":
            frame = bytes.fromhex("020000000000") + self.mac_bytes + frame[12:]
        if self.vlan:
            frame = tagged(frame, self.vlan)
        return self.send(queue, frame)

    def send(self, queue: int, frame: bytes) -> list[Delivery]:
        """Counted, unless the queue is full."""
        counters = self.dut.nic.function(self.number).counters
        dropped = counters.tx_dropped
        done = self.dut.nic.send(self.number, frame, queue=queue)
        if counters.tx_dropped == dropped:
            self.sent_by_queue[queue] = self.sent_by_queue.get(queue, 0) + 1
        return done
