"""How many hugepages a control group may take: the limit of a container's memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.undo import Change

_TOP = "/sys/fs/cgroup"
_SIZES = {2048: "2MB", 1048576: "1GB"}
"""As the kernel names them, by size [kB]."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The tree of control groups that counts hugepages."""

    path: str
    limit: str
    """Ending of the name of a group's file for the limit, in version 1 or 2."""
    usage: str

    def files(self, group: str, size_kb: int) -> tuple[str, str]:
        """Paths of a group's limit and usage for pages of that size [bytes in both]."""
        start = f"{self.path}/{group}/hugetlb.{_SIZES[size_kb]}"
        return f"{start}.{self.limit}", f"{start}.{self.usage}"


def find(host: Host) -> Hierarchy | None:
    """None where the kernel counts no hugepages by group."""
    for path in (_TOP, f"{_TOP}/unified"):
        with contextlib.suppress(OSError):
            if "hugetlb" in host.read_text(f"{path}/cgroup.controllers").split():
                return Hierarchy(path, "max", "current")
    if host.exists(f"{_TOP}/hugetlb/cgroup.procs"):
        return Hierarchy(f"{_TOP}/hugetlb", "limit_in_bytes", "usage_in_bytes")
    return None


@contextlib.contextmanager
def counting(host: Host) -> Iterator[Hierarchy | None]:
    """Groups at the top of the tree have limits; None, and no change, where they cannot.

    What was not so before is not so afterwards.
    """
    tree = find(host)
    if tree is None or tree.limit != "max":
        yield tree
        return
    switch = f"{tree.path}/cgroup.subtree_control"
    with contextlib.ExitStack() as stack:
        if "hugetlb" not in host.read_text(switch).split():
            stack.enter_context(host.changing(Change("delegated", switch, after="hugetlb")))
            try:
                host.write_text(switch, "+hugetlb")
            except OSError:  # a container's own tree has programs at its top
                tree = None
        yield tree


def limit(host: Host, tree: Hierarchy, group: str, size_kb: int, limit_mb: int) -> None:
    """Set the limit of a group, which is made if it is not there. Raises HostError, OSError."""
    host.run(
        ["mkdir", "-p", "--", f"{tree.path}/{group}"],
        why=f"the container's control group: {limit_mb} MiB of hugepages are its limit",
    )
    host.write_text(tree.files(group, size_kb)[0], str(limit_mb << 20))


def read(host: Host, tree: Hierarchy, group: str, size_kb: int) -> tuple[int | None, int]:
    """Limit (None: none) and usage of a group [bytes]. Raises OSError."""
    most, used = (host.read_text(path).strip() for path in tree.files(group, size_kb))
    # Version 1 says "none" by the largest number of whole pages.
    bounded = most != "max" and int(most) < 1 << 62
    return int(most) if bounded else None, int(used)
