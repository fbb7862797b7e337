"""The sides of a comparison: which samples a person means by a run, several, or a version."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from pytest_vswitch.errors import InputError
from pytest_vswitch.results import run_directory
from pytest_vswitch.results.run_directory import LATEST
from pytest_vswitch.results.sample import VERSION_PARAMETERS, Sample, samples
from pytest_vswitch.results.store.history import History, RunSummary, Selection

RUNS_OF_A_VERSION = 20
"""A version is its newest runs, so many: what lies years back was made on another machine."""

MOST_TOLD = 4
"""Names of runs, versions or cases in a message."""

ROLES = dict(zip(VERSION_PARAMETERS, ("host dpdk", "guest dpdk", "qemu"), strict=True))
"""The software that a version parameter chooses, as `Environment.software` calls it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where sides are looked for, and what of them is wanted."""

    history: History
    reports: Path
    """For runs that the history does not have."""
    lab: str | None = None
    """`latest` and versions are of this lab's runs."""
    cases: str = "*"
    """Pattern of case ids, as in a shell."""
    metrics: tuple[str, ...] = ()
    """Empty: all."""
    runs_of_a_version: int = RUNS_OF_A_VERSION
    but: str = ""
    """Id of a run that is none of them: the one under way."""

    def wants(self, sample: Sample) -> bool:
        return (not self.metrics or sample.metric in self.metrics) and (
            fnmatchcase(sample.case, self.cases)
        )


@dataclass(frozen=True, slots=True)
class Side:
    """The samples of one side, in the order they were made."""

    name: str
    """As it was asked for."""
    samples: tuple[Sample, ...]
    left_out: tuple[str, ...] = field(default=())
    """What was not taken, a sentence each."""

    @property
    def runs(self) -> tuple[str, ...]:
        """Ids, oldest first."""
        return tuple(dict.fromkeys(sample.run for sample in self.samples))


def find(name: str, where: Where) -> Side:
    """What `name` means: `latest`, runs (id, directory, results.json) or versions.

    Several with commas are one side. A version is `dpdk=22.11`, `guest_dpdk=22.11` or
    `qemu=7.2`: what a case was asked to use, or what the program said of itself; 22.11 is
    22.11.7, too. Without a name it is that of the host's DPDK.

    Raises InputError, with what there is, when there is none such, or nothing in it is wanted.
    """
    words = [word for word in map(str.strip, name.split(",")) if word]
    if not words:
        raise InputError("an empty name for a side: give a run, a version, or `latest`")
    every = [run for run in where.history.runs() if run.run != where.but and run.samples]
    known = [run for run in every if where.lab in (None, run.lab)]
    found: dict[tuple[object, ...], Sample] = {}
    left_out: list[str] = []
    for word in words:
        named = [run for run in every if run.run == word]
        side = _of_runs(word, named, where) if named else _one(word, where, known)
        found.update({_identity(sample): sample for sample in side.samples})
        left_out += side.left_out
    ordered = sorted(found.values(), key=lambda one: (one.at_s, one.run, one.order))
    wanted = tuple(sample for sample in ordered if where.wants(sample))
    if not wanted:
        raise InputError(_nothing_wanted(name, ordered, where))
    return Side(name, wanted, tuple(left_out))


def _identity(sample: Sample) -> tuple[object, ...]:
    """Each word of a side may name the same run."""
    versions = tuple(sorted(sample.versions.items()))
    return sample.lab, sample.run, sample.order, sample.case, sample.metric, versions


def _one(word: str, where: Where, known: Sequence[RunSummary]) -> Side:
    if word == LATEST and known:
        return _of_runs(word, known[-1:], where)
    parameter, equals, version = word.partition("=")
    if equals and parameter in ROLES:
        return _of_version(word, parameter, version, where, known)
    if word != LATEST and (outside := _outside(word, where)):
        return outside
    if re.match(r"v?\d+\.\d", word):
        return _of_version(word, VERSION_PARAMETERS[0], word.removeprefix("v"), where, known)
    raise InputError(f"there is no run and no version `{word}`{_in(where)}; {_there_is(known)}")


def _of_runs(word: str, runs: Sequence[RunSummary], where: Where) -> Side:
    return Side(word, tuple(where.history.samples(_selection(runs))))


def _selection(runs: Sequence[RunSummary]) -> Selection:
    # The labs, too: those of a team may have runs of the same id.
    return Selection(
        labs=tuple(dict.fromkeys(run.lab for run in runs)), runs=tuple(run.run for run in runs)
    )


def _outside(word: str, where: Where) -> Side | None:
    """A run that lies in a directory, whatever the history has."""
    path = Path(word)
    if not (path.exists() or (where.reports / word).exists()):
        return None
    record = run_directory.find(where.reports, word).read()
    return Side(word, tuple(samples(record)))


def _of_version(
    word: str, parameter: str, version: str, where: Where, known: Sequence[RunSummary]
) -> Side:
    """The newest runs with that version, of one lab and one machine."""
    role = ROLES[parameter]
    told = [run for run in known if _says(run.software.get(role, ""), version)]
    # A lab may call a version as it likes; then only the samples tell.
    for runs in filter(None, (told, known)):
        if side := _newest(word, parameter, version, where, runs):
            return side
    raise InputError(f"nothing was measured with `{word}`{_in(where)}; {_there_is(known, role)}")


def _newest(
    word: str, parameter: str, version: str, where: Where, runs: Sequence[RunSummary]
) -> Side | None:
    step, newest = where.runs_of_a_version, None
    for end in range(len(runs), 0, -step):
        found = _with_version(parameter, version, where, runs[max(0, end - step) : end])
        if found:
            newest = found[-1]
            break
    if newest is None:
        return None
    alike = [
        run
        for run in runs
        if run.lab == newest.lab and run.simulated == newest.simulated and run.at_s <= newest.at_s
    ]
    taken = _with_version(parameter, version, where, alike[-step:])
    machine = newest.environment.machine
    kept = [sample for sample in taken if sample.environment.machine == machine]
    left_out = []
    if len(alike) > step:
        left_out.append(f"{word}: the newest {step} of {len(alike)} runs")
    if len(kept) < len(taken):
        runs_left = {s.run for s in taken} - {s.run for s in kept}
        left_out.append(
            f"{word}: without {len(runs_left)} older runs, made when the machine was another"
        )
    return Side(word, tuple(kept), tuple(left_out))


def _with_version(
    parameter: str, version: str, where: Where, runs: Sequence[RunSummary]
) -> list[Sample]:
    """Those that were measured under that name; only if there are none, by what programs told."""
    if not runs:
        return []
    named, told = [], []
    for sample in where.history.samples(_selection(runs)):
        if sample.versions.get(parameter) == version:
            named.append(sample)
        elif _says(sample.environment.software.get(ROLES[parameter], ""), version):
            told.append(sample)
    return named or told


def _says(software: str, version: str) -> bool:
    """Whether `DPDK 22.11.7` (or several, `DPDK 22.11.7 / DPDK 24.11.1`) is 22.11."""
    there = rf"(?<![\w.:+-]){re.escape(version)}(\.\d+)*(?![\w.-])"
    return bool(version and re.search(there, software))


def _in(where: Where) -> str:
    return f" in lab {where.lab}" if where.lab else ""


def _there_is(known: Sequence[RunSummary], role: str = ROLES["dpdk"]) -> str:
    if not known:
        return "no run is kept; `pytest suites/pvp --dut LAB` makes one"
    text = f"there are the runs {_newest_of([run.run for run in known])}"
    told = (version for run in known for version in run.software.get(role, "").split(" / "))
    versions = list(dict.fromkeys(filter(None, told)))
    return f"{text}, and of {role} the versions {_newest_of(versions)}" if versions else text


def _newest_of(names: Sequence[str]) -> str:
    older = f" and {len(names) - MOST_TOLD} older" if len(names) > MOST_TOLD else ""
    return ", ".join(names[-MOST_TOLD:]) + older


def _nothing_wanted(name: str, there: Sequence[Sample], where: Where) -> str:
    if not there:
        return f"{name} has no results to compare: none of its cases came to its end"
    cases = list(dict.fromkeys(sample.case for sample in there))
    metrics = list(dict.fromkeys(sample.metric for sample in there))
    more = f" and {len(cases) - MOST_TOLD} more" if len(cases) > MOST_TOLD else ""
    return (
        f"{name} has nothing of what is asked for; its cases are "
        f"{', '.join(cases[:MOST_TOLD])}{more}, "
        f"its metrics {', '.join(metrics)}"
    )
