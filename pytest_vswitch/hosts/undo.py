"""The journal of changes to a host, written on that host before they are made, and undoing.

Runs on the DUT: standard library only, Python 3.8.
"""

from __future__ import annotations

import errno
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pytest_vswitch.hosts import undo_containers, undo_devices, undo_domains, undo_files
from pytest_vswitch.hosts.change import Change, ChangedByOthers

__all__ = [
    "Change",
    "ChangedByOthers",
    "Outcome",
    "UndoJournal",
    "survives_reboot",
    "undo",
    "undo_all",
]

_VOLATILE = ("/dev", "/proc", "/run", "/sys")
"""What a reboot makes anew."""


@dataclass(frozen=True)
class Outcome:
    """What became of the changes in a journal."""

    undone: tuple[Change, ...]
    """Including those that a reboot has undone."""
    remarks: tuple[str, ...]
    """What others had changed meanwhile and was left, what is still in use: no fault."""
    stuck: tuple[str, ...]
    """What could not be undone, and why; it stays in the journal."""


def survives_reboot(change: Change) -> bool:
    """Whether it is still there after the host has booted again: files on disks are."""
    if change.kind not in ("made", "rewrote"):
        return False
    directory, name = os.path.split(change.path)
    path = Path(os.path.realpath(directory), name)  # /var/run is /run
    return not any(Path(top) in (path, *path.parents) for top in _VOLATILE)


def undo(change: Change) -> str:
    """Bring back what `change` found; a remark, if there is one. Done twice it does no harm.

    Raises ChangedByOthers when it is no longer ours to undo, OSError when it cannot be.
    """
    kind, path, before, after = change.kind, change.path, change.before, change.after
    try:
        if kind == "made":
            undo_files.remove(path, after)
        elif kind == "rewrote":
            undo_files.put_back(path, before, after)
        elif kind == "rewrote_in":
            undo_devices.put_back_in_namespace(path, before, after)
        elif kind == "bound":
            undo_devices.bind_back(path, before, after)
        elif kind == "functions":
            undo_devices.set_functions(path, before or "0", after)
        elif kind == "linked":
            undo_devices.delete_interface(path, after)
        elif kind == "namespace":
            undo_devices.delete_namespace(path)
        elif kind == "filtered":
            undo_devices.delete_filter(path)
        elif kind == "feature":
            undo_devices.set_feature(path, before)
        elif kind == "mounted":
            return undo_devices.unmount(path, before or "0", after)
        elif kind == "containers":
            undo_containers.remove(path, after or "")
        elif kind == "delegated":
            undo_containers.take_back(path, after or "")
        elif kind == "directory":
            undo_files.remove_empty(path)
        elif kind == "domain":
            undo_domains.remove(path, after or "")
        else:
            raise ValueError("made by another version of pytest-vswitch")
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), path) from error
    return ""


class UndoJournal:
    """The file that lists changes not yet undone, newest last."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, change: Change) -> None:
        """Write `change` down, to disk, before it is made. Raises OSError."""
        self._append({"change": asdict(change)})

    def undo(self, change: Change) -> str:
        """Undo `change` and strike it out; a remark, e.g. that others had changed it.

        Raises OSError, also while a newer change of the same thing is not undone: what that
        made of it would be taken for the work of others.
        """
        for other in self.pending():
            if other == change:
                break
            if other.path == change.path:
                raise OSError(errno.EBUSY, "a newer change of it is not undone yet", change.path)
        try:
            remark = undo(change)
        except ChangedByOthers as others:
            remark = str(others)
        self.strike(change)
        return remark

    def strike(self, change: Change) -> None:
        """Write down that it is undone, or not ours any more. Raises OSError."""
        self._append({"undone": asdict(change)})

    def pending(self) -> list[Change]:
        """What is not undone yet, newest first. A half-written line was never acted on."""
        changes: list[Change] = []
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if not isinstance(entry, dict):
                continue
            if "change" in entry:
                changes.append(_change(entry["change"]))
                continue
            undone = _change(entry["undone"])
            # The newest of equals; none, if two who cleaned up undid it twice.
            for index in reversed(range(len(changes))):
                if changes[index] == undone:
                    del changes[index]
                    break
        return changes[::-1]

    def _append(self, entry: dict[str, object]) -> None:
        is_new = not self._path.exists()
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            # A line of its own, whatever a power cut left of the one before.
            rest = memoryview(b"\n" + json.dumps(entry).encode() + b"\n")
            while rest:
                rest = rest[os.write(handle, rest) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        if is_new:
            undo_files.sync_directory(str(self._path.parent))


def _change(entry: dict[str, Any]) -> Change:
    """Another version may have said more of it."""
    known = [field.name for field in fields(Change) if field.name in entry]
    return Change(**{name: entry[name] for name in known})


def undo_all(journal: UndoJournal, rebooted: bool) -> Outcome:
    """Undo what `journal` holds, newest first; what is stuck does not keep the others.

    `rebooted`: the host has booted since, which has undone all but files on disks.
    Raises OSError when the journal cannot be read.
    """
    undone: list[Change] = []
    remarks: list[str] = []
    stuck: list[str] = []
    waiting: set[str] = set()
    for change in journal.pending():
        try:
            if change.path in waiting:
                raise OSError(errno.EBUSY, "a newer change of it is not undone yet")
            if rebooted and not survives_reboot(change):
                journal.strike(change)
            else:
                remarks.append(journal.undo(change))
            undone.append(change)
        except OSError as error:
            waiting.add(change.path)
            stuck.append(f"{change}: {error}")
    return Outcome(tuple(undone), tuple(filter(None, remarks)), tuple(stuck))
