"""A noisy neighbour: what a load beside the DUT leaves of its throughput."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pytest_vswitch.measure.kept import Kept, kept
from pytest_vswitch.measure.options import SearchOptions
from pytest_vswitch.measure.outcome import Outcome
from pytest_vswitch.measure.runner import TrialRunner


@runtime_checkable
class Neighboured(Protocol):
    """A topology that has a neighbour of its own: a simulation."""

    def beside(self) -> AbstractContextManager[None]:
        """It is there until the block's end."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The NDR alone, with the load beside, and alone again."""

    kept: Kept
    load: str
    """What was beside, for a reader."""
    procedure: Mapping[str, str]

    @property
    def outcome(self) -> Outcome:
        doubts = []
        if not self.kept.steady:
            doubts.append(
                "the throughput alone was not the same before and after: the machine has other "
                "neighbours, too"
            )
        return Outcome(
            source="RFC 8204 section 3.5 (baselines with resource isolation)",
            procedure=self.procedure,
            figures=self.kept.figures(
                "throughput kept beside a load",
                "throughput alone",
                f"throughput beside {self.load}",
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
    return Neighbour(
        kept(runner, options, during=beside),
        load,
        {
            "load beside": load,
            "order": "alone, beside, alone again",
            **options.procedure,
        },
    )
