"""Changes to a host are undone, whatever happens in between."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import undo
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.undo import Change, UndoJournal


@pytest.fixture
def journal(tmp_path: Path) -> UndoJournal:
    return UndoJournal(tmp_path / "undo.jsonl")


def test_a_file_is_as_before_after_an_exception(host: LocalHost, tmp_path: Path) -> None:
    knob = tmp_path / "nr_hugepages"
    knob.write_text("4\n")

    def change_and_fail() -> None:
        with host.changing(Change("rewrote", str(knob), "4\n")):
            host.write_text(str(knob), "512")
            assert UndoJournal(Path(host.scratch) / "undo.jsonl").pending()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change_and_fail()
    assert knob.read_text() == "4\n"
    assert not UndoJournal(Path(host.scratch) / "undo.jsonl").pending()


def test_what_was_made_is_gone_afterwards(host: LocalHost, tmp_path: Path) -> None:
    directory, file, link = tmp_path / "directory", tmp_path / "file", tmp_path / "link"
    kept = tmp_path / "kept"
    kept.mkdir()
    with (
        host.changing(Change("made", str(directory))),
        host.changing(Change("made", str(file))),
        host.changing(Change("made", str(link))),
        host.changing(Change("made", str(tmp_path / "never"))),
    ):
        (directory / "below").mkdir(parents=True)
        (directory / "below/file").touch()
        file.touch()
        link.symlink_to(kept)
    assert not directory.exists()
    assert not file.exists()
    assert not link.is_symlink()
    assert kept.is_dir()


def test_a_change_is_on_disk_before_it_is_made(
    host: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: order.append("synced"))
    with host.changing(Change("made", str(tmp_path / "it"))):
        order.append("made")
    assert order == ["synced", "made", "synced"]


def test_changes_are_undone_newest_first(journal: UndoJournal, tmp_path: Path) -> None:
    knob = tmp_path / "knob"
    for value in ("1", "2", "3"):
        journal.note(Change("rewrote", str(knob), value))
    knob.write_text("4")
    assert [change.before for change in journal.pending()] == ["3", "2", "1"]
    for change in journal.pending():
        journal.undo(change)
    assert knob.read_text() == "1"
    assert journal.pending() == []


def test_undoing_twice_does_no_harm(journal: UndoJournal, tmp_path: Path) -> None:
    knob, made = tmp_path / "knob", tmp_path / "made"
    made.mkdir()
    changes = [Change("rewrote", str(knob), "1"), Change("made", str(made))]
    for change in changes:
        journal.note(change)
    knob.write_text("2")
    for change in changes * 2:
        journal.undo(change)
    assert knob.read_text() == "1"
    assert not made.exists()
    assert journal.pending() == []


def test_a_half_written_line_costs_only_itself(journal: UndoJournal, tmp_path: Path) -> None:
    first, second = Change("made", str(tmp_path / "a")), Change("made", str(tmp_path / "b"))
    journal.note(first)
    with (tmp_path / "undo.jsonl").open("a") as file:
        file.write(json.dumps({"change": {"kind": "made"}})[:-5])  # the power went
    assert journal.pending() == [first]
    journal.note(second)
    assert journal.pending() == [second, first]
    journal.undo(second)
    assert journal.pending() == [first]


def test_what_cannot_be_undone_is_told_and_stays_known(host: LocalHost, tmp_path: Path) -> None:
    missing = tmp_path / "gone/knob"
    with (
        pytest.raises(HostError, match=rf"local: cannot undo {missing} \(rewrote, was 1\): "),
        host.changing(Change("rewrote", str(missing), "1")),
    ):
        pass
    with pytest.raises(HostError, match=f"(?s)left what could not be undone:.*{missing}"):
        host.__exit__(None, None, None)
    assert Path(host.scratch).is_dir()
    missing.parent.mkdir()  # mended by hand: the next try, by the fixture, succeeds


def test_a_file_that_cannot_be_written_and_was_not_is_no_fault() -> None:
    # As /sys in a container: what could not be changed needs no undoing.
    release = Path("/proc/sys/kernel/osrelease")
    undo.undo(Change("rewrote", str(release), release.read_text().strip()))
    with pytest.raises(OSError, match="osrelease"):
        undo.undo(Change("rewrote", str(release), "1.0"))


def test_a_directory_that_will_not_go_is_not_struck_out(
    journal: UndoJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = Change("made", str(tmp_path / "busy"))
    journal.note(change)
    (tmp_path / "busy").mkdir()
    monkeypatch.setattr(shutil, "rmtree", lambda path, ignore_errors: None)
    with pytest.raises(OSError, match=r"cannot be removed: '.*/busy'"):
        journal.undo(change)
    assert journal.pending() == [change]


def test_without_a_journal_nothing_is_changed(tmp_path: Path, host: LocalHost) -> None:
    (Path(host.scratch) / "undo.jsonl").mkdir()
    with (
        pytest.raises(HostError, match="no undo journal, so no changes"),
        host.changing(Change("made", str(tmp_path / "it"))),
    ):
        pytest.fail("the change was made")
    (Path(host.scratch) / "undo.jsonl").rmdir()
