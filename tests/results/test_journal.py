from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.results import journal
from pytest_vswitch.results.journal import (
    CaseBegun,
    CaseEnded,
    Event,
    Journal,
    MeasurementBegun,
    MeasurementEnded,
    RunBegun,
    RunEnded,
    TrialEnded,
)
from pytest_vswitch.results.record import Case, Record
from tests.records import case, measurement, record, trial


def events_of_case(whole: Case) -> Iterator[Event]:
    yield CaseBegun(replace(whole, measurements=(), checks=(), template={}, verdict="measured"))
    for m in whole.measurements:
        yield MeasurementBegun(whole.id, m.repeat, m.search)
        yield from (TrialEnded(whole.id, m.repeat, t) for t in m.trials)
        yield MeasurementEnded(whole.id, m.repeat, m.results, m.elapsed_s)
    yield CaseEnded(whole.id, whole.verdict, whole.checks, whole.error, whole.template)


def events(whole: Record) -> Iterator[Event]:
    yield RunBegun(whole.run, whole.lab, whole.host)
    for c in whole.cases:
        yield from events_of_case(c)
    if whole.finished:
        yield RunEnded()


def write(path: Path, *several: Event) -> Path:
    with Journal(path) as open_journal:
        for event in several:
            open_journal.append(event)
    return path


@pytest.fixture
def whole() -> Record:
    return record(case(measurements=[measurement(1), measurement(2)]), case(frame_bytes=1518))


@pytest.fixture
def path(tmp_path: Path, whole: Record) -> Path:
    return write(tmp_path / "journal.jsonl", *events(whole))


def test_what_is_written_is_read_back_equal(path: Path, whole: Record) -> None:
    assert journal.read(path) == whole
    assert all(json.loads(line)["event"] for line in path.read_text().splitlines())


def test_every_prefix_is_a_readable_unfinished_run(path: Path, whole: Record) -> None:
    lines = path.read_text().splitlines(keepends=True)
    for count in range(1, len(lines)):
        path.write_text("".join(lines[:count]))
        partial = journal.read(path)
        assert not partial.finished
        trials = sum(len(m.trials) for c in partial.cases for m in c.measurements)
        assert trials == sum('"event":"trial"' in line for line in lines[:count])
        ended = sum('"event":"case ended"' in line for line in lines[:count])
        verdicts = [c.verdict for c in partial.cases]
        assert verdicts == ["measured"] * ended + ["incomplete"] * (len(verdicts) - ended)


def test_events_of_two_processes_may_alternate(tmp_path: Path, whole: Record) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as first, Journal(path) as second:
        first.append(RunBegun(whole.run, whole.lab, whole.host))
        streams = [
            (first, events_of_case(whole.cases[0])),
            (second, events_of_case(whole.cases[1])),
        ]
        while streams:
            for writer, stream in list(streams):
                event = next(stream, None)
                if event is None:
                    streams.remove((writer, stream))
                else:
                    writer.append(event)
        first.append(RunEnded())
    assert journal.read(path) == whole


def test_a_case_that_is_run_again_stands_twice(tmp_path: Path) -> None:
    first, second = case(verdict="error", error="guest died", measurements=()), case()
    path = write(tmp_path / "journal.jsonl", *events(record(first, second)))
    assert journal.read(path).cases == (first, second)


KILLED = """
import os, signal, sys
from pathlib import Path
from pytest_vswitch.results.journal import Journal, RunBegun, CaseBegun, TrialEnded
from tests.records import case, record, trial
whole = record()
with Journal(Path(sys.argv[1])) as journal:
    journal.append(RunBegun(whole.run, whole.lab, whole.host))
    journal.append(CaseBegun(case(measurements=())))
    for number in range(1, 6):
        journal.append(TrialEnded(whole.cases[0].id, 1, trial(number, 1e4)))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_keeps_every_trial(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    survivor = journal.read(path)
    assert not survivor.finished
    assert survivor.cases[0].verdict == "incomplete"
    assert [t.number for t in survivor.cases[0].measurements[0].trials] == [1, 2, 3, 4, 5]


def read_fault(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        journal.read(path)
    return str(caught.value)


def test_truncated_last_line(path: Path, whole: Record) -> None:
    content = path.read_bytes()
    total = content.count(b"\n")
    for cut in (1, 5, 19):
        path.write_bytes(content[:-cut])
        assert read_fault(path) == (
            f"{path}:{total}: ends in the middle; {total - 1} of {total} lines are intact: "
            "`vswitch report RUN --repair` drops the damaged and keeps a copy"
        )
    damaged = path.read_bytes()
    (told,) = journal.repair(path)
    assert told == f"journal.jsonl.damaged, line {total}: ends in the middle"
    assert path.with_name("journal.jsonl.damaged").read_bytes() == damaged
    repaired = journal.read(path)
    assert repaired == replace(whole, finished=False, damage=(told,))
    assert journal.repair(path) == ()


def test_corrupt_line_in_the_middle_is_the_only_one_dropped(path: Path, whole: Record) -> None:
    lines = path.read_bytes().split(b"\n")
    victim = next(i for i, line in enumerate(lines) if b'"number":3' in line)
    lines[victim] = b"\x00\xff" + lines[victim][2:]
    path.write_bytes(b"\n".join(lines))
    assert f"{path}:{victim + 1}: is damaged: it is not JSON; " in read_fault(path)
    journal.repair(path)
    repaired = journal.read(path)
    numbers = [t.number for t in repaired.cases[0].measurements[0].trials]
    assert numbers == [1, 2, 4, 5, 6]
    assert repaired.cases[1:] == whole.cases[1:]
    assert repaired.finished
    assert len(repaired.damage) == 1


def test_lost_beginning_of_a_case_takes_its_lines_along_and_says_so(path: Path) -> None:
    lines = path.read_text().splitlines()
    begun = [i for i, line in enumerate(lines) if '"event":"case begun"' in line][1]
    lines[begun] = lines[begun][:40]
    path.write_text("\n".join(lines) + "\n")
    assert "(and 9 more damaged)" in read_fault(path)
    told = journal.repair(path)
    assert "belongs to case pvp:frame_bytes=1518, whose beginning is lost" in told[1]
    assert [c.id for c in journal.read(path).cases] == ["pvp:frame_bytes=64"]


def test_lost_beginning_of_a_measurement_keeps_its_trials(path: Path, whole: Record) -> None:
    lines = path.read_text().splitlines()
    lines[2] = "?"
    path.write_text("\n".join(lines) + "\n")
    journal.repair(path)
    first = journal.read(path).cases[0].measurements[0]
    assert first == replace(whole.cases[0].measurements[0], search="unknown")


def test_lost_beginning_of_the_run_cannot_be_repaired(path: Path) -> None:
    lines = path.read_text().splitlines()
    path.write_text("\n".join(["{", *lines[1:]]) + "\n")
    before = path.read_bytes()
    with pytest.raises(InputError, match="nothing that a repair could keep"):
        journal.repair(path)
    assert path.read_bytes() == before


def test_repairs_keep_each_damaged_copy(path: Path) -> None:
    for name in ("journal.jsonl.damaged", "journal.jsonl.damaged-2"):
        path.write_bytes(path.read_bytes()[:-3])
        assert journal.repair(path)[0].startswith(f"{name}, line ")
        assert path.with_name(name).exists()
    assert len(journal.read(path).damage) == 1  # the second cut hit the note on the first


def test_what_does_not_fit_the_schema_is_named(path: Path) -> None:
    lines = path.read_text().splitlines()
    for line, content, message in (
        (4, '{"event":"trial","case_id":1}', "should be a valid string, but is 1"),
        (4, '{"event":"lunch"}', 'the line is no event of this journal: {"event": "lunch"}'),
        (4, "{}", "the line is no event of this journal: {}"),
        (4, lines[3].replace('"sent":', '"sold":', 1), "trial.directions[0].s"),
    ):
        path.write_text("\n".join([*lines[: line - 1], content, *lines[line:]]) + "\n")
        assert f"{path}:{line}: " in read_fault(path)
        assert message in read_fault(path)


def test_newer_empty_missing_and_binary_journals(path: Path) -> None:
    path.write_text(path.read_text().replace('"schema_version":1', '"schema_version":7', 1))
    assert read_fault(path) == (
        f"{path}:1: written by a newer pytest-vswitch (schema 7; this one reads up to 1): upgrade"
    )
    path.write_bytes(b"")
    assert read_fault(path) == f"{path}: is empty: the run ended before it began"
    path.write_bytes(os.urandom(3000))
    assert f"{path}:1: " in read_fault(path)
    path.unlink()
    assert read_fault(path) == f"{path}: does not exist"


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """The kernel cuts a write short at this size: what a disk that fills up does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_leaves_what_was_written(path: Path, whole: Record) -> None:
    before = path.read_bytes()
    event = TrialEnded(whole.cases[0].id, 1, trial(9, 1e4))
    with Journal(path) as open_journal:
        for room in (0, 1, 100):
            with (
                file_size_limit(len(before) + room),
                pytest.raises(HostError, match=r"writing .*journal\.jsonl"),
            ):
                open_journal.append(event)
            assert path.read_bytes() == before
        open_journal.append(event)
    assert len(journal.read(path).cases[0].measurements[0].trials) == 7


def test_a_full_disk_is_named() -> None:
    with (
        Journal(Path("/dev/full")) as open_journal,
        pytest.raises(HostError, match="disk full while writing /dev/full: No space left"),
    ):
        open_journal.append(RunEnded())


def test_half_a_line_of_a_power_cut_spoils_no_other(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])
    write(path, RunEnded())
    assert "(and" not in read_fault(path)
    journal.repair(path)
    assert journal.read(path).finished


def test_a_journal_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot open"):
        Journal(tmp_path / "no" / "journal.jsonl")
