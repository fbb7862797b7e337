"""The journal of a run: one JSON line per event, on the disk before the next event.

A report can be made from it at any time, also of a run that was killed in the
middle of a search. Several processes may append to one journal: each line
names its case.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.measure.goals import GoalResult
from pytest_vswitch.measure.hint import Hint
from pytest_vswitch.measure.outcome import Outcome
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.results.contention import Contention
from pytest_vswitch.results.record import (
    SCHEMA_VERSION,
    BaselineCheck,
    Case,
    HostFacts,
    Measurement,
    Record,
    Run,
    ThresholdCheck,
    Verdict,
)
from pytest_vswitch.results.schema import explain, read_bytes, refuse_newer, write_atomically


@dataclass(frozen=True, slots=True)
class RunBegun:
    """The first line."""

    run: Run
    lab: Mapping[str, object]
    host: HostFacts
    schema_version: int = SCHEMA_VERSION
    event: Literal["run begun"] = "run begun"


@dataclass(frozen=True, slots=True)
class CaseBegun:
    case: Case
    """Without measurements, checks and template."""
    continues: bool = False
    """Whether measurements are added to those that the case has: its next round."""
    event: Literal["case begun"] = "case begun"


@dataclass(frozen=True, slots=True)
class MeasurementBegun:
    case_id: str
    repeat: int
    search: str
    hint: Hint | None = None
    event: Literal["measurement begun"] = "measurement begun"


@dataclass(frozen=True, slots=True)
class TrialEnded:
    case_id: str
    repeat: int
    trial: Trial
    event: Literal["trial"] = "trial"


@dataclass(frozen=True, slots=True)
class MeasurementEnded:
    case_id: str
    repeat: int
    results: tuple[GoalResult, ...]
    elapsed_s: float | None = None
    contention: Contention | None = None
    outcome: Outcome | None = None
    event: Literal["measurement ended"] = "measurement ended"


@dataclass(frozen=True, slots=True)
class CaseEnded:
    case_id: str
    verdict: Verdict
    checks: tuple[ThresholdCheck, ...] = ()
    error: str = ""
    template: Mapping[str, str] = field(default_factory=dict)
    baseline: tuple[BaselineCheck, ...] = ()
    event: Literal["case ended"] = "case ended"


@dataclass(frozen=True, slots=True)
class RunEnded:
    """Written only when every case had its turn: not after Ctrl-C."""

    event: Literal["run ended"] = "run ended"


@dataclass(frozen=True, slots=True)
class Repaired:
    """Written by `repair`, so that what was lost is told ever after."""

    damage: tuple[str, ...]
    event: Literal["repaired"] = "repaired"


Event = (
    RunBegun
    | CaseBegun
    | MeasurementBegun
    | TrialEnded
    | MeasurementEnded
    | CaseEnded
    | RunEnded
    | Repaired
)

_CUT = b"\0"
"""Marks a last line that has no line end: no JSON ends with it."""


class Journal:
    """A journal open for appending. Raises HostError if the file cannot be opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            self._file = os.open(path, flags, 0o644)
            _sync_directory(path.parent)
        except OSError as error:
            raise HostError(f"cannot open {path}: {error.strerror}") from error

    def append(self, event: Event) -> None:
        """Write one event; when this returns, it is on the disk.

        Raises HostError if it could not be written whole; the events before it stay
        intact and readable.
        """
        line = _adapter().dump_json(event) + b"\n"
        try:
            # The lock lets a failed write be taken back without cutting off another's.
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                self._write_whole(line)
                os.fsync(self._file)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            what = "disk full while writing" if full else "failed writing"
            raise HostError(
                f"{what} {self.path}: {error.strerror}; the events before are kept: "
                "make room, then `vswitch report RUN` shows them"
            ) from error

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write_whole(self, line: bytes) -> None:
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            line = b"\n" + line  # a power cut left half a line: damage no second one
        try:
            written = os.write(self._file, line)
            if written < len(line):
                raise OSError(errno.ENOSPC, f"only {written} of {len(line)} bytes went in")
        except BaseException:
            with suppress(OSError):
                os.ftruncate(self._file, size)
            raise


def read(path: Path) -> Record:
    """The run as far as its journal tells.

    Raises InputError, with file and line, when a line is damaged: nothing is left out
    silently.
    """
    lines = _lines(path)
    events, damage = _scan(path, lines)
    if damage:
        number, why = next(iter(damage.items()))
        more = f" (and {len(damage) - 1} more damaged)" if len(damage) > 1 else ""
        intact = len(lines) - len(damage)
        raise InputError(
            f"{path}:{number}: {why}{more}; {intact} of {len(lines)} lines are intact: "
            "`vswitch report RUN --repair` drops the damaged and keeps a copy"
        )
    return _build(events)


def repair(path: Path) -> tuple[str, ...]:
    """Drop the damaged lines; what they were, one sentence each (none: nothing was done).

    The damaged file is kept beside it as `journal.jsonl.damaged` (`.damaged-2` and so
    on when there is one already), and the journal says from then on what it lost.
    Raises InputError if the line that begins the run is damaged: there is no run
    without it.
    """
    lines = _lines(path)
    events, damage = _scan(path, lines)
    if not damage:
        return ()
    if not events:
        raise InputError(
            f"{path}:1: {damage[1]}: without the line that begins the run, "
            "there is nothing that a repair could keep"
        )
    copy = _free_name(path.with_name(path.name + ".damaged"))
    try:
        shutil.copy2(path, copy)
    except OSError as error:
        raise HostError(f"cannot write {copy}: {error.strerror}") from error
    told = tuple(f"{copy.name}, line {number}: {why}" for number, why in damage.items())
    kept = [line for number, line in enumerate(lines, 1) if number not in damage]
    kept.append(_adapter().dump_json(Repaired(told)))
    write_atomically(path, "".join(line.decode() + "\n" for line in kept))
    return told


def _lines(path: Path) -> list[bytes]:
    raw = read_bytes(path)
    if not raw.strip():
        raise InputError(f"{path}: is empty: the run ended before it began")
    lines = raw.split(b"\n")
    if not lines[-1]:
        lines.pop()
    else:
        lines[-1] += _CUT  # without its line end it is not whole, even if it parses
    return lines


def _scan(path: Path, lines: Sequence[bytes]) -> tuple[list[Event], dict[int, str]]:
    """The intact events, and what is wrong with the other lines, by line number."""
    events: list[Event] = []
    damage: dict[int, str] = {}
    known: set[str] = set()
    for number, line in enumerate(lines, 1):
        try:
            if number == 1:
                refuse_newer(_version(line), f"{path}:1")
            event = _adapter().validate_json(line, strict=True)
        except ValidationError as error:
            if error.errors(include_url=False)[0]["type"] != "json_invalid":
                damage[number] = explain(error, from_json(line), within="the line", skip=1)
            elif line.endswith(_CUT):
                damage[number] = "ends in the middle"
            else:
                damage[number] = "is damaged: it is not JSON"
            continue
        if not events and not isinstance(event, RunBegun):
            damage[number] = "stands before the line that begins the run, or that one is lost"
        elif isinstance(event, MeasurementBegun | TrialEnded | MeasurementEnded | CaseEnded) and (
            event.case_id not in known
        ):
            damage[number] = f"belongs to case {event.case_id}, whose beginning is lost"
        else:
            events.append(event)
            if isinstance(event, CaseBegun):
                known.add(event.case.id)
    return events, damage


def _build(events: Sequence[Event]) -> Record:
    """Replay the events."""
    first = events[0]
    assert isinstance(first, RunBegun)
    cases: list[Case] = []
    newest: dict[str, int] = {}
    finished = False
    damage: tuple[str, ...] = ()
    begun = 0
    for event in events[1:]:
        match event:
            case CaseBegun(case, continues) if continues and case.id in newest:
                position = newest[case.id]
                earlier = cases[position].measurements
                cases[position] = replace(case, measurements=earlier, verdict="incomplete")
            case CaseBegun(case):
                newest[case.id] = len(cases)
                cases.append(replace(case, measurements=(), verdict="incomplete"))
            case MeasurementBegun(case_id, repeat, search, hint):
                position = newest[case_id]
                cases[position] = _begin(cases[position], repeat, search, hint, begun)
                begun += 1
            case TrialEnded(case_id, repeat, trial):
                position = newest[case_id]
                cases[position] = _extend(cases[position], repeat, trials=(trial,))
            case MeasurementEnded(case_id, repeat, results, elapsed_s, contention, outcome):
                position = newest[case_id]
                cases[position] = _extend(
                    cases[position],
                    repeat,
                    results=results,
                    elapsed_s=elapsed_s,
                    contention=contention,
                    outcome=outcome,
                )
            case CaseEnded(case_id, verdict, checks, error, template, baseline):
                position = newest[case_id]
                cases[position] = replace(
                    cases[position],
                    verdict=verdict,
                    checks=checks,
                    baseline=baseline,
                    error=error,
                    template=template,
                )
            case RunEnded():
                finished = True
            case Repaired(lost):
                damage += lost
    return Record(
        first.schema_version, first.run, first.lab, first.host, tuple(cases), finished, damage
    )


def _begin(
    case: Case, repeat: int, search: str, hint: Hint | None = None, order: int | None = None
) -> Case:
    begun = Measurement(repeat, search, (), (), hint=hint, order=order)
    return replace(case, measurements=(*case.measurements, begun))


def _extend(
    case: Case,
    repeat: int,
    trials: tuple[Trial, ...] = (),
    results: tuple[GoalResult, ...] = (),
    elapsed_s: float | None = None,
    contention: Contention | None = None,
    outcome: Outcome | None = None,
) -> Case:
    """Add to the case's measurement; one whose beginning was lost is of unknown search."""
    if not any(m.repeat == repeat for m in case.measurements):
        case = _begin(case, repeat, "unknown")
    return replace(
        case,
        measurements=tuple(
            replace(
                m,
                trials=m.trials + trials,
                results=m.results + results,
                elapsed_s=elapsed_s,
                contention=contention,
                outcome=outcome,
            )
            if m.repeat == repeat
            else m
            for m in case.measurements
        ),
    )


def _version(line: bytes) -> int:
    try:
        content = from_json(line)
    except ValueError:
        return 0
    version = content.get("schema_version") if isinstance(content, dict) else None
    return version if isinstance(version, int) else 0


def _free_name(path: Path) -> Path:
    number, name = 1, path
    while name.exists():
        number += 1
        name = path.with_name(f"{path.name}-{number}")
    return name


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@cache
def _adapter() -> TypeAdapter[Event]:
    union = Annotated[Event, Field(discriminator="event")]
    return TypeAdapter(union, config=ConfigDict(extra="forbid", allow_inf_nan=False))
