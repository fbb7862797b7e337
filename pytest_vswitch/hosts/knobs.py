"""Values of the kernel in /sys and /proc: written as they want it, compared by meaning.

Runs on the DUT: standard library only, Python 3.8.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from pathlib import Path

from pytest_vswitch.hosts.change import to_bytes

SYS = Path("/sys")
PROC = Path("/proc")

_MASKS = ("smp_affinity", "default_smp_affinity", "rps_cpus", "xps_cpus", "cpumask")
_LISTS = ("smp_affinity_list", "cpuset.cpus", "cpuset.mems")
_SWITCH = {"y": "1", "on": "1", "n": "0", "off": "0"}


def is_knob(path: str) -> bool:
    """Whether the kernel, not a disk, answers for that file."""
    return path.startswith((f"{SYS}/", f"{PROC}/"))


def poke(path: str, text: str) -> None:
    """Write a value in one piece, without truncating first. Raises OSError."""
    data = to_bytes(text) or b"\n"  # the kernel is not told of an empty write
    try:
        handle = os.open(path, os.O_WRONLY)
        try:
            taken = os.write(handle, data)
        finally:
            os.close(handle)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    if taken != len(data):
        raise OSError(errno.EIO, f"took {taken} of {len(data)} bytes", path)


def to_write(path: str, text: str) -> str:
    """What has to be written to have a knob read `text`: of a choice, the one in brackets."""
    if os.path.basename(path) == "driver_override" and text.strip() == "(null)":
        return ""
    chosen = re.search(r"(?:^|\s)\[([^]\s]+)\](?:\s|$)", text)
    return chosen.group(1) if chosen else text


def same(path: str, one: str, other: str) -> bool:
    """Whether two texts mean the same to the knob."""
    return _meaning(path, one) == _meaning(path, other)


def is_ours(path: str, now: str, before: str, after: str) -> bool:
    """Whether `now` can be what came of writing `after`."""
    name = os.path.basename(path)
    if name.startswith("nr_") and "hugepages" in name:
        # The kernel gives what it can.
        low, high = sorted((int(before), int(after)))
        with contextlib.suppress(ValueError):
            return low <= int(now) <= high
        return False
    # Undoing a binding clears it.
    cleared = name == "driver_override" and not _meaning(path, now)
    return cleared or same(path, now, after)


def _meaning(path: str, text: str) -> tuple[object, ...]:
    words = to_write(path, text.strip("\0\n\t ")).split()
    name = os.path.basename(path)
    with contextlib.suppress(ValueError):
        if name in _MASKS:
            return (int("".join(part.zfill(8) for part in "".join(words).split(",")), 16),)
        if name in _LISTS:
            return tuple(sorted(_expand("".join(words))))
        if "/parameters/" in path and len(words) == 1:
            return (_SWITCH.get(words[0].lower(), words[0]),)
    return tuple(words)


def _expand(cpus: str) -> set[int]:
    found: set[int] = set()
    for part in filter(None, cpus.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found
