"""What to measure next, and when to stop: a pure function of what was measured."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pytest_vswitch.results.bisect.posterior import Flags, Posterior, posterior

GOOD: None = None
"""The good end, among revisions that are counted from 0; the last of them is the bad end."""
ENDS_FIRST = 3
"""Each end is measured so often before anything is concluded."""
REFERENCE_EVERY = 12
"""After so many measurements between the ends, one end again: it shows the machine's drift."""
ALIKE = 0.95
"""At this probability that nothing changed, that is the verdict."""
DOUBT = 0.1
"""Above this probability that nothing changed, the ends are measured, and nothing between."""
NEAR_BEST = 0.05
"""How much further from an even chance a revision may be that needs no build any more."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When to stop."""

    confidence: float = 0.99
    """The verdict's probability, at least."""
    minimum_effect: float = 0.02
    """Smaller changes are no reason to go on, as a part of the value."""
    most_runs: int = 120


@dataclass(frozen=True, slots=True)
class Next:
    """Measure this one."""

    revision: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why the search ended."""

    kind: Literal["found", "no change", "can't tell"]
    revisions: tuple[int, ...]
    """The guilty one; several where those between cannot be measured, or are too many to tell."""
    probability: float
    """Of what is said."""
    change: float
    """From the good end to the bad one, e.g. -0.03."""
    noise: float
    """Standard deviation of one measurement, as a part of the value."""


def decide(
    contains: Flags,
    measured: Sequence[tuple[int | None, float]],
    skipped: Collection[int] = (),
    rules: Rules = Rules(),
) -> Next | Verdict:
    """`contains` and `measured` as for `posterior`; `skipped` cannot be measured."""
    last = len(contains) - 1
    at_good = sum(at is GOOD for at, _ in measured)
    at_bad = sum(at == last for at, _ in measured)
    end = _end(measured, at_good, at_bad, last)
    if min(at_good, at_bad) < ENDS_FIRST:
        return Next(end)
    known = posterior(contains, measured, rules.minimum_effect)
    if known.none >= ALIKE:
        return Verdict("no change", (), known.none, known.change, known.noise)
    if known.none <= 1 - rules.confidence:
        alike = _alike(contains, skipped)
        group = max(alike, key=lambda group: known.guilty[group].sum())
        probability = float(known.guilty[group].sum())
        if probability >= rules.confidence:
            return Verdict("found", tuple(group), probability, known.change, known.noise)
    if len(measured) >= rules.most_runs:
        return _cannot_tell(known)
    if known.none > DOUBT:
        return Next(end)
    since = next(
        (n for n, (at, _) in enumerate(reversed(measured)) if at is GOOD or at == last),
        len(measured),
    )
    if since >= REFERENCE_EVERY:
        return Next(end)
    return Next(_most_telling(contains, known, skipped, {at for at, _ in measured}))


def _end(
    measured: Sequence[tuple[int | None, float]], at_good: int, at_bad: int, last: int
) -> int | None:
    """Good, bad, bad, good, ...: so that a drift falls on both alike."""
    if at_good != at_bad:
        return GOOD if at_good < at_bad else last
    for at, _ in reversed(measured):
        if at is GOOD or at == last:
            return at
    return GOOD


def _alike(contains: Flags, skipped: Collection[int]) -> list[list[int]]:
    """Revisions, grouped: what can be measured does not tell those of a group apart."""
    there = [number for number in range(len(contains)) if number not in skipped]
    groups: dict[bytes, list[int]] = {}
    for number in range(contains.shape[1]):
        groups.setdefault(contains[there, number].tobytes(), []).append(number)
    return list(groups.values())


def _most_telling(
    contains: Flags, known: Posterior, skipped: Collection[int], built: Collection[int | None]
) -> int:
    """The revision that as probably contains the guilty one as not.

    A measurement tells of the guilty one only through that yes or no, and most when the odds are
    even: the expected information is a symmetric, concave function of them.
    """
    off = np.abs(contains @ (known.guilty / known.guilty.sum()) - 0.5)
    off[list(skipped)] = np.inf
    best = int(np.argmin(off))
    near = [at for at in built if at is not None and off[at] <= off[best] + NEAR_BEST]
    return min(near, key=lambda at: float(off[at])) if near else best


def _cannot_tell(known: Posterior) -> Verdict:
    """With the fewest revisions that hold 95 % of the probability."""
    order = np.argsort(-known.guilty)
    held = np.cumsum(known.guilty[order])
    count = min(int(np.searchsorted(held, 0.95)) + 1, len(order))
    chosen = tuple(sorted(int(number) for number in order[:count]))
    return Verdict("can't tell", chosen, float(held[count - 1]), known.change, known.noise)
