"""The thresholds of a lab file: what a case can be asked to reach, and in which unit.

`results.verdict` holds them against what was measured.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from pytest_vswitch.lab.section import Section, wrong

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class Limits(Section):
    """The thresholds of one case; at least one."""

    ndr_pps: Positive | None = None
    """Least no-drop rate, sum of all directions [frames/s]."""
    pdr_pps: Positive | None = None
    """Least partial-drop rate, sum of all directions [frames/s]."""
    line_rate_percent: Annotated[float, Field(gt=0, le=100)] | None = None
    """Least no-drop rate [% of line rate]."""
    latency_p99_us: Positive | None = None
    """Largest 99th percentile of one-way latency at the no-drop rate [µs]."""
    loss_ratio: Share | None = None
    """Largest share of frames lost at the highest load tried, 0 to 1."""
    outage_ms: Positive | None = None
    """Longest time without a frame while a guest moves [ms]."""
    mrr_pps: Positive | None = None
    """Least maximum receive rate, sum of all directions [frames/s]."""
    back_to_back_frames: Positive | None = None
    """Least burst without loss at the line rate [frames]."""
    buffer_us: Positive | None = None
    """Least corrected buffer time (RFC 9004) [µs]."""
    recovery_ms: Positive | None = None
    """Longest system recovery time after an overload [ms]."""
    reset_ms: Positive | None = None
    """Longest reset time by lost frames (RFC 6201) [ms]."""
    soak_loss_ratio: Share | None = None
    """Largest share of frames lost in a soak, 0 to 1."""
    learning_per_s: Positive | None = None
    """Least rate at which new flows are learned [1/s]."""
    learned: Positive | None = None
    """Least number of flows that are held."""
    addresses_per_s: Positive | None = None
    """Least rate at which new MAC addresses are learned [1/s]."""
    addresses: Positive | None = None
    """Least number of MAC addresses that are held."""
    knee: Positive | None = None
    """Least knee of a scalability curve, in what it is over, e.g. flows or cores."""
    scaling_ratio: Positive | None = None
    """Least throughput at the last point of a scalability curve over that at its first."""
    cpu_ns_per_frame: Positive | None = None
    """Largest CPU time per frame near the no-drop rate [ns]."""
    cycles_per_frame: Positive | None = None
    """Most cycles that the vSwitch itself says it takes for a frame."""
    memory_mb: Positive | None = None
    """Most memory in use by all programs of the DUT [MiB]."""
    overlay_pps: Positive | None = None
    """Least no-drop rate of frames within VXLAN, sum of all directions [frames/s]."""
    neighbour_ratio: Positive | None = None
    """Least share of the no-drop rate that is left beside a noisy neighbour."""

    @model_validator(mode="after")
    def _at_least_one(self) -> Limits:
        if not self.model_fields_set:
            raise wrong(f"sets no threshold; give at least one of {', '.join(LIMITS)}")
        return self


LIMITS = tuple(Limits.model_fields)
