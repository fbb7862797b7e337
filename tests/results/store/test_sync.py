"""From journals into the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_vswitch.errors import HostError
from pytest_vswitch.results import run_directory
from pytest_vswitch.results.journal import (
    CaseBegun,
    Journal,
    MeasurementBegun,
    MeasurementEnded,
    RunBegun,
    RunEnded,
    TrialEnded,
)
from pytest_vswitch.results.record import Record
from pytest_vswitch.results.run_directory import RunDirectory
from pytest_vswitch.results.sample import samples
from pytest_vswitch.results.store.history import Selection
from pytest_vswitch.results.store.rebuild import rebuild, sync
from pytest_vswitch.results.store.sql import SqlStore
from tests.records import RUN, case, measurement, record
from tests.results.store.made import SAMPLE, night


def made(number: int, *, repeats: int = 2) -> Record:
    several = [replace(measurement(), repeat=repeat) for repeat in range(1, repeats + 1)]
    whole = record(replace(case(measurements=several), verdict="measured"))
    return replace(
        whole,
        run=replace(
            RUN, id=f"20261121-02450{number}-1234", started=f"2026-11-21T02:45:0{number}+00:00"
        ),
    )


def write(reports: Path, whole: Record, *, repeats: int = 2, ended: bool = True) -> RunDirectory:
    """A run in `reports`, as far as that many repeats."""
    directory = RunDirectory(reports / whole.run.id)
    if not directory.path.exists():
        run_directory.create(reports, whole.run.id)
    directory.journal.unlink(missing_ok=True)
    (only,) = whole.cases
    with Journal(directory.journal) as journal:
        journal.append(RunBegun(whole.run, whole.lab, whole.host))
        journal.append(CaseBegun(replace(only, measurements=(), checks=(), template={})))
        for one in only.measurements[:repeats]:
            journal.append(MeasurementBegun(only.id, one.repeat, one.search))
            for trial in one.trials:
                journal.append(TrialEnded(only.id, one.repeat, trial))
            journal.append(MeasurementEnded(only.id, one.repeat, one.results))
        if ended:
            journal.append(RunEnded())
    return directory


def kept(store: SqlStore) -> list[tuple[str, int, str, float]]:
    found = store.samples(Selection())
    return [(one.run, one.order, one.metric, one.value) for one in found]


def expected(records: Sequence[Record]) -> list[tuple[str, int, str, float]]:
    return sorted(
        (one.run, one.order, one.metric, one.value) for whole in records for one in samples(whole)
    )


def test_the_store_catches_up_with_the_journals(store: SqlStore, tmp_path: Path) -> None:
    runs = [made(number) for number in range(3)]
    write(tmp_path, runs[0])
    assert sync(store, tmp_path) == 6
    assert sync(store, tmp_path) == 0
    for one in runs[1:]:
        write(tmp_path, one)
    assert sync(store, tmp_path) == 12
    assert kept(store) == expected(runs)
    assert [run.lab for run in store.runs()] == [str(runs[0].lab["name"])] * 3


def test_a_run_that_is_read_twice_is_not_opened_again(
    store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, made(0))
    run = replace(made(1), cases=())  # nothing to compare in it
    run_directory.create(tmp_path, run.run.id).write(run)
    assert sync(store, tmp_path) == 6
    read: list[Path] = []
    monkeypatch.setattr(RunDirectory, "read", lambda self: read.append(self.path))
    assert sync(store, tmp_path) == 0
    assert read == []


def test_a_run_under_way_is_completed_later(store: SqlStore, tmp_path: Path) -> None:
    run = made(0)
    write(tmp_path, run, repeats=1, ended=False)
    assert sync(store, tmp_path) == 3
    write(tmp_path, run)
    assert sync(store, tmp_path) == 3
    assert kept(store) == expected([run])


def test_a_damaged_journal_is_told_each_time_and_passed_over(
    store: SqlStore, tmp_path: Path
) -> None:
    runs = [made(number) for number in range(3)]
    directories = [write(tmp_path, one) for one in runs]
    whole = directories[1].journal.read_bytes()
    directories[1].journal.write_bytes(whole.replace(b'"trial"', b'"tri\xff', 1))
    for added in (12, 0):
        told: list[str] = []
        assert sync(store, tmp_path, told.append) == added
        (text,) = told
        assert runs[1].run.id in text
        assert "journal.jsonl:4" in text
    assert kept(store) == expected([runs[0], runs[2]])
    directories[1].journal.write_bytes(whole)
    assert sync(store, tmp_path) == 6
    assert kept(store) == expected(runs)


def test_a_journal_that_says_something_else_now_is_told_until_it_is_rebuilt(
    store: SqlStore, tmp_path: Path
) -> None:
    run = made(0)
    write(tmp_path, run)
    sync(store, tmp_path)
    store.add([*night(1), replace(SAMPLE, run="imported")])
    (only,) = run.cases
    shorter = [replace(one, results=one.results[:1]) for one in only.measurements]
    faster = [
        replace(one, results=tuple(replace(r, lower_pps=12_345.0) for r in one.results))
        for one in shorter
    ]
    changed = replace(run, cases=(replace(only, measurements=tuple(faster)),))
    write(tmp_path, changed)
    told: list[str] = []
    assert sync(store, tmp_path, told.append) == 0
    assert "other content" in told[0]
    assert "vswitch store rebuild" in told[0]

    assert rebuild(store, tmp_path) == len(expected([changed]))
    assert [one for one in kept(store) if one[0] == run.run.id] == expected([changed])
    assert len(kept(store)) == 7 + len(expected([changed]))
    assert sync(store, tmp_path) == 0


def test_rebuilding_leaves_what_cannot_be_read(store: SqlStore, tmp_path: Path) -> None:
    directory = write(tmp_path, made(0))
    sync(store, tmp_path)
    directory.journal.write_bytes(b"garbage\n")
    told: list[str] = []
    assert rebuild(store, tmp_path, told.append) == 0
    assert "left as it is" in told[0]
    assert kept(store) == expected([made(0)])


def test_no_reports_are_nothing_to_add(store: SqlStore, tmp_path: Path) -> None:
    assert sync(store, tmp_path / "none") == 0


def test_a_directory_that_cannot_be_read_is_told(
    store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr("pytest_vswitch.results.store.rebuild.list_runs", refuse)
    with pytest.raises(HostError, match=f"{tmp_path}: Permission denied"):
        sync(store, tmp_path)
