"""What a bisect has done so far, on the disk after each step: a killed one goes on from there."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from pytest_vswitch.errors import HostError, InputError

VERSION = 1


@dataclass(frozen=True, slots=True)
class Question:
    """What is searched; a state directory is of one question."""

    repository: str
    good: str
    """Full hash."""
    bad: str
    case: str
    metric: str
    hooks: Mapping[str, str]
    """How revisions are built and measured, by name."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One value."""

    revision: str
    """Full hash."""
    value: float


@dataclass(frozen=True, slots=True)
class Skipped:
    """A revision without a value."""

    revision: str
    why: str
    """The last words of what failed."""


Event = Measured | Skipped


class State:
    """An open state directory; nobody else has it open."""

    def __init__(self, directory: Path, file: TextIO, events: list[Event]) -> None:
        self.directory = directory
        self.events = events
        self._file = file

    def append(self, event: Event) -> None:
        """When this returns, it is on the disk. Raises HostError."""
        _write(self._file, {"event": type(event).__name__.lower(), **asdict(event)})
        self.events.append(event)

    @property
    def source(self) -> Path:
        """The copy of the repository in which revisions are built."""
        return self.directory / "source"

    def prefix(self, revision: str) -> Path:
        """Where the build hook leaves a revision's programs."""
        return self.directory / "builds" / revision

    @property
    def reports(self) -> Path:
        """The runs that measured."""
        return self.directory / "reports"


@contextlib.contextmanager
def opened(directory: Path, question: Question) -> Iterator[State]:
    """Make the directory, or go on with the one there.

    Raises InputError when it is of another question, damaged or in use, HostError when it
    cannot be written.
    """
    directory = directory.absolute()
    path = directory / "bisect.jsonl"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{directory} is in use: this very bisect runs already") from None
        lines = _whole_lines(file)
        if not lines:
            _write(file, {"event": "begun", "version": VERSION, **asdict(question)})
        else:
            _check(path, lines[0], question)
        yield State(directory, file, [_event(path, n, line) for n, line in enumerate(lines[1:], 2)])


def _whole_lines(file: TextIO) -> list[str]:
    """Without a last line that was cut short: its measurement is made again."""
    file.seek(0)
    text = file.read()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        os.ftruncate(file.fileno(), len(whole.encode()))
    return whole.splitlines()


def _check(path: Path, line: str, question: Question) -> None:
    begun = _parsed(path, 1, line)
    if begun.get("version") != VERSION:
        raise InputError(f"{path}: is of another version of pytest-vswitch: give another --state")
    asked = asdict(question)
    for name, value in asked.items():
        if begun.get(name) != value:
            raise InputError(
                f"{path}: is of another bisect: its {name} is {begun.get(name)}, not {value}; "
                "give another --state"
            )


def _event(path: Path, number: int, line: str) -> Event:
    found = _parsed(path, number, line)
    match found:
        case {"event": "measured", "revision": str(revision), "value": float(value)}:
            return Measured(revision, value)
        case {"event": "skipped", "revision": str(revision), "why": str(why)}:
            return Skipped(revision, why)
    raise InputError(f"{path}:{number}: is no step of a bisect: delete the line to go on without")


def _parsed(path: Path, number: int, line: str) -> dict[str, object]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{path}:{number}: is damaged: delete the line to go on without it")
    return found


def _write(file: TextIO, line: Mapping[str, object]) -> None:
    try:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
        raise HostError(
            f"failed writing {file.name}: {error.strerror}; the steps before are kept: make room, "
            "then the same command goes on"
        ) from None
