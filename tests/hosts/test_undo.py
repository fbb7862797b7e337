"""Changes to a host are undone, whatever happens in between."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import undo, undo_files
from pytest_vswitch.hosts.change import shown, to_bytes, to_text
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.undo import Change, ChangedByOthers, Outcome, UndoJournal, undo_all


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
        (tmp_path / "it").mkdir()
        order.append("made")
    # The line, and the name of the new file; the change; its end; the line that strikes it out.
    assert order == ["synced", "synced", "made", "synced", "synced"]


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
    monkeypatch.setattr(shutil, "rmtree", lambda path, ignore_errors=False: None)
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


# --- bytes and names ---


NAMES = st.binary(min_size=1, max_size=60).filter(
    lambda name: not {0, ord("/")} & set(name) and name not in (b".", b"..")
)


@settings(deadline=None, max_examples=60)
@given(NAMES, st.binary(max_size=300), st.binary(max_size=300), st.booleans())
def test_any_name_and_contents_come_back(
    name: bytes, before: bytes, after: bytes, half_way: bool
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        there = os.path.join(directory, "there")
        os.mkdir(there)
        path = os.path.join(there, os.fsdecode(name))
        Path(path).write_bytes(before)
        journal = UndoJournal(Path(directory, "undo.jsonl"))
        change = Change("rewrote", path, to_text(before), to_text(after))
        journal.note(change)
        assert journal.pending() == [change]
        Path(path).write_bytes(after[: len(after) // 2] if half_way else after)
        assert journal.undo(change) == ""
        assert os.listdir(os.fsencode(there)) == [name]
        assert Path(path).read_bytes() == before
        assert journal.pending() == []
        made = Change("made", path, after=to_text(before))
        journal.note(made)
        assert undo_all(journal, rebooted=False) == Outcome((made,), (), ())
        assert os.listdir(there) == []
        assert str(change).encode().isascii() or name.decode(errors="replace").isprintable()
        assert "\n" not in str(change)


@settings(deadline=None, max_examples=200)
@given(st.binary(), st.lists(st.binary(max_size=40), max_size=5))
def test_no_journal_is_too_broken_to_be_read(noise: bytes, more: list[bytes]) -> None:
    """What a disk makes of a file that was being written when the power went."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "undo.jsonl")
        journal = UndoJournal(path)
        first, second = Change("made", "/a"), Change("rewrote", "/b", "\udcff", "\0\n\u2028")
        journal.note(first)
        for part in (noise, *more):
            with path.open("ab") as file:
                file.write(part.replace(b"{", b"}"))
        journal.note(second)
        assert journal.pending() == [second, first]


def test_a_large_file_comes_back(journal: UndoJournal, tmp_path: Path) -> None:
    path, before = tmp_path / "file", os.urandom(1 << 20)
    path.write_bytes(b"")
    journal.note(Change("rewrote", str(path), to_text(before), ""))
    assert undo_all(journal, rebooted=False).stuck == ()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("/plain name", "/plain name"),
        ("/ümlaut", "/ümlaut"),
        ("/two\nlines\t", "/two\\nlines\\t"),
        ("/\udcff\x1b[0m", "/\\\\xff\\x1b[0m"),
    ],
)
def test_names_are_told_on_one_printable_line(text: str, line: str) -> None:
    assert shown(text) == line
    assert to_text(to_bytes(text)) == text


def test_long_values_are_told_by_their_size() -> None:
    assert str(Change("rewrote", "/f", "x" * 100_000)) == "/f (rewrote, was 100000 bytes)"
    assert str(Change("rewrote", "/f", "on\n", "off")) == "/f (rewrote, was on)"


# --- files ---


def test_mode_owner_and_attributes_stay() -> None:
    group = os.getgroups()[-1] if os.geteuid() else 4711
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:  # memory has no attributes
        path = Path(directory, "file")
        path.write_text("after")
        os.chown(path, -1, group)
        os.setxattr(path, "user.label", b"kept")
        path.chmod(0o4751)
        undo.undo(Change("rewrote", str(path), "before", "after"))
        assert path.read_text() == "before"
        assert (path.stat().st_mode & 0o7777, path.stat().st_gid) == (0o4751, group)
        assert os.getxattr(path, "user.label") == b"kept"
        assert os.listdir(directory) == ["file"]


def test_all_names_of_a_file_are_put_back(tmp_path: Path) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    path.write_text("after")
    other.hardlink_to(path)
    undo.undo(Change("rewrote", str(path), "before", "after"))
    assert other.read_text() == "before"
    assert other.samefile(path)


def test_a_file_in_a_directory_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or on a full disk: then the room of the file itself has to do."""
    path = tmp_path / "file"
    path.write_text("after")

    def refuse(source: str, target: str) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy", target)

    monkeypatch.setattr(os, "replace", refuse)
    undo.undo(Change("rewrote", str(path), "before", "after"))
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("now", ["after", "after and more", "afteR", "other", "before", "aft", ""])
def test_what_others_wrote_is_left_and_told(journal: UndoJournal, tmp_path: Path, now: str) -> None:
    """What is half of ours is ours: the power may have gone."""
    path = tmp_path / "file"
    path.write_text(now)
    journal.note(Change("rewrote", str(path), "before", "after"))
    outcome = undo_all(journal, rebooted=True)
    if now in ("after", "before", "aft", ""):
        assert outcome.remarks == ()
        assert path.read_text() == "before"
    else:
        told = f"{path} was before, we made it after, now it is {now}: left as it is"
        assert outcome.remarks == (told,)
        assert path.read_text() == now
    assert journal.pending() == []


def test_what_others_made_of_our_file_is_left(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("theirs")
    with pytest.raises(ChangedByOthers, match="was not there, we made it ours, now it is theirs"):
        undo.undo(Change("made", str(path), after="ours"))
    path.unlink()
    path.mkdir()
    with pytest.raises(ChangedByOthers, match="now it is a directory or device"):
        undo.undo(Change("made", str(path), after="ours"))
    assert path.is_dir()


@pytest.mark.parametrize("after", [None, "after"])
def test_a_link_is_not_followed(tmp_path: Path, after: str | None) -> None:
    (tmp_path / "target").write_text("after")
    (tmp_path / "file").symlink_to("target")
    with pytest.raises(ChangedByOthers, match="now it is a symbolic link: left as it is"):
        undo.undo(Change("rewrote", str(tmp_path / "file"), "before", after))
    assert (tmp_path / "target").read_text() == "after"
    assert (tmp_path / "file").is_symlink()


def test_a_file_that_others_removed_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(ChangedByOthers, match="now it is gone"):
        undo.undo(Change("rewrote", str(tmp_path / "file"), "before", "after"))
    assert os.listdir(tmp_path) == []


def test_what_a_killed_undo_left_aside_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    Path(undo_files._aside(str(path))).write_text("bef")
    undo.undo(Change("rewrote", str(path), "before", "after"))
    assert os.listdir(tmp_path) == ["file"]


# --- the journal ---


def test_an_older_change_waits_for_a_newer_one_of_the_same(
    journal: UndoJournal, tmp_path: Path
) -> None:
    """What the newer one made would be taken for the work of others."""
    knob, made = tmp_path / "knob", tmp_path / "made"
    older = Change("rewrote", str(knob), "1", "2")
    newer = Change("mounted", str(knob), "nonsense")
    other = Change("made", str(made))
    for change in (other, older, newer):
        journal.note(change)
    knob.write_text("2")
    made.touch()
    outcome = undo_all(journal, rebooted=False)
    assert outcome.undone == (other,)
    assert len(outcome.stuck) == 2
    assert outcome.stuck[1].endswith("a newer change of it is not undone yet")
    assert journal.pending() == [newer, older]
    with pytest.raises(OSError, match="a newer change of it is not undone yet"):
        journal.undo(older)
    journal.strike(newer)
    assert undo_all(journal, rebooted=False).stuck == ()
    assert knob.read_text() == "1"


def test_what_another_version_wrote_is_told(journal: UndoJournal, tmp_path: Path) -> None:
    with (tmp_path / "undo.jsonl").open("w") as file:
        later = {"kind": "cursed", "path": "/x", "before": "", "after": None, "by": "me"}
        file.write(json.dumps({"change": later}))
    [stuck] = undo_all(journal, rebooted=False).stuck
    assert "made by another version of pytest-vswitch" in stuck
    assert journal.pending() == [Change("cursed", "/x")]


@pytest.mark.parametrize(
    ("change", "survives"),
    [
        (Change("rewrote", "/etc/fstab"), True),
        (Change("made", "/runner/file"), True),
        (Change("made", "/var/cache/x"), True),
        (Change("made", "/run/x"), False),
        (Change("made", "/var/run/dpdk/x"), False),
        (Change("made", "/dev/shm/x"), False),
        (Change("rewrote", "/sys/x"), False),
        (Change("rewrote", "/proc/sys/vm/nr_hugepages"), False),
        (Change("bound", "0000:03:00.0"), False),
        (Change("functions", "0000:03:00.0"), False),
        (Change("linked", "br0"), False),
        (Change("mounted", "/mnt"), False),
    ],
)
def test_what_survives_a_reboot(
    journal: UndoJournal, change: Change, survives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert undo.survives_reboot(change) is survives
    tried: list[Change] = []
    monkeypatch.setattr(undo, "undo", tried.append)
    journal.note(change)
    assert undo_all(journal, rebooted=True).undone == (change,)
    assert tried == [change] * survives
    assert journal.pending() == []


def test_a_full_disk_stops_before_the_change(tmp_path: Path, host: LocalHost) -> None:
    """/dev/full takes nothing."""
    os.symlink("/dev/full", Path(host.scratch) / "undo.jsonl")
    with (
        pytest.raises(HostError, match=r"no undo journal, so no changes: .*No space left"),
        host.changing(Change("made", str(tmp_path / "it"))),
    ):
        pytest.fail("the change was made")
    (Path(host.scratch) / "undo.jsonl").unlink()
