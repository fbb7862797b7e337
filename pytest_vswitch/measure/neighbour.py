"""A noisy neighbour: what a load beside the DUT leaves of its throughput."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from pytest_vswitch.measure.goals import GoalResult
from pytest_vswitch.measure.options import NDR, SearchOptions
from pytest_vswitch.measure.outcome import Figure, Outcome
from pytest_vswitch.measure.runner import TrialRunner
from pytest_vswitch.measure.throughput import find_throughput


@runtime_checkable
class Neighboured(Protocol):
    """A topology that has a neighbour of its own: a simulation."""

    def beside(self) -> AbstractContextManager[None]:
        """It is there until the block's end."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The NDR alone, with the load beside, and alone again."""

    alone: GoalResult
    beside: GoalResult
    again: GoalResult
    load: str
    """What was beside, for a reader."""
    procedure: Mapping[str, str]

    @property
    def kept(self) -> tuple[float, float | None]:
        """Share of the throughput that was left: not below, not above."""
        alone = (self.alone, self.again)
        most = max((one.upper_pps or 0.0 for one in alone), default=0.0)
        least = min((one.lower_pps or 0.0 for one in alone), default=0.0)
        low = (self.beside.lower_pps or 0.0) / most if most else 0.0
        if not least or self.beside.upper_pps is None:
            return low, None
        return low, self.beside.upper_pps / least

    @property
    def outcome(self) -> Outcome:
        low, high = self.kept
        beside_pps, alone_pps = self.beside.lower_pps, self.alone.lower_pps
        share = None if not alone_pps or beside_pps is None else beside_pps / alone_pps
        doubts = []
        if _apart(self.alone, self.again):
            doubts.append(
                "the throughput alone was not the same before and after: the machine has other "
                "neighbours, too"
            )
        return Outcome(
            source="RFC 8204 section 3.5 (baselines with resource isolation)",
            procedure=self.procedure,
            figures=(
                Figure("throughput kept beside a load", share, "ratio", low, high),
                _figure("throughput alone", self.alone),
                _figure(f"throughput beside {self.load}", self.beside),
                _figure("throughput alone again", self.again),
            ),
            doubts=tuple(doubts),
        )


def neighbour(
    runner: TrialRunner,
    options: SearchOptions,
    beside: Callable[[], AbstractContextManager[object]],
    load: str,
) -> Neighbour:
    """Search the NDR before, during and after `beside`. Raises what it and the search raise."""
    options = replace(options, goals=(NDR,))

    def search() -> GoalResult:
        return find_throughput(runner, options).results[0]

    alone = search()
    with beside():
        disturbed = search()
    again = search()
    return Neighbour(
        *(alone, disturbed, again, load),
        {
            "load beside": load,
            "order": "alone, beside, alone again",
            "search": f"{options.search}, trials of {options.trial_duration_s:g} s, "
            f"precision {100 * options.precision:g} %",
        },
    )


def _figure(name: str, found: GoalResult) -> Figure:
    return Figure(name, found.lower_pps, "frames/s", found.lower_pps, found.upper_pps)


def _apart(one: GoalResult, other: GoalResult) -> bool:
    """Whether two intervals have nothing in common."""
    low, high = sorted((one, other), key=lambda found: found.lower_pps or 0.0)
    return low.upper_pps is not None and low.upper_pps < (high.lower_pps or 0.0)
