"""Throughput of an overlay: frames within VXLAN (RFC 7348), beside plain ones of the same size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pytest_vswitch.errors import InputError
from pytest_vswitch.measure.kept import Kept, kept
from pytest_vswitch.measure.options import SearchOptions
from pytest_vswitch.measure.outcome import Figure, Outcome
from pytest_vswitch.measure.runner import TrialRunner
from pytest_vswitch.traffic import overlay as vxlan
from pytest_vswitch.traffic.profile import Profile


@dataclass(frozen=True, slots=True)
class Overlay:
    """The NDR of plain frames, of as long ones within VXLAN, and of plain ones again."""

    kept: Kept
    inner_bytes: float
    """Mean size of the frames inside, FCS included as they would have one."""
    procedure: Mapping[str, str]

    @property
    def outcome(self) -> Outcome:
        share, plain, encapsulated, again = self.kept.figures(
            "throughput kept by an overlay", "throughput of plain frames", "throughput in VXLAN"
        )
        inside_bps = None
        if encapsulated.value is not None:
            inside_bps = encapsulated.value * self.inner_bytes * 8
        doubts = []
        if not self.kept.steady:
            doubts.append("the throughput of plain frames was not the same before and after")
        return Outcome(
            source="RFC 7348 (VXLAN), by the throughput of RFC 2544 section 26.1",
            procedure=self.procedure,
            figures=(
                encapsulated,
                share,
                plain,
                again,
                Figure("bits of frames inside, per second", inside_bps, "bit/s"),
            ),
            doubts=tuple(doubts),
        )


def overlay(
    runner: Callable[[Profile], TrialRunner], profile: Profile, options: SearchOptions
) -> Overlay:
    """Search the NDR with frames of `profile`, which are within VXLAN, and of it without.

    Both have the same sizes. Raises InputError for another profile, and what the search raises.
    """
    if profile.vxlan is None:
        raise InputError("an overlay is measured with VXLAN frames; this profile has plain ones")
    plain = replace(profile, vxlan=None)
    within = runner(profile)
    size = profile.mean_bytes(within.frame_bytes)
    return Overlay(
        kept(runner(plain), options, other=within, again=runner(plain)),
        size - vxlan.BYTES,
        {
            "frames": f"{size:g} bytes on the wire, {size - vxlan.BYTES:g} inside, network "
            f"identifier {profile.vxlan}",
            "order": "plain, in VXLAN, plain again",
            **options.procedure,
        },
    )
