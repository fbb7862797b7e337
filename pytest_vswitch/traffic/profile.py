"""Which frames a trial sends: sizes, flows, bursts, tags. What is left out is plain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pytest_vswitch.traffic import imix, mpls, overlay
from pytest_vswitch.traffic.frames import FCS_BYTES, MAX_FRAME_BYTES, MIN_FRAME_BYTES, VLAN_BYTES


@dataclass(frozen=True, slots=True)
class Replayed:
    """Exact frames, e.g. of a pcap file."""

    name: str
    """Tells them from others, in a case's id."""
    frames: tuple[bytes, ...]
    """Without FCS, in their order."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The frames of each direction, beyond their size (RFC 8204 section 3, TST 009 clause 11)."""

    sizes: tuple[int, ...] = ()
    """Frame sizes with FCS [bytes], sent in turn, e.g. an IMIX (RFC 6985); empty: one size."""
    flows: int = 1
    """Flows of each direction. Source IPv4 address and UDP source port tell them apart."""
    burst_frames: int = 1
    """So many frames are sent back to back, then a pause that keeps the rate; 1: evenly."""
    tags: tuple[int, ...] = ()
    """VLAN ids, the outer one first: one is IEEE 802.1Q, two are 802.1ad (QinQ)."""

    replay: Replayed | None = None
    """Sent in turn into every port, in place of the generator's own frames."""
    vxlan: int | None = None
    """VXLAN network identifier (RFC 7348): frames are within others, of which sizes tell."""
    macs: int = 1
    """MAC addresses of each direction that frames have in turn; see `macs`."""
    macs_as: Literal["source", "destination"] = "source"
    """What these are. A bridge that has learned where they are forwards none of the frames to
    them: they are at the port that the frames are sent into."""
    labels: tuple[int, ...] = ()
    """MPLS labels (RFC 3032), the outermost first, behind VLAN tags."""

    def mean_bytes(self, frame_bytes: int) -> float:
        """Mean frame size [bytes], FCS included; `frame_bytes` if there is but one."""
        sizes = self.sizes
        if self.replay:
            sizes = tuple(len(frame) + FCS_BYTES for frame in self.replay.frames)
        return sum(sizes) / len(sizes) if sizes else frame_bytes

    def sizes_or(self, frame_bytes: int) -> tuple[int, ...]:
        """The sizes in turn, or `frame_bytes` as the only one."""
        return self.sizes or (frame_bytes,)

    @property
    def least_bytes(self) -> int:
        """The smallest frame, FCS included, that has room for its tags, labels and headers."""
        outer = mpls.BYTES * len(self.labels) + (0 if self.vxlan is None else overlay.BYTES)
        return MIN_FRAME_BYTES + VLAN_BYTES * len(self.tags) + outer

    @property
    def parameters(self) -> dict[str, str | int]:
        """What is not plain, by name: it tells cases apart."""
        told: dict[str, str | int] = {}
        if self.sizes:
            told["imix"] = imix.name(self.sizes)
        if self.flows > 1:
            told["flows"] = self.flows
        if self.burst_frames > 1:
            told["burst"] = self.burst_frames
        if self.tags:
            told["vlan"] = ".".join(map(str, self.tags))
        if self.labels:
            told["mpls"] = ".".join(map(str, self.labels))
        if self.vxlan is not None:
            told["vxlan"] = self.vxlan
        if self.macs > 1:
            told["macs"] = self.macs
        if self.macs_as == "destination":
            told["macs_as"] = self.macs_as
        if self.replay:
            told["pcap"] = self.replay.name
        return told


PLAIN = Profile()
"""One flow of one frame size, evenly spaced, without tags."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a generator can send and see; a suite asks before it needs it."""

    latency: bool = True
    """Whether it tells the one-way delay of frames."""
    latency_resolution_us: float = 0.0
    """A delay may seem so much longer than it is: how seldom it looks for frames [µs]."""
    mixed_sizes: bool = False
    max_flows: int = 1
    max_flow_bytes: int = MAX_FRAME_BYTES
    """The longest frame, FCS included, where there are several flows."""
    max_burst_frames: int = 1
    max_tags: int = 0
    max_labels: int = 0
    """MPLS labels of a frame."""
    replay: bool = False
    """Whether it can send exact frames in a loop."""
    vxlan: bool = False
    """Whether it can send frames within frames."""
    max_macs: int = 1
    """Addresses of each direction; with more than one, as destination, too."""

    def lacks(self, profile: Profile) -> str | None:
        """What of `profile` cannot be sent, as the end of a sentence; None if all can."""
        if profile.replay and not self.replay:
            return "cannot replay frames"
        if profile.sizes and not self.mixed_sizes:
            return "cannot mix frame sizes"
        if profile.flows > self.max_flows:
            return f"can send {self.max_flows:,} flows, not {profile.flows:,}"
        if profile.flows > 1 and max(profile.sizes, default=0) > self.max_flow_bytes:
            return f"can send several flows only of frames up to {self.max_flow_bytes} bytes"
        if profile.burst_frames > self.max_burst_frames:
            return f"can send bursts of {self.max_burst_frames:,}, not {profile.burst_frames:,}"
        if len(profile.tags) > self.max_tags:
            return f"can send {self.max_tags} VLAN tags, not {len(profile.tags)}"
        if len(profile.labels) > self.max_labels:
            return f"can send {self.max_labels} MPLS labels, not {len(profile.labels)}"
        if profile.vxlan is not None and not self.vxlan:
            return "cannot send VXLAN frames"
        if profile.macs > self.max_macs:
            return f"can send {self.max_macs:,} MAC addresses, not {profile.macs:,}"
        return None
