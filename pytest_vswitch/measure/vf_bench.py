"""What the checks of VFd work with: frames in and out, counters, and what was expected of them.

Every expectation has a name of its own, and fails by it: `asserted` lists those that were held.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from pytest_vswitch.apps.vf_control import NotSupported, Statistics
from pytest_vswitch.errors import DeadlineError, HostError, VswitchError
from pytest_vswitch.topologies.vfd import Vfd
from pytest_vswitch.topologies.vfd_programs import Vf
from pytest_vswitch.traffic.generator import Generator, Offer

FRAMES = 16
"""Of each burst: few, so that no queue is ever full by chance."""
RATE_FRAME_BYTES = 1518
"""Of what is offered to see a limit [bytes, FCS included]."""
SAMPLE_FRAMES = 100_000
"""Over which the shares of traffic classes are taken: far more than all rings hold."""
EMULATED_WAIT_S = 3.0
"""After so long, a frame that an emulated DUT has not sent back will not come [s]."""
BROADCAST = "FF:FF:FF:FF:FF:FF"
MULTICAST = "01:00:5E:01:02:03"
_TYPE = b"\x88\xb5"
"""Local experimental Ethernet type (IEEE 802, 9.2.4)."""
_TPID = b"\x81\x00"
_MARK = b"vswitch VFd "
_LENGTH = 60
_KEPT_UP = 0.98
"""Share of a load that a generator must really send."""
_OVERHEAD_BYTES = 20
"""Preamble and gap."""


class EffectMissing(VswitchError):
    """A function was set, and what traffic showed is not what it is for."""

    def __init__(self, assertion: str, message: str) -> None:
        super().__init__(f"{assertion}: {message}")
        self.assertion = assertion


@dataclass(frozen=True, slots=True)
class Tag:
    """IEEE 802.1Q."""

    vlan: int
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of a burst."""

    back: Sequence[bytes]
    """Frames of it that came out of the wire; whatever tags and addresses they have now."""
    counted: Sequence[Statistics]
    """By VF: what its own counters grew by."""

    @property
    def received(self) -> list[int]:
        """Frames, by VF."""
        return [counts.rx_packets for counts in self.counted]

    @property
    def vlans(self) -> list[int | None]:
        """Of the frames that came back: the id of their tag, None without one; no id twice."""
        found = {tags[0].vlan if (tags := _tags(frame)) else None for frame in self.back}
        return sorted(found, key=lambda vlan: -1 if vlan is None else vlan)

    @property
    def tags(self) -> list[list[Tag]]:
        """Of each frame that came back, the outermost first."""
        return list(map(_tags, self.back))


class Commanded(Protocol):
    """A PF, or the testpmd of a VF."""

    def set(self, command: str, *, why: str = "") -> None:
        """Raises NotSupported, DutError."""


@dataclass(slots=True)
class Bench:
    """A running `vfd` topology, and the generator at the other end of its wire."""

    topology: Vfd
    generator: Generator
    wait_s: float = 1.0
    """After so long, a frame that has not come back will not come."""
    trial_s: float = 5.0
    """How long a rate is measured."""
    sample: int = field(default_factory=lambda: SAMPLE_FRAMES)
    """Frames over which shares are taken."""
    lacks: Mapping[str, str] = field(default_factory=dict)
    """By assertion: why this NIC, or its driver, is known not to have that effect."""
    asserted: list[str] = field(default_factory=list)
    _number: int = 0

    @property
    def vfs(self) -> Sequence[Vf]:
        return self.topology.vfs

    def set(self, command: str, *, on: Commanded | None = None) -> None:
        """On the PF, or on a VF's own driver. Raises NotSupported, DutError."""
        (on or self.topology.pf).set(command)

    @contextlib.contextmanager
    def afterwards(self, *commands: str, on: Commanded | None = None) -> Iterator[None]:
        """At the end of the block, whatever came of it, the PF, or a VF, is told these."""
        try:
            yield
        except BaseException:
            for command in commands:
                with contextlib.suppress(VswitchError):  # the first fault is told
                    self.set(command, on=on)
            raise
        for command in commands:
            self.set(command, on=on)

    # --- expectations ---

    def expect(self, assertion: str, saw: object, wanted: object) -> None:
        """Raise EffectMissing unless they are the same, NotSupported where that is known."""
        self.asserted.append(assertion)
        if saw != wanted:
            self._miss(assertion, f"it should be {wanted}, it is {saw}")

    def expect_between(self, assertion: str, saw: float, least: float, most: float) -> None:
        self.asserted.append(assertion)
        if not least <= saw <= most:
            self._miss(assertion, f"it should be from {least:g} to {most:g}, it is {saw:.4g}")

    def _miss(self, assertion: str, what: str) -> NoReturn:
        if why := self.lacks.get(assertion):
            raise NotSupported(f"{assertion}: {what}: {why}")
        raise EffectMissing(assertion, what)

    # --- frames ---

    def frames(
        self,
        to: str,
        source: str = "02:00:c6:12:00:01",
        *,
        vlan: int | None = None,
        priority: int = 0,
        count: int = FRAMES,
    ) -> list[bytes]:
        """A burst, each frame unlike all that were ever sent."""
        tag = b"" if vlan is None else _TPID + (priority << 13 | vlan).to_bytes(2, "big")
        header = _bytes(to) + _bytes(source) + tag + _TYPE + _MARK
        burst = []
        for _ in range(count):
            self._number += 1
            frame = header + self._number.to_bytes(4, "big")
            burst.append(frame.ljust(_LENGTH + len(tag), b"\xa5"))
        return burst

    def send(self, frames: Sequence[bytes]) -> Seen:
        """Into the wire; returns when all are back, or nothing more is to be expected."""
        before = [vf.control.statistics() for vf in self.vfs]
        came = self.generator.exchange({0: frames}, wait_s=self.wait_s).get(0, [])
        self.topology.check_alive()
        after = [vf.control.statistics() for vf in self.vfs]
        mine = {_number(frame) for frame in frames}
        back = [frame for frame in came if _MARK in frame and _number(frame) in mine]
        return Seen(back, [_grown(*pair) for pair in zip(before, after, strict=True)])

    def carried_mbps(self, offered_mbps: float) -> float:
        """What comes back of a load through VF 0 [Mbit/s on the wire].

        Raises HostError when the generator cannot offer it.
        """
        bits = 8 * (RATE_FRAME_BYTES + _OVERHEAD_BYTES)
        offer = Offer(offered_mbps * 1e6 / bits, self.trial_s, RATE_FRAME_BYTES)
        self.generator.start(offer)
        deadline = time.monotonic() + self.trial_s + 60.0
        while (counts := self.generator.poll(1.0)) is None:
            if time.monotonic() > deadline:
                raise DeadlineError(f"{self.generator.description}: its trial does not end")
        intended, sent = (sum(getattr(c, name) for c in counts) for name in ("intended", "sent"))
        if sent < _KEPT_UP * intended:
            raise HostError(
                f"{self.generator.description} sent {sent:,} of {intended:,} frames: it cannot "
                f"offer {offered_mbps:g} Mbit/s, which this check needs; take a faster one"
            )
        return sum(count.received for count in counts) * bits / self.trial_s / 1e6

    def shares(self, vf: Vf) -> dict[int, float]:
        """What each TX queue of a VF that sends all it can has of what is sent, by queue.

        Of the frames after a first sample, which fills the rings. Raises DeadlineError.
        """
        first = self._sent(vf, self.sample, {})
        last = self._sent(vf, self.sample, first)
        grown = {queue: last[queue] - first.get(queue, 0) for queue in last}
        return {queue: count / sum(grown.values()) for queue, count in grown.items()}

    def _sent(self, vf: Vf, count: int, since: dict[int, int]) -> dict[int, int]:
        deadline = time.monotonic() + 60.0
        while True:
            now = vf.control.sent_by_queue()
            if sum(now.values()) - sum(since.values()) >= count:
                return now
            if time.monotonic() > deadline:
                raise DeadlineError(f"VF {vf.number} has not sent {count} frames within 60 s")


Shows = Callable[[Callable[[Bench], None]], None]
"""What a test of a suite gets: carries out a check of one function."""


def _bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _number(frame: bytes) -> bytes:
    return frame.partition(_MARK)[2][:4]


def _tags(frame: bytes) -> list[Tag]:
    """The outermost first."""
    found = []
    rest = frame[12:]
    while rest[:2] == _TPID:
        tci = int.from_bytes(rest[2:4], "big")
        found.append(Tag(tci & 0xFFF, tci >> 13))
        rest = rest[4:]
    return found


def _grown(before: Statistics, after: Statistics) -> Statistics:
    return Statistics(
        rx_packets=after.rx_packets - before.rx_packets,
        rx_bytes=after.rx_bytes - before.rx_bytes,
        tx_packets=after.tx_packets - before.tx_packets,
        tx_bytes=after.tx_bytes - before.tx_bytes,
    )
