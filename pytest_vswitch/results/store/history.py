"""What compare, trend, baseline and bisect ask of a history, wherever it is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from pytest_vswitch.results.sample import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which samples are wanted; an empty tuple and None: whatever there is."""

    labs: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    """Ids of runs."""
    cases: tuple[str, ...] = ()
    """As in `Sample.case`, whole."""
    metrics: tuple[str, ...] = ()
    since_s: float | None = None
    """Runs that began then or later [Unix time, s]."""
    until_s: float | None = None
    """Runs that began before this [Unix time, s]."""
    simulated: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run of a history."""

    run: str
    lab: str
    at_s: float
    """When it began [Unix time, s]."""
    software: Mapping[str, str]
    """Versions by role; where cases of the run differ, all of them, joined by ` / `."""
    simulated: bool
    """Whether any of its samples is."""
    samples: int
    """How many it has in this history."""


class History(Protocol):
    """The read side, the same over a database and over Parquet files."""

    def runs(self, lab: str | None = None) -> list[RunSummary]:
        """Every run, oldest first; those of one lab only when it is named."""
        ...

    def samples(self, selection: Selection) -> Iterator[Sample]:
        """The samples selected, ordered by (at_s, run, order)."""
        ...


def joined(software: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Versions by role over several environments, as in `RunSummary.software`."""
    versions: dict[str, set[str]] = {}
    for one in software:
        for role, version in one.items():
            versions.setdefault(role, set()).add(version)
    return {role: " / ".join(sorted(versions[role])) for role in sorted(versions)}
