"""The way back for files: those that were made, and those that were rewritten.

Runs on the DUT: standard library only, Python 3.8.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from dataclasses import dataclass

from pytest_vswitch.hosts import knobs
from pytest_vswitch.hosts.change import ChangedByOthers, to_bytes, to_text


@dataclass(frozen=True)
class Mount:
    """A line of /proc/self/mountinfo."""

    target: str
    root: str
    """What of the file system is seen there, e.g. the directory that is bound."""
    fstype: str
    source: str


def mounts(mountinfo: bytes) -> list[Mount]:
    """In the order of mounting, see proc_pid_mountinfo(5)."""
    found = []
    for line in mountinfo.splitlines():
        ours, _, theirs = line.partition(b" - ")
        root, target = ours.split(b" ")[3:5]
        fstype, source = theirs.split(b" ")[:2]
        found.append(Mount(_plain(target), _plain(root), _plain(fstype), _plain(source)))
    return found


def mounted() -> list[Mount]:
    """What is mounted now."""
    with open("/proc/self/mountinfo", "rb") as file:
        return mounts(file.read())


def remove(path: str, after: str | None) -> None:
    """Remove what the run made: the whole directory, the link itself, the file.

    Raises ChangedByOthers for a file whose contents are not the run's, OSError.
    """
    if not os.path.lexists(path):
        return
    if after is not None:
        now = _contents(path)
        if now is None or not _torn(now, to_bytes(after)):
            raise ChangedByOthers(path, "not there", after, _describe(path, now))
    if not os.path.isdir(path) or os.path.islink(path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    else:
        _remove_tree(path)
    # Before the journal forgets it.
    with contextlib.suppress(OSError):
        sync_directory(os.path.dirname(path))


def remove_empty(path: str) -> None:
    """Remove a directory if nothing is in it: what others put there is theirs. Raises OSError."""
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
            raise


def _remove_tree(path: str) -> None:
    # What is mounted below is not ours to remove.
    real = os.path.realpath(path)
    for mount in mounted():
        if f"{mount.target}/".startswith(f"{real}/"):
            what = f"{mount.source} is mounted at {mount.target}"
            raise OSError(errno.EBUSY, what, path)
    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        shutil.rmtree(path)  # says why
        raise OSError(errno.ENOTEMPTY, "cannot be removed", path)


def put_back(path: str, before: str, after: str | None) -> None:
    """Give a file its contents back; its mode, owner and attributes stay.

    A symbolic link is not followed: what was rewritten was no link.
    Raises ChangedByOthers, OSError.
    """
    if knobs.is_knob(path):
        _turn_back(path, before, after)
        return
    aside = _aside(path)
    now = _contents(path)
    try:
        if now == to_bytes(before):
            return
        if now is None and (after is not None or os.path.lexists(path)):
            made = "another" if after is None else after
            raise ChangedByOthers(path, before, made, _describe(path, now))
        if now is not None and after is not None and not _is_ours(path, now, before, after):
            raise ChangedByOthers(path, before, after, _describe(path, now))
        _replace(path, aside, to_bytes(before))
    finally:
        if os.path.lexists(aside):
            os.unlink(aside)


def _turn_back(path: str, before: str, after: str | None) -> None:
    try:
        with open(path, "rb") as file:
            now = to_text(file.read())
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENOTDIR):
            return  # the device is gone, and its knobs with it
        raise
    if knobs.same(path, now, before):
        return
    if after is not None and not knobs.is_ours(path, now, before, after):
        raise ChangedByOthers(path, before, after, now)
    knobs.poke(path, knobs.to_write(path, before))


def _is_ours(path: str, now: bytes, before: str, after: str) -> bool:
    """A write, or the undoing of one, may have been cut short."""
    if _torn(now, to_bytes(after)) or _torn(now, to_bytes(before)):
        return True
    return "hugepages" in path and knobs.is_ours(path, to_text(now), before, after)


def _torn(now: bytes, whole: bytes) -> bool:
    """Whether a power cut can have left `now` of writing `whole`."""
    return len(now) <= len(whole) and whole.startswith(now.rstrip(b"\0"))


def _contents(path: str) -> bytes | None:
    """None if there is no plain file."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return None
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _describe(path: str, now: bytes | None) -> str:
    if now is not None:
        return to_text(now)
    if os.path.islink(path):
        return "a symbolic link"
    return "a directory or device" if os.path.lexists(path) else "gone"


def _aside(path: str) -> str:
    """The same each time, so that what a killed undo left is found by the next."""
    directory, name = os.path.split(path)
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return os.path.join(directory, f".vswitch-undo-{digest}")


def _replace(path: str, aside: str, data: bytes) -> None:
    """All or nothing, where that is possible."""
    try:
        had: os.stat_result | None = os.lstat(path)
    except FileNotFoundError:
        had = None
    if had is None or had.st_nlink == 1:
        try:
            _write_aside(path, aside, data, had)
            return
        except OSError:
            # A full disk, a directory without rights, a file that is a mount point.
            if had is None:
                raise
    # Other names of the file have to see it, too.
    _write(os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW), data)


def _write_aside(path: str, aside: str, data: bytes, had: os.stat_result | None) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(aside)
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    _write(handle, data)
    if had is not None:
        new = os.lstat(aside)
        if (new.st_uid, new.st_gid) != (had.st_uid, had.st_gid):
            os.chown(aside, had.st_uid, had.st_gid)
        with contextlib.suppress(OSError):  # not every file system has them
            for name in os.listxattr(path):  # security labels, access control lists
                os.setxattr(aside, name, os.getxattr(path, name))
    os.chmod(aside, stat.S_IMODE(had.st_mode) if had is not None else 0o644)
    os.replace(aside, path)
    sync_directory(os.path.dirname(path))


def _write(handle: int, data: bytes) -> None:
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_directory(path: str) -> None:
    """A new name in it is on disk afterwards."""
    handle = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _plain(word: bytes) -> str:
    """Spaces and the like are written as `\\040` there."""
    parts = word.split(b"\\")
    decoded = parts[0] + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in parts[1:])
    return os.fsdecode(decoded)
