"""What differs between the environments of two sides, and what of it forbids a comparison."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_vswitch.results.sample import VERSION_PARAMETERS, Sample

Part = Literal["machine", "software", "setup", "asked for"]
ABSENT = "none"

_LONG = 60
"""Texts above this are told by the words in which they differ."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact that is not the same on both sides."""

    part: Part
    name: str
    before: str
    """Each value that the side has, joined by ` / `; `none` if it has none."""
    after: str

    def __str__(self) -> str:
        return f"{self.name}: {self.before} → {self.after}"


def differences(before: Sequence[Sample], after: Sequence[Sample]) -> tuple[Difference, ...]:
    """By name: machine, software, setup, and the versions that the cases were asked to use."""
    found: list[Difference] = []
    pairs = list(zip(_facts(before), _facts(after), strict=True))
    for (part, one), (_, other) in pairs:
        for name in dict.fromkeys((*one, *other)):
            values, others = one.get(name, ()), other.get(name, ())
            if set(values) != set(others):
                found.append(Difference(part, name, *_texts(values, others)))
    return tuple(found)


def refusals(before: Sequence[Sample], after: Sequence[Sample]) -> tuple[str, ...]:
    """Why numbers of these two say nothing about one another; empty when they compare.

    What is asked of each case by itself (generator, accelerator) is told once.
    """
    reasons = list(_mixed(before, after))
    machine = [one for one in differences(before, after) if one.part == "machine"]
    if machine:
        reasons.append(f"the machines differ in {'; '.join(map(str, machine))}")
    simulated, others = ({s.simulated for s in side} for side in (before, after))
    if simulated != others:
        reasons.append("one side is simulated, the other is real")
    cases, others_cases = _by_case(before), _by_case(after)
    for what, name in (
        ("traffic generators", "traffic generator"),
        ("accelerators", "accelerator"),
    ):
        differing = {
            (_kinds(cases[case], name), _kinds(others_cases[case], name)): case
            for case in reversed(cases)
            if case in others_cases
        }
        for (one, other), case in differing.items():
            if one != other:
                reasons.append(f"the {what} differ: {one} → {other} (e.g. in {case})")
    return tuple(reasons)


def _mixed(before: Sequence[Sample], after: Sequence[Sample]) -> Iterator[str]:
    """A side of several machines has no number of its own."""
    for name, side in (("first", before), ("second", after)):
        machines = {id(s.environment): s.environment.machine for s in side}.values()
        first = next(iter(machines), {})
        if any(machine != first for machine in machines):
            labs = ", ".join(dict.fromkeys(sample.lab for sample in side))
            yield f"the {name} side is of several machines (labs: {labs})"


def _facts(side: Sequence[Sample]) -> Iterator[tuple[Part, Mapping[str, Sequence[str]]]]:
    """The values of each name, in the order they came."""
    # Thousands of samples share a few environments.
    environments = {id(sample.environment): sample.environment for sample in side}.values()
    yield "machine", _values(environment.machine for environment in environments)
    yield "software", _values(environment.software for environment in environments)
    yield "setup", _values(environment.setup for environment in environments)
    asked = _values(sample.versions for sample in side)
    yield "asked for", {name: asked[name] for name in VERSION_PARAMETERS if name in asked}


def _values(facts: Iterable[Mapping[str, str]]) -> dict[str, Sequence[str]]:
    found: dict[str, dict[str, None]] = {}
    for one in facts:
        for name, value in one.items():
            if value:
                found.setdefault(name, {})[value] = None
    return {name: tuple(values) for name, values in found.items()}


def _by_case(side: Sequence[Sample]) -> dict[str, list[Sample]]:
    cases: dict[str, list[Sample]] = {}
    for sample in side:
        cases.setdefault(sample.case, []).append(sample)
    return cases


def _kinds(side: Sequence[Sample], name: str) -> str:
    """Without versions and places: `pytest-vswitch memif 0.1.0 on CPU 1` is one of memif."""
    kinds = (
        re.split(r",| v?\d| on ", sample.environment.setup.get(name) or ABSENT)[0]
        for sample in side
    )
    return " / ".join(dict.fromkeys(kinds))


def _texts(values: Sequence[str], others: Sequence[str]) -> tuple[str, str]:
    one, other = " / ".join(values) or ABSENT, " / ".join(others) or ABSENT
    if len(one) <= _LONG or len(other) <= _LONG or {one, other} & {ABSENT}:
        return one, other
    words, other_words = one.split(), other.split()
    own = [word for word in words if word not in other_words]
    others_own = [word for word in other_words if word not in words]
    if not own and not others_own:
        return one, other  # the same words in another order
    return f"… {' '.join(own) or '(no more)'}", f"… {' '.join(others_own) or '(no more)'}"
