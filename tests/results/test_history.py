"""What earlier runs found is found again; what cannot be read harms nobody."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_vswitch.measure.goals import Goal
from pytest_vswitch.measure.hint import Hint, HintedInterval
from pytest_vswitch.results import history, schema
from pytest_vswitch.results.journal import Journal, MeasurementEnded, RunBegun
from pytest_vswitch.results.record import Record
from tests.records import case, measurement, record
from tests.results.test_journal import events, write

LAB = "local"


def kept(reports: Path, run: str, whole: Record) -> Path:
    directory = reports / run
    directory.mkdir()
    write(directory / "journal.jsonl", *events(whole))
    return directory


def known(reports: Path, case_id: str = "pvp:frame_bytes=64", **but: str) -> Hint | None:
    return history.of_case(reports, case_id, LAB, **but)


@pytest.fixture
def whole() -> Record:
    found = record(case(measurements=[measurement(1)]), case(frame_bytes=1518))
    assert found.lab["name"] == LAB
    return found


def test_the_newest_run_of_the_case_counts(tmp_path: Path, whole: Record) -> None:
    kept(tmp_path, "20260101-000000-1", whole)
    kept(tmp_path, "20260102-000000-1", whole)
    kept(tmp_path, "20260103-000000-1", record(case(frame_bytes=1518)))
    found = known(tmp_path)
    assert found is not None
    assert found.source == "run 20260102-000000-1"
    assert found.same_case
    assert found.intervals == tuple(
        HintedInterval(r.goal.loss_ratio, r.lower_pps or 0.0, r.upper_pps)
        for r in whole.cases[0].measurements[0].results
    )
    older = known(tmp_path, but="20260102-000000-1")
    assert older is not None
    assert older.source == "run 20260101-000000-1"


def test_other_cases_and_other_labs_say_nothing(tmp_path: Path, whole: Record) -> None:
    kept(tmp_path, "20260101-000000-1", whole)
    assert known(tmp_path, "pvp:frame_bytes=128") is None
    assert history.of_case(tmp_path, "pvp:frame_bytes=64", "lab2") is None
    assert known(tmp_path / "nowhere") is None


def test_a_copied_results_file_is_enough(tmp_path: Path, whole: Record) -> None:
    (tmp_path / "copied").mkdir()
    schema.dump(whole, tmp_path / "copied" / "results.json")
    found = known(tmp_path)
    assert found is not None
    assert len(found.intervals) == 2


def test_a_run_that_was_killed_tells_what_it_had_found(tmp_path: Path, whole: Record) -> None:
    path = kept(tmp_path, "20260101-000000-1", whole) / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    end = next(number for number, line in enumerate(lines) if b"measurement ended" in line)
    path.write_bytes(b"".join([*lines[: end + 1], lines[end + 1][:20]]))
    assert known(tmp_path) is not None
    path.write_bytes(b"".join([*lines[:end], lines[end][:-30]]))
    assert known(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\0\0\0\n",
        b"\xff\xfe",
        b"{}\n",
        b"[]\n",
        b"null\n",
        b"1\n",
        b'{"lab": null}\n',
        b'{"lab": {"name": "local"}}\n"measurement ended"\n',
        b'{"lab": {"name": "local"}}\n{"event": "measurement ended"}\n',
        b'{"lab": {"name": "local"}}\n{"event": "measurement ended", '
        b'"case_id": "pvp:frame_bytes=64", "results": [7]}\n',
        b"[" * 100_000,
    ],
)
@pytest.mark.parametrize("name", ["journal.jsonl", "results.json"])
def test_foreign_and_broken_files_are_passed_over(
    tmp_path: Path, whole: Record, text: bytes, name: str
) -> None:
    kept(tmp_path, "20260101-000000-1", whole)
    (tmp_path / "20260102-000000-1").mkdir()
    (tmp_path / "20260102-000000-1" / name).write_bytes(text)
    (tmp_path / "20260103-000000-1" / "journal.jsonl").mkdir(parents=True)
    found = known(tmp_path)
    assert found is not None
    assert found.source == "run 20260101-000000-1"


@pytest.mark.parametrize(
    ("lower", "upper", "ratio"),
    [
        (0, 5.0, 0.0),
        (-1.0, 5.0, 0.0),
        (9.0, 5.0, 0.0),
        ("7", 9.0, 0.0),
        (True, 9.0, 0.0),
        (1e300, None, 0.0),
        (7.0, "9", 0.0),
        (7.0, 9.0, 1.0),
        (7.0, 9.0, None),
    ],
)
def test_results_that_make_no_sense_are_no_hint(
    tmp_path: Path, whole: Record, lower: object, upper: object, ratio: object
) -> None:
    kept(tmp_path, "20260101-000000-1", record())
    path = tmp_path / "20260101-000000-1" / "journal.jsonl"
    event = {
        "event": "measurement ended",
        "case_id": "pvp:frame_bytes=64",
        "results": [{"goal": {"loss_ratio": ratio}, "lower_pps": lower, "upper_pps": upper}],
    }
    path.write_text(path.read_text().splitlines()[0] + "\n" + json.dumps(event) + "\n")
    assert known(tmp_path) is None


def test_only_so_many_runs_are_looked_at(
    tmp_path: Path, whole: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(tmp_path, "20260101-000000-1", whole)
    kept(tmp_path, "20260102-000000-1", record(case(frame_bytes=1518)))
    monkeypatch.setattr(history, "RUNS", 1)
    assert known(tmp_path) is None


def test_trials_are_not_read(tmp_path: Path, whole: Record) -> None:
    """Whatever stands in the lines of trials: a journal of hours has millions of them."""
    path = kept(tmp_path, "20260101-000000-1", whole) / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(
        b"".join(b"not JSON\n" if b'"event":"trial"' in line else line for line in lines)
    )
    assert known(tmp_path) is not None


def test_the_record_keeps_the_goals_that_a_hint_is_of(tmp_path: Path, whole: Record) -> None:
    """Goals are told apart by their loss ratio, not by their name."""
    first = whole.cases[0].measurements[0].results[0]
    directory = tmp_path / "20260101-000000-1"
    directory.mkdir()
    with Journal(directory / "journal.jsonl") as journal:
        journal.append(RunBegun(whole.run, whole.lab, whole.host))
        journal.append(MeasurementEnded("pvp:frame_bytes=64", 1, (first,)))
    found = known(tmp_path)
    assert found is not None
    assert found.interval(Goal("whatever", 0.0)) is not None
    assert found.interval(Goal("NDR", 0.001)) is None
