"""Two PFs at a switch that learns, one bridge and one VF each, and a guest that moves between them.

Frames go as the devices' documents say: a VF gets what is for its addresses (82599 datasheet,
7.10.3; a promiscuous PF the rest), a bridge and a switch learn where a source is (IEEE 802.1D,
7.8). Time is virtual: a frame of the generator's is due each millisecond, whoever waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tests.emulated.migration_guest import Guest
    from tests.emulated.migration_qemu import Qemu

Kind = Literal["ixgbe", "i40e"]
GENERATOR = 2
"""Its port at the switch; 0 and 1 are the PFs'."""
RING = 256
STEP_MS = 2
"""What a command takes."""


def packed(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


@dataclass
class Switch:
    """Learns, forwards, floods."""

    deliver: Callable[[int, bytes], None]
    table: dict[bytes, int] = field(default_factory=dict)

    def receive(self, port: int, frame: bytes) -> None:
        self.learn(frame[6:12], port)
        for out in self.outputs(port, frame[:6]):
            self.deliver(out, frame)

    def learn(self, source: bytes, port: int) -> None:
        self.table[source] = port

    def outputs(self, port: int, target: bytes) -> list[int]:
        known = None if target[0] & 1 else self.table.get(target)
        ports = [0, 1, GENERATOR] if known is None else [known]
        return [out for out in ports if out != port]


@dataclass
class Vf:
    """Of one PF."""

    bdf: str
    own: bytes
    """Its first address."""
    given: bytes = b""
    """Set by the PF."""
    asked: set[bytes] = field(default_factory=set)
    """Added by who drives it."""
    guest: Guest | None = None

    @property
    def addresses(self) -> set[bytes]:
        return {self.given or self.own, *self.asked}


@dataclass
class Pf:
    """A port of a card, with its kernel's driver, and the bridge that it may be a port of."""

    world: World
    number: int
    kind: Kind
    name: str
    bdf: str
    vf: Vf | None = None
    up: bool = True
    bridge: str = ""
    tap: str = ""
    """The bridge's other port."""
    counters: dict[str, int] = field(default_factory=dict)
    """By interface: frames that it received."""
    qemu: Qemu | None = None
    """Who has the tap device open."""
    table: dict[bytes, str] = field(default_factory=dict)
    """Of the bridge: interface by address."""

    def receive(self, frame: bytes) -> None:
        """From the wire."""
        target = frame[:6]
        if self.takes(target):
            self.to_vf(frame)
        if (not self.takes(target) or target[0] & 1) and self.up and self.bridge:
            self.count(self.name)
            self.bridged(self.name, frame)

    def takes(self, target: bytes) -> bool:
        """Whether the VF does."""
        return self.vf is not None and (target in self.vf.addresses or bool(target[0] & 1))

    def to_vf(self, frame: bytes) -> None:
        if self.vf is not None and self.vf.guest is not None:
            self.vf.guest.receive("vf", frame)

    def bridged(self, port: str, frame: bytes) -> None:
        self.table[frame[6:12]] = port
        out = self.table.get(frame[:6])
        if port != self.name and out in (None, self.name):
            self.world.switch.receive(self.number, frame)
        elif port == self.name and out in (None, self.tap) and self.qemu is not None:
            self.qemu.receive(frame)

    def sent_by_vf(self, frame: bytes) -> None:
        """Unless its source is another's (anti-spoofing)."""
        if self.vf is not None and frame[6:12] in self.vf.addresses:
            self.world.switch.receive(self.number, frame)

    def sent_by_tap(self, frame: bytes) -> None:
        if self.tap:
            self.count(self.tap)
            self.bridged(self.tap, frame)

    def count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1


class World:
    """Everything that frames can meet. A mutant overrides one method, of one of its parts."""

    def __init__(self, kind: Kind = "i40e") -> None:
        self.now_ms = 0.0
        self.switch = Switch(self._deliver)
        self.pfs = [
            Pf(self, 0, kind, "ens1f0", "0000:09:00.0"),
            Pf(self, 1, kind, "ens2f0", "0000:06:00.0"),
        ]
        self.arrived: Callable[[bytes], None] = lambda frame: None
        """The generator, told of what came out of the switch."""
        self.due: Callable[[], None] = lambda: None
        """The generator, told that another millisecond is over."""
        self.listeners: dict[str, Qemu] = {}
        """QEMUs that wait for a guest, by URI."""
        self.steps: list[str] = []
        self.fault: tuple[int, str] | None = None
        """The step that breaks, and how: refusal, time-out, nonsense, lost."""
        self.lost: set[str] = set()
        """Hosts to which the connection is."""
        self.spoil: Callable[[object], None] = lambda part: None
        """Told of each guest and QEMU that comes to be."""
        self.announcements = 5
        self.command_lines: list[list[str]] = []
        """Of each QEMU."""
        self.busy = False
        """Whether a guest is being moved."""

    def advance(self, ms: float) -> None:
        for _ in range(round(ms)):
            self.now_ms += 1
            self.due()

    def step(self, what: str) -> str:
        """Something is asked of a host, or of what runs there; the fault that happens then."""
        self.steps.append(what)
        self.advance(STEP_MS)
        if self.fault and self.fault[0] == len(self.steps) - 1:
            return self.fault[1]
        return ""

    def _deliver(self, port: int, frame: bytes) -> None:
        if port == GENERATOR:
            self.arrived(frame)
        else:
            self.pfs[port].receive(frame)


def ring() -> deque[bytes]:
    """Of a port that nobody polls: what does not fit is dropped."""
    return deque(maxlen=RING)
