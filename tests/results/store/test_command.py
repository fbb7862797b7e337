"""`vswitch store`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vswitch import cli
from pytest_vswitch.results.store.address import VARIABLE
from tests.results.store.test_sync import made, write


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    for number in range(2):
        write(Path("reports"), made(number))


def ok(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["store", *arguments]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    return shown.out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["store", *arguments]) == cli.ERROR
    return capsys.readouterr().err


def test_show_lists_the_runs_of_the_reports_directory(capsys: pytest.CaptureFixture[str]) -> None:
    first, second, last = ok(capsys, "show").splitlines()
    assert first.startswith("2026-11-21 02:45  local  20261121-024500-1234  6 results  ")
    assert "host dpdk DPDK 22.11.5" in first
    assert "20261121-024501-1234" in second
    assert last == "sqlite:///reports/store.sqlite: 2 runs"


def test_sync_and_rebuild_say_how_many(capsys: pytest.CaptureFixture[str]) -> None:
    assert ok(capsys, "sync") == "sqlite:///reports/store.sqlite: 12 results added\n"
    assert ok(capsys, "sync") == "sqlite:///reports/store.sqlite: 0 results added\n"
    assert "12 results from the journals" in ok(capsys, "rebuild")
    assert "12 results added" in ok(capsys, "sync", "--store", "other.sqlite")


def test_a_damaged_journal_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    Path("reports/20261121-024500-1234/journal.jsonl").write_bytes(b"\xff\n")
    assert cli.main(["store", "show"]) == 0
    shown = capsys.readouterr()
    assert shown.err.startswith("vswitch: run 20261121-024500-1234 is not in the store: ")
    assert shown.out.endswith("store.sqlite: 1 run\n")


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_what_one_exports_another_imports(capsys: pytest.CaptureFixture[str], ending: str) -> None:
    file = f"all.{ending}"
    assert ok(capsys, "export", file) == f"{file}: 12 results\n"
    assert ok(capsys, "import", file).endswith("0 results added\n")
    out = ok(capsys, "import", file, file, "--store", "other.sqlite", "--reports", "none")
    assert [line.rpartition(", ")[2] for line in out.splitlines()] == [
        "12 results added",
        "0 results added",
    ]


def test_partitions_are_a_store_for_reading(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ok(capsys, "export", "--partitioned", "lake") == "lake: 1 files\n"
    monkeypatch.setenv(VARIABLE, "parquet:lake")
    assert ok(capsys, "show").endswith("parquet:lake: 2 runs\n")
    assert "parquet:lake is for reading only" in refused(capsys, "import", "x.csv")


def test_a_lab_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert ok(capsys, "export", "local.csv", "--lab", "local") == "local.csv: 12 results\n"
    told = refused(capsys, "export", "all.csv", "--lab", "locl")
    assert "--lab locl: the store has no such lab; there is: local" in told
    assert not Path("all.csv").exists()


def test_names_move_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    from dataclasses import replace

    from pytest_vswitch.results.store.sql import SqlStore
    from tests.results.store.made import SAMPLE

    with SqlStore("reports/store.sqlite") as store:
        store.add([replace(SAMPLE, lab="\033[2Jx\nx")])
    assert "?[2Jx?x" in ok(capsys, "show")
