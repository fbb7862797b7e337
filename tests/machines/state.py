"""What a host is like now, to hold against what it was like before. Runs on that host.

Python's standard library only: the text of this file is sent to the host's own Python.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import stat
import subprocess
import sys
from typing import Dict, Iterator, List, Tuple  # noqa: UP035 - runs on Python 3.8

SETTINGS = (
    "/sys/kernel/mm/hugepages/*/nr_hugepages",
    "/sys/devices/system/node/node*/hugepages/*/nr_hugepages",
    "/sys/bus/pci/devices/*/driver_override",
    "/sys/bus/pci/devices/*/sriov_numvfs",
    "/proc/irq/*/smp_affinity_list",
    "/sys/kernel/mm/ksm/run",
    "/proc/sys/kernel/numa_balancing",
    "/proc/sys/kernel/*watchdog*",
    "/proc/sys/vm/nr_hugepages",
)
LINKS = ("/sys/bus/pci/devices/*/driver",)

FAKETIME = ("/dev/shm/faketime_", "/dev/shm/sem.faketime_")
"""What a machine with a clock that can be moved has for each process."""

Facts = Iterator[Tuple[str, str]]  # noqa: UP006


def processes() -> Facts:
    """What runs, without sshd's sessions, process 1 and who asks."""
    count: Dict[str, int] = {}  # noqa: UP006
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                argv = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
            if argv and int(pid) not in (1, os.getpid()) and not argv.startswith("sshd"):
                what = f"process {argv} (uid {os.stat(f'/proc/{pid}').st_uid})"
                count[what] = count.get(what, 0) + 1
    for what, number in count.items():
        yield what, str(number)


def files(root: str) -> Facts:
    """Everything below a directory: kind, mode, owner and what is in it."""
    for directory, below, names in os.walk(root):
        for path in (os.path.join(directory, name) for name in below + names):
            if path.startswith(FAKETIME):
                continue
            with contextlib.suppress(FileNotFoundError):
                yield f"file {path}", describe(path)


def describe(path: str) -> str:
    """One file: what tells it from another."""
    about = os.lstat(path)
    what = f"{stat.filemode(about.st_mode)} {about.st_uid}:{about.st_gid}"
    if stat.S_ISLNK(about.st_mode):
        return f"{what} -> {os.readlink(path)}"
    if stat.S_ISREG(about.st_mode):
        with open(path, "rb") as file:
            return f"{what} {about.st_size} {hashlib.sha256(file.read()).hexdigest()}"
    return what


def mounts() -> Facts:
    """What is mounted where, and how, from bottom to top."""
    found: Dict[str, List[str]] = {}  # noqa: UP006
    with open("/proc/self/mountinfo") as file:
        for line in file:
            _, _, _, part, place, options, *_, kind, source, more = line.split()
            found.setdefault(place, []).append(f"{kind} {source} {part} {options} {more}")
    for place, stack in found.items():
        yield f"mount {place}", ", ".join(stack)


def links() -> Facts:
    """Network interfaces with their addresses."""
    argv = ["ip", "-json", "address", "show"]
    for link in json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout):
        addresses = [address["local"] for address in link.get("addr_info", ())]
        chosen = (link.get("address"), link["mtu"], link.get("master"), *sorted(link["flags"]))
        yield f"link {link['ifname']}", " ".join(map(str, (*chosen, *addresses)))


def settings(patterns: List[str]) -> Facts:  # noqa: UP006
    """Values of the kernel's files, and drivers bound."""
    for pattern in patterns:
        for path in glob.glob(pattern):
            with contextlib.suppress(OSError), open(path) as file:
                yield f"setting {path}", file.read().strip()
    for pattern in LINKS:
        for path in glob.glob(pattern):
            yield f"setting {path}", os.readlink(path)


def state(directories: List[str], more_settings: List[str]) -> Dict[str, str]:  # noqa: UP006
    """Every fact by its name."""
    facts = dict([*processes(), *mounts(), *links(), *settings([*SETTINGS, *more_settings])])
    for directory in directories:
        facts.update(files(directory))
    return facts


if __name__ == "__main__":
    json.dump(state(**json.loads(sys.argv[1])), sys.stdout)
