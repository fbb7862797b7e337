"""The contract that every traffic generator keeps, and the counts it returns.

Rates are *totals over all directions*, in frames per second; frame sizes are in
bytes and include the four bytes of the FCS, as in RFC 2544 section 9.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pytest_vswitch.errors import InputError
from pytest_vswitch.traffic.profile import PLAIN, Capabilities, Profile


@dataclass(frozen=True, slots=True)
class Offer:
    """What one trial asks the generator to send (RFC 2544 section 26.1)."""

    rate_pps: float
    """Intended load, the sum of all directions [frames/s]."""
    duration_s: float
    """How long to send [s]; waiting for the last frames comes on top."""
    frame_bytes: int
    """Frame size with FCS [bytes]; of several sizes, the rounded mean."""
    profile: Profile = PLAIN
    patient: bool = False
    """Whether the DUT's ports may go and come again: what is due meanwhile is refused. A
    generator that cannot wait ends the trial with an error, as it does without."""


@dataclass(frozen=True, slots=True)
class Latency:
    """One-way delay through the DUT, seen by the generator, of one direction [µs].

    From when a frame was sent, or, if that was late, from when it was due; of the frames
    that came back, and of those that were due and never sent (see `traffic.stream`).
    """

    samples: int
    min_us: float
    p50_us: float
    p90_us: float
    p99_us: float
    p999_us: float
    max_us: float
    mean_us: float | None = None
    p9999_us: float | None = None
    ipdv_p50_us: float | None = None
    """Change of delay from one frame to the next, without sign (RFC 5481 section 4.1)."""
    ipdv_p99_us: float | None = None
    ipdv_p999_us: float | None = None
    ipdv_max_us: float | None = None
    late: int = 0
    """Samples, of all, that are timed from when they were due: the generator was late."""
    histogram: str = ""
    """All samples [ns], as HdrHistogram's libraries read them (V2, compressed, base64)."""

    @property
    def pdv_p50_us(self) -> float:
        """Delay beyond the shortest (RFC 5481 section 4.2)."""
        return self.p50_us - self.min_us

    @property
    def pdv_p99_us(self) -> float:
        return self.p99_us - self.min_us

    @property
    def pdv_p999_us(self) -> float:
        return self.p999_us - self.min_us

    @property
    def pdv_max_us(self) -> float:
        return self.max_us - self.min_us


@dataclass(frozen=True, slots=True)
class Silence:
    """A time in which no frame of a direction came back [s, Unix time of the generator]."""

    began_s: float
    """When the last frame before it came."""
    length_ms: float

    @property
    def ended_s(self) -> float:
        """When the first frame after it came."""
        return self.began_s + self.length_ms / 1e3


@dataclass(frozen=True, slots=True)
class Announcement:
    """A RARP frame, by which a machine tells switches where it is now (RFC 903)."""

    at_s: float
    """When it came [s, Unix time of the generator]."""
    link: int
    """Which link of the port it came from, of several that a frame is flooded to."""
    mac: str
    """The address that it announces."""


@dataclass(frozen=True, slots=True)
class DirectionCounts:
    """What became of the frames sent into one port. All counts are frames."""

    tx_port: int
    """Index of the generator port that sent."""
    rx_port: int
    """Index of the generator port where the frames were expected."""
    intended: int
    """Frames that the offer asks for."""
    sent: int
    """Frames really offered to the DUT, refused ones included. Less than
    `intended` when the generator did not keep up: that is not the DUT's loss."""
    refused: int
    """Frames, of those sent, that found the DUT's receive ring full."""
    received: int
    """Distinct frames that came back to `rx_port` and were right in every byte."""
    duplicated: int
    reordered: int
    """Frames, of those received, that came after a later one of their stream."""
    corrupted: int
    """Frames of this stream that came back with a wrong byte."""
    foreign: int
    """Frames at `rx_port` that this generator never sent."""
    latency: Latency | None = None
    silences: tuple[Silence, ...] = ()
    """The longest times without a frame, the longest first."""
    announcements: tuple[Announcement, ...] = ()
    """Those among the foreign frames, in order."""

    @property
    def lost(self) -> int:
        """Frames sent that never came back right (a refused frame is lost)."""
        return self.sent - self.received


def require(generator: Generator, profile: Profile) -> None:
    """Raise InputError if the generator cannot send these frames."""
    if lack := generator.capabilities.lacks(profile):
        raise InputError(
            f"{generator.description} {lack}: ask for other frames (--imix, --flows, --vlan, "
            "--vxlan, --burst, --pcap), or take another generator (`generator.kind` in the lab)"
        )


class Generator(Protocol):
    """A traffic generator that is attached to a topology's ports."""

    @property
    def description(self) -> str:
        """What the results template names as traffic generator, with its version."""

    @property
    def simulated(self) -> bool:
        """Whether no frame of it ever existed."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can send and see."""

    def exchange(
        self, frames: Mapping[int, Sequence[bytes]], *, wait_s: float
    ) -> Mapping[int, list[bytes]]:
        """Send exact frames (without FCS), by port; return what came back, by port.

        Ends as soon as as many frames have come back as were sent, or after `wait_s`.
        """

    def start(self, offer: Offer) -> None:
        """Begin one trial; returns at once.

        Raises InputError for an offer that `capabilities` do not cover.
        """

    def poll(self, timeout_s: float) -> Sequence[DirectionCounts] | None:
        """Wait up to `timeout_s` for the trial's end: its counts, or None if it still runs.

        Raises DutError or HostError when the generator lost its DUT or died.
        """

    def recount(self) -> Sequence[DirectionCounts]:
        """Look for stragglers of the trial that `poll` ended; its counts by now.

        For a DUT whose own counters say that frames were still under way.
        """

    def abort(self) -> None:
        """Stop sending at once; the trial's counts are thrown away."""
