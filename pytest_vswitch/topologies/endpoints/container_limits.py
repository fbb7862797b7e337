"""What a container may do, as the kernel tells it from inside, held against what was given.

The guide's 6.2 gives its container all hugepages and root's rights; this one has its CPUs,
its memory and two capabilities.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_vswitch.apps import hugetlb
from pytest_vswitch.apps.containers import CAPABILITIES
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.machine import cpulist

_NUMBERS = {"IPC_LOCK": 14, "SYS_NICE": 23}
"""Bits of capabilities, see capabilities(7)."""

_STATUS = ("/proc/self/status", "/proc/1/status")
"""Of one more program in the container, and of its testpmd."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What a container was started with."""

    uid: int
    """Its user's number on the host."""
    cpus: frozenset[int]
    hugepages_mb: int | None
    """None: the kernel counts none by group."""


@dataclass(frozen=True, slots=True)
class Status:
    """What /proc/PID/status says of a process in the container."""

    capabilities: int
    """Those it may ever have, a bit each."""
    no_new_privileges: bool
    cpus: frozenset[int]


def parse_statuses(output: str) -> list[Status]:
    """From several files after one another. Raises DutError when they lack a line."""
    found: list[dict[str, str]] = []
    for name, text in re.findall(
        r"^(CapBnd|NoNewPrivs|Cpus_allowed_list):\s*(\S+)$", output, re.MULTILINE
    ):
        if name == "CapBnd":
            found.append({})
        if found:
            found[-1][name] = text
    try:
        return [
            Status(
                int(one["CapBnd"], 16),
                one["NoNewPrivs"] == "1",
                cpulist.parse_list(one["Cpus_allowed_list"]),
            )
            for one in found
        ]
    except KeyError as missing:
        raise DutError(f"a container's status is without {missing}:\n{output}") from None


def parse_uid(uid_map: str) -> int:
    """The number, on the host, of the user that is 0 inside, from /proc/self/uid_map."""
    inside, outside, _ = map(int, uid_map.splitlines()[0].split())
    return outside - inside


@dataclass(frozen=True, slots=True)
class Limits:
    """Reads what a running container may do."""

    host: Host
    enter: Sequence[str]
    """Command line that the words of a program in the container follow."""
    group: str
    tree: hugetlb.Hierarchy | None
    size_kb: int | None
    promise: Promise

    def breaches(self) -> list[str]:
        """What it may do more, or less, than it was given, a sentence each.

        Raises HostError when no program starts in the container, DutError.
        """
        pattern = "^(Uid|CapBnd|NoNewPrivs|Cpus_allowed_list):"
        output = self.host.run(
            [*self.enter, "grep", "-hE", pattern, *_STATUS],
            why="what the container may do, as its programs see it",
        ).output
        uids = self.host.run([*self.enter, "grep", "-h", "", "/proc/self/uid_map"]).output
        found = _of_user(self.promise, output, uids)
        for status in parse_statuses(output):
            found += _of_status(self.promise, status)
        return list(dict.fromkeys([*found, *self._of_hugepages()]))

    def _of_hugepages(self) -> list[str]:
        if self.tree is None or self.size_kb is None or self.promise.hugepages_mb is None:
            return []
        most, used = hugetlb.read(self.host, self.tree, self.group, self.size_kb)
        wanted = self.promise.hugepages_mb
        found = []
        if most != wanted << 20:
            has = "no limit" if most is None else f"a limit of {most >> 20} MiB"
            found.append(f"it has {has} of hugepages instead of {wanted} MiB")
        if not used:
            found.append("its hugepages are not counted where its limit is")
        return found


def _of_user(promise: Promise, status: str, uid_map: str) -> list[str]:
    shown = re.search(r"^Uid:\s*(\d+)", status, re.MULTILINE)
    uid = parse_uid(uid_map) + int(shown[1] if shown else 0)
    if uid == promise.uid:
        return []
    return [f"it is user {uid} on the host instead of {promise.uid}"]


def _of_status(promise: Promise, status: Status) -> list[str]:
    found = []
    for name, number in _NUMBERS.items():
        if not status.capabilities >> number & 1:
            found.append(f"it lacks the capability {name}")
    given = sum(1 << _NUMBERS[name] for name in CAPABILITIES)
    if more := status.capabilities & ~given:
        found.append(f"it has capabilities that it was not given ({more:#x})")
    if not status.no_new_privileges:
        found.append("it may get more privileges (NoNewPrivs is 0)")
    if more_cpus := sorted(status.cpus - promise.cpus):
        found.append(f"it may run on CPUs {','.join(map(str, more_cpus))}, which are not its")
    return found
