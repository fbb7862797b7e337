"""Changes to a host, written down on that host before they are made.

A change is data, not code, so that another process, after a `kill -9`, can undo it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Change:
    """One change to a host and, by its kind, the way back."""

    kind: Literal["made", "rewrote", "bound", "linked", "mounted"]
    """`made` a file or directory: remove it. `rewrote` a file: put `before` back.
    `bound` a PCI device to a driver: bind it to `before`. `linked`: made a network
    interface. `mounted` a file system."""
    path: str
    """A path; the address of a PCI device (BDF); the name of an interface."""
    before: str = ""
    after: str | None = None
    """What this change makes of it. If something else is found there when it is to be
    undone, someone else has been at it, and it is left. None: not known."""

    def __str__(self) -> str:
        return f"{self.path} ({self.kind}{f', was {self.before}' if self.before else ''})"


def undo(change: Change) -> None:
    """Bring back what `change` found. Done twice it does no harm. Raises OSError."""
    path = Path(change.path)
    if change.kind == "rewrote":
        # A file that is as it was may be one that could never be written.
        if not path.exists() or path.read_text().strip() != change.before.strip():
            path.write_text(change.before)
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            raise OSError(errno.ENOTEMPTY, "cannot be removed", change.path)
    else:
        path.unlink(missing_ok=True)


class UndoJournal:
    """The file that lists changes not yet undone, newest last."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, change: Change) -> None:
        """Write `change` down, to disk, before it is made."""
        self._append({"change": asdict(change)})

    def undo(self, change: Change) -> None:
        """Undo `change` and strike it out."""
        undo(change)
        self._append({"undone": asdict(change)})

    def pending(self) -> list[Change]:
        """What is not undone yet, newest first. A half-written line was never acted on."""
        changes: list[Change] = []
        try:
            lines = self._path.read_text().splitlines()
        except FileNotFoundError:
            return []
        for line in lines:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            if "change" in entry:
                changes.append(Change(**entry["change"]))
            else:
                with contextlib.suppress(ValueError):  # undone twice: by two who cleaned up
                    changes.remove(Change(**entry["undone"]))
        return changes[::-1]

    def _append(self, entry: dict[str, object]) -> None:
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            # A line of its own, whatever a power cut left of the one before.
            os.write(handle, b"\n" + json.dumps(entry).encode() + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)
