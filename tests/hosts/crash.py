"""Processes that die at a chosen step, and namespaces to change without harm."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import os
import signal
import stat
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from pytest_vswitch.hosts import changes, knobs, undo, undo_devices, undo_files
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.undo import UndoJournal

Trial = Callable[..., None]
"""See the fixture `survives_all_deaths`."""

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000

_STEPS_IN = {module.__file__ for module in (changes, knobs, undo, undo_devices, undo_files)}
_NO_STEPS = {
    *("pending", "_change", "_meaning", "_expand", "to_write", "same", "is_ours", "is_knob"),
    *("mounts", "mounted", "_plain", "_users", "_nodes", "_contents", "_torn", "_pci", "_driver"),
    *("_append", "sync_directory"),
}
"""Functions that only look, or that are through or not (half a line: see `test_undo`): dying
in them is dying before their caller's next line."""


def deaths(scenario: Callable[[], None]) -> Iterator[int]:
    """Let a process die, as by `kill -9`, before each single step of `scenario` in turn.

    Yields the number of the step; ends when the scenario is through before that step.
    """
    for step in itertools.count(1):
        if not _dies(scenario, step):
            return
        yield step


def _dies(scenario: Callable[[], None], at_step: int) -> bool:
    steps = itertools.count(1)

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        code = frame.f_code
        if code.co_filename not in _STEPS_IN or code.co_name in _NO_STEPS:
            return None
        if code.co_name.startswith("<"):  # a comprehension
            return None
        if event == "line" and next(steps) == at_step:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    def traced() -> None:
        sys.settrace(trace)
        try:
            scenario()
        finally:
            sys.settrace(None)

    return _status(traced) == -signal.SIGKILL


def in_namespaces(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in a process of its own, with a network and mounts of its own.

    As root, or as root of a user namespace.
    """

    @functools.wraps(test)
    def wrapper(*arguments: object, **named: object) -> None:
        def run() -> None:
            _unshare()
            test(*arguments, **named)

        assert _status(run) == 0, "see the traceback above"

    return wrapper


def _unshare() -> None:
    uid, gid = os.geteuid(), os.getegid()
    flags = _CLONE_NEWNS | _CLONE_NEWNET | (_CLONE_NEWUSER if uid else 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags):
        raise OSError(ctypes.get_errno(), "no namespaces")
    if uid:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def _status(function: Callable[[], None]) -> int:
    """Run it in a child; 0, or the negative number of the signal that ended it.

    An exception in the child is printed there and is status 1.
    """
    child = os.fork()
    if not child:
        status = 1
        with contextlib.suppress(BaseException):
            try:
                function()
                status = 0
            except BaseException:
                os.write(2, traceback.format_exc().encode())
        os._exit(status)
    _, ended = os.waitpid(child, 0)
    status = os.waitstatus_to_exitcode(ended)
    assert status != 1, "the child failed: see its traceback"
    return status


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """All that is below a directory: kind and mode, owner, contents."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        what: object = None
        if stat.S_ISREG(status.st_mode):
            what = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            what = os.readlink(path)
        found[str(path)] = (oct(status.st_mode), status.st_uid, status.st_gid, what)
    return found


def journal(host: LocalHost) -> UndoJournal:
    return UndoJournal(Path(host.scratch) / "undo.jsonl")


def fill(place: Path) -> None:
    """A file, a link to it, a directory."""
    (place / "file").write_bytes(b"as it\0was\xff\n")
    (place / "file").chmod(0o640)
    (place / "link").symlink_to("file")
    (place / "empty").mkdir()
