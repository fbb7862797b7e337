"""What is known about a case before its search begins: from an earlier run, or its neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_vswitch.measure.goals import Goal, GoalResult

RATES = ("cores", "queues", "guests")
"""Parameters to which the rate of a neighbour is proportional, at best."""


@dataclass(frozen=True, slots=True)
class HintedInterval:
    """Where the highest load for one loss ratio was seen."""

    loss_ratio: float
    """Of the goal, 0 to 1."""
    lower_pps: float
    """A load that met the goal [frames/s, all directions]."""
    upper_pps: float | None
    """One above it that did not; None if there was none."""


@dataclass(frozen=True, slots=True)
class Hint:
    """Where a search may look first. It never stands in for a trial."""

    source: str
    """For a reader, e.g. `run 20261121-024500-1234`."""
    same_case: bool
    """Whether it is this very case's: then it has one voice where the first trial agrees."""
    intervals: tuple[HintedInterval, ...]

    def interval(self, goal: Goal) -> HintedInterval | None:
        """What is known about this goal, whatever it was called."""
        return next((i for i in self.intervals if i.loss_ratio == goal.loss_ratio), None)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A case that this run has measured already."""

    id: str
    suite: str
    parameters: Mapping[str, str | int | float]
    results: Sequence[GoalResult]


def of_results(source: str, results: Sequence[GoalResult]) -> Hint | None:
    """The hint that the results of the same case give; None if they hold no rate."""
    found = tuple(
        HintedInterval(r.goal.loss_ratio, r.lower_pps, r.upper_pps)
        for r in results
        if r.lower_pps is not None
    )
    return Hint(source, True, found) if found else None


def of_neighbours(
    suite: str, parameters: Mapping[str, str | int | float], neighbours: Sequence[Neighbour]
) -> Hint | None:
    """The hint of the newest case of the suite that differs in one number: frame size, cores, ...

    The rate of a DUT hardly depends on the frame size (its ports' line rate does, but no
    load above that is tried), and at best grows as its cores do.
    """
    for case in reversed(neighbours):
        if case.suite != suite:
            continue
        differing = [
            name
            for name in parameters.keys() | case.parameters.keys()
            if parameters.get(name) != case.parameters.get(name)
        ]
        if len(differing) != 1 or differing[0] not in ("frame_bytes", *RATES):
            continue
        here, there = parameters.get(differing[0]), case.parameters.get(differing[0])
        if not isinstance(here, int | float) or not isinstance(there, int | float) or there <= 0:
            continue
        scale = 1.0 if differing[0] == "frame_bytes" else here / there
        hint = of_results(f"case {case.id}", case.results)
        if hint is None:
            continue
        return Hint(
            hint.source,
            False,
            tuple(
                HintedInterval(
                    i.loss_ratio,
                    i.lower_pps * scale,
                    None if i.upper_pps is None else i.upper_pps * scale,
                )
                for i in hint.intervals
            ),
        )
    return None
