"""Sets a topology up and takes it down, many times, and says what that leaves on the machine.

    python -m benchmarks.soak [ROW...] [--rounds 20]

Looked at are processes, mounts, hugepages, sockets, interfaces, bridges, namespaces, and the
files where programs keep state: databases, domains, images, containers. Exit status 1 if
anything is there that was not there before, or is gone.
"""

from __future__ import annotations

import argparse
import glob
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rows import ROWS, Row
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript

PLACES = (
    "/dev/hugepages",
    "/dev/shm",
    "/etc/containers",
    "/etc/libvirt",
    "/etc/openvswitch",
    "/run",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/libvirt",
    "/var/lib/openvswitch",
    "/var/lib/pytest-vswitch",
    "/var/log/libvirt",
    "/var/log/openvswitch",
)
SETTLE_S = 5.0
"""What a dead process leaves is gone with the process, a moment later."""


def snapshot() -> set[str]:
    """What a set-up could leave, a line each."""
    return set(_lines())


def _lines() -> Iterator[str]:
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            command = Path(path).read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:  # gone meanwhile
            continue
        if command:  # the kernel's own threads have none
            yield f"process {path.split('/')[2]} {command}"
    for path in glob.glob("/sys/kernel/mm/hugepages/*/nr_hugepages"):
        yield f"{path} {Path(path).read_text().strip()}"
    for line in Path("/proc/mounts").read_text().splitlines():
        yield f"mount {line}"
    for line in Path("/proc/net/unix").read_text().splitlines():
        if "/" in line:
            yield f"socket {line.split()[-1]}"
    for line in Path("/proc/net/dev").read_text().splitlines()[2:]:
        yield f"interface {line.partition(':')[0].strip()}"
    yield from (f"namespace {path}" for path in glob.glob("/run/netns/*"))
    for place in PLACES:
        for directory, _, files in os.walk(place):
            yield f"directory {directory}"
            yield from (f"file {directory}/{name}" for name in files)


def difference(before: set[str]) -> list[str]:
    """What is there now and was not, and the other way round, once it has settled."""
    mine = f"process {os.getpid()} "
    deadline = time.monotonic() + SETTLE_S
    while True:
        now = snapshot()
        changed = [f"+ {line}" for line in now - before] + [f"- {line}" for line in before - now]
        changed = [line for line in changed if not line[2:].startswith(mine)]
        if not changed or time.monotonic() > deadline:
            return sorted(changed)
        time.sleep(0.1)  # polls for the end of what dies


def rounds(row: Row, count: int) -> Iterator[float]:
    """Set it up and take it down; the seconds that each round takes."""
    for _ in range(count):
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="soak-") as directory:
            where = Path(directory)
            with LocalHost(where.name, Transcript(where)) as host, row.wired(host):
                pass
        yield time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", metavar="ROW", nargs="*", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    left: list[str] = []
    for name in arguments.rows or ROWS:
        # The first builds what is kept on purpose: guest images, the verdict on KVM.
        list(rounds(ROWS[name], 1))
        before = snapshot()
        taken = list(rounds(ROWS[name], arguments.rounds))
        found = difference(before)
        print(
            f"{name:<15} {len(taken)} rounds, {min(taken):.1f} to {max(taken):.1f} s each: "
            f"{'nothing is left' if not found else f'{len(found)} differences'}",
            flush=True,
        )
        left += [f"{name}: {line}" for line in found]
    print("\n".join(left), file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
