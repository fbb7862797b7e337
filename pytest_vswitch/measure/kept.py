"""The share of the throughput that is left in other circumstances."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from pytest_vswitch.measure.goals import GoalResult
from pytest_vswitch.measure.options import NDR, SearchOptions
from pytest_vswitch.measure.outcome import Figure
from pytest_vswitch.measure.runner import TrialRunner
from pytest_vswitch.measure.throughput import find_throughput


@dataclass(frozen=True, slots=True)
class Kept:
    """The NDR as usual, in other circumstances, and as usual again."""

    usual: GoalResult
    other: GoalResult
    again: GoalResult

    @property
    def bounds(self) -> tuple[float, float | None]:
        """The share: not below, not above; None where no search says."""
        usual = (self.usual, self.again)
        most = max((one.upper_pps or 0.0 for one in usual), default=0.0)
        least = min((one.lower_pps or 0.0 for one in usual), default=0.0)
        low = (self.other.lower_pps or 0.0) / most if most else 0.0
        if not least or self.other.upper_pps is None:
            return low, None
        return low, self.other.upper_pps / least

    @property
    def steady(self) -> bool:
        """Whether the two searches as usual may have found the same."""
        low, high = sorted((self.usual, self.again), key=lambda found: found.lower_pps or 0.0)
        return low.upper_pps is None or low.upper_pps >= (high.lower_pps or 0.0)

    def figures(self, share: str, usual: str, other: str) -> tuple[Figure, ...]:
        """What was found, under these names."""
        before_pps, after_pps = self.usual.lower_pps, self.other.lower_pps
        value = None if not before_pps or after_pps is None else after_pps / before_pps
        return (
            Figure(share, value, "ratio", *self.bounds),
            _figure(usual, self.usual),
            _figure(other, self.other),
            _figure(f"{usual} again", self.again),
        )


def kept(
    usual: TrialRunner,
    options: SearchOptions,
    *,
    other: TrialRunner | None = None,
    again: TrialRunner | None = None,
    during: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Kept:
    """Search the NDR with `usual`, with `other` within `during`, and as usual `again`.

    What is not given is `usual`; where another runner came between, it needs a fresh one.
    Raises what `during` and the search raise.
    """
    options = replace(options, goals=(NDR,))

    def search(runner: TrialRunner) -> GoalResult:
        return find_throughput(runner, options).results[0]

    first = search(usual)
    with during():
        second = search(other or usual)
    return Kept(first, second, search(again or usual))


def _figure(name: str, found: GoalResult) -> Figure:
    return Figure(name, found.lower_pps, "frames/s", found.lower_pps, found.upper_pps)
