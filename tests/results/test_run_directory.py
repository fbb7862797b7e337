from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.results import run_directory, schema, verdict
from pytest_vswitch.results.journal import Journal, RunBegun
from tests.records import case, record


def test_id_sorts_by_time_and_names_the_process() -> None:
    moment = datetime(2026, 11, 21, 2, 45, tzinfo=timezone.utc)
    assert run_directory.new_id(moment) == f"20261121-024500-{os.getpid()}"


def test_latest_always_points_at_the_newest_run(tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    for run_id in ("1", "2"):
        created = run_directory.create(reports, run_id)
        assert (reports / "latest").resolve() == created.path
    assert sorted(os.listdir(reports)) == ["1", "2", "latest"]
    with pytest.raises(HostError, match="exists already"):
        run_directory.create(reports, "1")


def test_reports_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("a file")
    with pytest.raises(HostError, match="cannot create"):
        run_directory.create(tmp_path / "reports", "1")


def test_files_of_a_run(tmp_path: Path) -> None:
    directory = run_directory.create(tmp_path, "1")
    whole = record(case(), case(frame_bytes=1518), case())
    directory.write(whole)
    assert sorted(p.relative_to(directory.path).as_posix() for p in directory.path.rglob("*")) == [
        "cases",
        "cases/pvp-frame_bytes-1518",
        "cases/pvp-frame_bytes-1518/template.txt",
        "cases/pvp-frame_bytes-64",
        "cases/pvp-frame_bytes-64-2",
        "cases/pvp-frame_bytes-64-2/template.txt",
        "cases/pvp-frame_bytes-64/template.txt",
        "results.json",
    ]
    assert directory.read() == whole


def test_the_journal_is_read_before_the_results(tmp_path: Path) -> None:
    directory = run_directory.create(tmp_path, "1")
    directory.write(record())
    whole = record()
    with Journal(directory.journal) as journal:
        journal.append(RunBegun(whole.run, whole.lab, whole.host))
    assert directory.read() == replace(whole, cases=(), finished=False)


def test_find_by_id_path_file_and_latest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = tmp_path / "reports"
    directory = run_directory.create(reports, "1")
    directory.write(record())
    monkeypatch.chdir(tmp_path)
    for run in ("1", "latest", "reports/1", str(directory.path), "reports/1/results.json"):
        assert run_directory.find(reports, run).path == directory.path


@pytest.mark.parametrize("run", ["nonsense", "", "."])
def test_find_says_what_there_is(tmp_path: Path, run: str) -> None:
    with pytest.raises(InputError, match=r"no run `.*` in .*; there is: none"):
        run_directory.find(tmp_path / "reports", run)
    for number in range(7):
        run_directory.create(tmp_path, f"run-{number}").write(record())
    with pytest.raises(InputError, match=r"there are: run-2, .*, run-6 and 2 older"):
        run_directory.find(tmp_path, run)


def test_slugs_are_safe_and_unlike() -> None:
    ids = ["a:b=1", "a=b:1", "../../etc/passwd", "", "é" * 300, "x" * 300]
    names = run_directory.slugs(ids)
    assert names == ["a-b-1", "a-b-1-2", "etc-passwd", "case", "case-2", "x" * 100]


def test_the_documentation_names_every_file_threshold_and_verdict(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "results.md").read_text("utf-8")
    directory = run_directory.create(tmp_path, "1")
    files = (directory.journal, directory.results, directory.report, directory.transcript)
    verdicts = schema.json_schema()["$defs"]["Case"]["properties"]["verdict"]["enum"]
    names = [path.name for path in files] + [schema.SCHEMA_FILE.name]
    for name in [*names, *verdict.NAMES, *verdicts]:
        assert name in text, name
