"""What runs leave on this machine, looked for without the product's own book-keeping."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pytest_vswitch.hosts.leftovers import MARK


def wait_until(fact: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
    """Fail unless `fact` has come true within `timeout_s`; `what` says which it is."""
    deadline = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.02)  # polls for the fact


def processes(run: str) -> dict[int, str]:
    """Command lines, by pid, of what carries the run's mark or names the run."""
    mark, name = f"{MARK}={run}".encode(), run.encode()
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            argv = (entry / "cmdline").read_bytes()
            marked = mark in (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # gone meanwhile, or nobody may look into it
            continue
        if (marked or name in argv) and int(entry.name) != os.getpid():
            found[int(entry.name)] = argv.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def process(run: str, program: str) -> int:
    """Pid of the one process of the run whose command line has `program` in it."""
    (pid,) = [pid for pid, argv in processes(run).items() if program in argv]
    return pid


class Machine:
    """This machine as it is now, to hold against what it is after a run."""

    def __init__(self) -> None:
        self._before = set(_settings())

    def traces(self, run: str) -> list[str]:
        """All that a run has started, made or changed, and that is there now."""
        return [
            *(f"process {pid}: {argv}" for pid, argv in processes(run).items()),
            *(path for place in _PLACES for path in glob.glob(f"{place}/*{run}*")),
            *(line for line in Path("/proc/net/unix").read_text().splitlines() if run in line),
            *(line for line in Path("/proc/mounts").read_text().splitlines() if run in line),
            *(f"now: {setting}" for setting in set(_settings()) - self._before),
        ]


_PLACES = (
    "/var/lib/pytest-vswitch",
    "/run/pytest-vswitch",
    "/var/run/dpdk",
    "/dev/shm",
    "/dev/hugepages",
    "/tmp",
)


def _settings() -> Iterator[str]:
    """What a run may change for a while: hugepages that there are, and where they are mounted."""
    for path in glob.glob("/sys/kernel/mm/hugepages/*/nr_hugepages"):
        yield f"{path}: {Path(path).read_text().strip()}"
    for line in Path("/proc/mounts").read_text().splitlines():
        if "hugetlbfs" in line:
            yield line
