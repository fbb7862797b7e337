"""The longest burst without loss, and the buffer behind it (RFC 9004, which mends 26.4).

A buffer fills at the burst's rate less what the DUT forwards meanwhile. RFC 9004 section 6.4
takes that to be the throughput:

    corrected buffer = burst * (1 - throughput / rate of the burst)

A DUT may forward at another rate while it is overloaded, so that rate is measured, too; the
stated interval covers both, the resolution of the search, and the frames which the buffer
itself lent to the trials that found the rates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pytest_vswitch.errors import HostError
from pytest_vswitch.measure import spread
from pytest_vswitch.measure.outcome import Curve, Figure, Outcome
from pytest_vswitch.measure.procedure import Bench, kept_up
from pytest_vswitch.measure.throughput import ATTEMPTS
from pytest_vswitch.measure.trial import Trial

LONGEST_S = 2.0
"""No burst is longer (RFC 2544 section 26.4)."""
SHORTEST_FRAMES = 2
RESOLUTION = 0.01
"""A burst is found to this part of its length, or to a few frames."""
FINEST_FRAMES = 4
VERIFY = 2
"""A lost burst counts when it is lost again: loss that has nothing to do with the buffer is
not blamed on it (binary search with loss verification, ETSI GS NFV-TST 009)."""
HEADROOM = 0.95
"""Part of what the generator offers at most at which bursts are sent, if it is the limit."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What the DUT forwards [frames/s, all directions]."""

    throughput_pps: float
    """RFC 2544 section 26.1."""
    throughput_s: float
    """Duration of the trials that found it [s]."""
    overload_pps: float
    """Frames received per second of a trial at the bursts' rate."""
    overload_s: float


@dataclass(frozen=True, slots=True)
class BackToBack:
    """Counts are frames of all directions together."""

    bursts: tuple[int, ...]
    """The longest without loss, of each repeat."""
    resolution: int
    """A burst longer by so many frames lost some, or was never tried."""
    rate_pps: float
    """Within bursts, all directions [frames/s]."""
    rates: Rates
    longest: int
    """No longer burst was tried."""
    procedure: Mapping[str, str]
    doubts: tuple[str, ...]

    @property
    def burst(self) -> spread.Spread:
        return spread.of(self.bursts, self.resolution)

    @property
    def buffer_frames(self) -> float:
        """Corrected by the throughput, as RFC 9004 says."""
        return self.burst.mean * max(0.0, 1 - self.rates.throughput_pps / self.rate_pps)

    @property
    def bounds(self) -> tuple[float, float | None]:
        """The buffer's frames: not below, not above; None if no burst was too long."""
        rates, burst = self.rates, self.burst
        fastest = max(rates.throughput_pps, rates.overload_pps)
        low = (burst.mean - burst.error) * (1 - fastest / self.rate_pps) - 1
        if burst.most >= self.longest:
            return max(0.0, low), None
        longest = burst.mean + burst.error + 1
        # What the buffer held at the end of a trial made its rate seem higher, by buffer / time.
        high = max(
            longest * (1 - pps / self.rate_pps) / (1 - longest / (self.rate_pps * duration_s))
            for pps, duration_s in (
                (rates.throughput_pps, rates.throughput_s),
                (rates.overload_pps, rates.overload_s),
            )
        )
        return max(0.0, low), high + 1

    @property
    def outcome(self) -> Outcome:
        burst, rate_pps = self.burst, self.rate_pps
        low, high = self.bounds
        least, most = max(0.0, burst.mean - burst.error), burst.mean + burst.error
        top = None if high is None else most
        return Outcome(
            source="RFC 9004, which updates RFC 2544 section 26.4",
            procedure=self.procedure,
            figures=(
                Figure(
                    "corrected buffer time",
                    self.buffer_frames / rate_pps,
                    "s",
                    low / rate_pps,
                    None if high is None else high / rate_pps,
                ),
                Figure("corrected buffer", self.buffer_frames, "frames", low, high),
                Figure("longest burst without loss", burst.mean, "frames", least, top),
                Figure("shortest of the repeats", burst.least, "frames"),
                Figure("longest of the repeats", burst.most, "frames"),
                Figure("standard deviation", burst.deviation, "frames"),
                Figure("implied buffer time", burst.mean / rate_pps, "s"),
                Figure("rate within bursts", rate_pps, "frames/s"),
                Figure("throughput", self.rates.throughput_pps, "frames/s"),
                Figure("rate forwarded in overload", self.rates.overload_pps, "frames/s"),
            ),
            curves=(
                Curve(
                    "Longest burst without loss",
                    *("repeat", "", "burst", "frames"),
                    tuple((float(n), float(size)) for n, size in enumerate(self.bursts, 1)),
                ),
            ),
            doubts=self.doubts,
        )


def back_to_back(bench: Bench, throughput_pps: float, throughput_s: float) -> BackToBack:
    """Find the longest burst, as often as the rules say; `throughput_s` long trials found that.

    RFC 9004 wants 50 repeats. Raises HostError when the generator cannot send bursts faster
    than the throughput, as then no buffer fills, and what `TrialRunner.run` raises.
    """
    rate_pps, doubts = bench.highest_pps("back-to-back")
    if doubts:
        rate_pps *= HEADROOM
    if rate_pps <= throughput_pps * (1 + RESOLUTION):
        raise HostError(
            f"bursts come at {rate_pps:,.0f} frames/s, and the DUT forwards "
            f"{throughput_pps:,.0f}: its buffers never fill (RFC 9004). "
            "Take smaller frames, or a faster generator"
        )
    overload = bench.run(rate_pps, phase="back-to-back: overload")
    longest = int(LONGEST_S * rate_pps)

    def survives(frames: int) -> bool:
        return _survives(bench, frames, rate_pps)

    bursts, resolution = [], FINEST_FRAMES
    low, high = 0, longest
    for _ in range(bench.rules.repeats):
        found, gap = _search(survives, low, high, longest)
        bursts.append(found)
        resolution = max(resolution, gap)
        low, high = int(found * 0.8), min(longest, int(found * 1.25) + SHORTEST_FRAMES)
    return BackToBack(
        bursts=tuple(bursts),
        resolution=resolution,
        rate_pps=rate_pps,
        rates=Rates(
            throughput_pps,
            throughput_s,
            overload.received / overload.duration_s,
            overload.duration_s,
        ),
        longest=longest,
        procedure={
            **bench.procedure,
            "bursts": f"of up to {LONGEST_S:g} s, binary search to {100 * RESOLUTION:g} % or "
            f"{FINEST_FRAMES} frames",
            "loss verification": f"{VERIFY} times",
            "repeats": f"{len(bursts)} (RFC 9004 wants 50)",
        },
        doubts=doubts,
    )


def _search(survives: Callable[[int], bool], low: int, high: int, longest: int) -> tuple[int, int]:
    """The longest burst without loss, and how much longer the shortest with loss was.

    `low` and `high` are where to look first; they are not trusted.
    """
    while low > SHORTEST_FRAMES and not survives(low):
        low, high = low // 2, low
    while high < longest and survives(high):
        low, high = high, min(longest, 2 * high)
    if high == longest and survives(longest):
        return longest, 0
    while high - low > max(FINEST_FRAMES, int(RESOLUTION * low)):
        middle = (low + high) // 2
        if survives(middle):
            low = middle
        else:
            high = middle
    return low, high - low


def _survives(bench: Bench, frames: int, rate_pps: float) -> bool:
    """Whether a burst of so many frames comes through, once in a few tries."""
    return any(not _burst(bench, frames, rate_pps).lost for _ in range(1 + VERIFY))


def _burst(bench: Bench, frames: int, rate_pps: float) -> Trial:
    """A burst that the generator sent as it was asked to. Raises HostError if it never does."""
    for _ in range(ATTEMPTS):
        trial = bench.run(
            rate_pps, frames / rate_pps, phase=f"burst of {frames:,} frames", pauses=False
        )
        if trial.lost:  # a burst that came through left nothing to recover from
            bench.rest()
        if kept_up(trial) or trial.lost:
            return trial
    raise HostError(
        f"{bench.runner.generator.description} sent {trial.sent:,} of the {frames:,} frames of "
        f"a burst at {rate_pps:,.0f} frames/s, at {ATTEMPTS} tries. Give it cores of its own"
    )
