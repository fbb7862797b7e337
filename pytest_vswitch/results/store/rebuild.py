"""From the runs of a reports directory into the store: their journals are the truth."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.results.record import Record
from pytest_vswitch.results.run_directory import RunDirectory, list_runs
from pytest_vswitch.results.sample import Sample, began_s, samples
from pytest_vswitch.results.store.history import History
from pytest_vswitch.results.store.sql import SqlStore

Tell = Callable[[str], None]


def _to_stderr(text: str) -> None:
    print(f"vswitch: {text}", file=sys.stderr)


def sync(store: History, reports: Path, tell: Tell = _to_stderr) -> int:
    """Add each run of `reports` that the store lacks or that has grown; how many samples.

    A run that cannot be read is told and passed over, each time anew. A history that is only
    for reading stays as it is. Raises HostError for a store or directory at fault.
    """
    if not isinstance(store, SqlStore):
        return 0
    known = store.read_from()
    added = 0
    for run, file_bytes in _files(reports):
        if known.get(run) != file_bytes:
            try:
                added += add_record(store, RunDirectory(reports / run).read(), file_bytes)
            except InputError as error:
                tell(f"run {run} is not in the store: {error}")
    return added


def rebuild(store: SqlStore, reports: Path, tell: Tell = _to_stderr) -> int:
    """Put each run of `reports` into the store anew, whatever that has of it.

    What was imported stays; so does what the store has of a run that cannot be read, which
    is told. How many samples. Raises HostError.
    """
    added = 0
    for run, file_bytes in _files(reports):
        try:
            record = RunDirectory(reports / run).read()
            lab, at_s, found = content_of(record)
            added += store.replace_run(lab, record.run.id, at_s, found, file_bytes=file_bytes)
        except InputError as error:
            tell(f"run {run} is left as it is in the store: {error}")
    return added


def add_record(store: SqlStore, record: Record, file_bytes: int) -> int:
    """Add one run, whose journal is that long; how many samples were new.

    Raises InputError, HostError: see `SqlStore.add`.
    """
    lab, at_s, found = content_of(record)
    return store.add_run(lab, record.run.id, at_s, found, file_bytes=file_bytes)


def size_of(directory: RunDirectory) -> int:
    """How long what the run is read from is [bytes]. Raises OSError."""
    file = directory.journal if directory.journal.exists() else directory.results
    return file.stat().st_size


def content_of(record: Record) -> tuple[str, float, list[Sample]]:
    """Its lab, when it began [Unix time, s] and what can be compared. Raises InputError."""
    lab = str(record.lab.get("name", ""))
    try:
        return lab, began_s(record), list(samples(record))
    except ValueError as error:
        raise InputError(f"`started`: {error}") from None


def _files(reports: Path) -> Iterator[tuple[str, int]]:
    """Each run, oldest first, with the size of the file that it is read from."""
    try:
        for run in list_runs(reports):
            yield run, size_of(RunDirectory(reports / run))
    except OSError as error:
        raise HostError(f"{error.filename or reports}: {error.strerror}") from None
