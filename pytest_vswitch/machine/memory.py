"""A host's memory: hugepages of each size and node, their mounts, and what stirs in it.

Files are those of the kernel's admin-guide/mm/{hugetlbpage,ksm,transhuge}.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.machine.files import directories, number, text

NODE = "/sys/devices/system/node"
HUGEPAGES = "/sys/kernel/mm/hugepages"
KSM = "/sys/kernel/mm/ksm/run"
THP = "/sys/kernel/mm/transparent_hugepage/enabled"

SIZES_KB = {"2M": 2048, "1G": 1048576}


@dataclass(frozen=True, slots=True)
class Pool:
    """Hugepages of one size on one NUMA node."""

    path: str
    """Its directory; `nr_hugepages` in it can be written."""
    node: int
    size_kb: int
    total: int
    free: int

    @property
    def free_mb(self) -> int:
        return self.free * self.size_kb // 1024


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted hugetlbfs."""

    path: str
    size_kb: int


@dataclass(frozen=True, slots=True)
class Node:
    """Memory of a NUMA node."""

    number: int
    total_mb: int
    free_mb: int


@dataclass(frozen=True, slots=True)
class Memory:
    """All memory of a host."""

    nodes: tuple[Node, ...]
    available_mb: int
    """What programs may still take without swapping."""
    pools: tuple[Pool, ...]
    """By node, then size."""
    default_size_kb: int | None
    """Size of a hugepage that is asked for without naming one."""
    mounts: tuple[Mount, ...]
    thp: str
    """Transparent hugepages: `always`, `madvise`, `never`; empty: the kernel has none."""
    ksm: int | None
    """1: pages of equal content are merged; None: the kernel cannot."""

    def free_mb(self, size_kb: int, nodes: Iterable[int] | None = None) -> int:
        """Free hugepages of a size, on some nodes or on all [MiB]."""
        wanted = None if nodes is None else set(nodes)
        return sum(
            pool.free_mb
            for pool in self.pools
            if pool.size_kb == size_kb and (wanted is None or pool.node in wanted)
        )


def read(host: Host) -> Memory:
    """Read it."""
    meminfo = text(host, "/proc/meminfo")
    default_size_kb = _kb(meminfo, "Hugepagesize")
    thp = re.search(r"\[(\w+)\]", text(host, THP))
    return Memory(
        nodes=_nodes(host),
        available_mb=(_kb(meminfo, "MemAvailable") or 0) // 1024,
        pools=_pools(host),
        default_size_kb=default_size_kb,
        mounts=_mounts(text(host, "/proc/mounts"), default_size_kb),
        thp=thp[1] if thp else "",
        ksm=number(text(host, KSM)),
    )


def _kb(meminfo: str, field: str) -> int | None:
    found = re.search(rf"\b{field}:\s+(\d+) kB", meminfo)
    return int(found[1]) if found else None


def _nodes(host: Host) -> tuple[Node, ...]:
    found = []
    for path, content in host.read_texts(f"{NODE}/node[0-9]*/meminfo").items():
        node = int(path.removeprefix(f"{NODE}/node").partition("/")[0])
        total_kb, free_kb = _kb(content, "MemTotal") or 0, _kb(content, "MemFree") or 0
        found.append(Node(node, total_kb // 1024, free_kb // 1024))
    return tuple(sorted(found, key=lambda node: node.number))


def _pools(host: Host) -> tuple[Pool, ...]:
    files = host.read_texts(f"{NODE}/node[0-9]*/hugepages/hugepages-*kB/[fn]*_hugepages")
    # A kernel without NUMA has no nodes, but hugepages.
    files = files or host.read_texts(f"{HUGEPAGES}/hugepages-*kB/[fn]*_hugepages")
    found = []
    for path, counts in directories(files).items():
        node = re.search(r"/node(\d+)/", path)
        size = re.search(r"hugepages-(\d+)kB$", path)
        assert size  # by the pattern
        found.append(
            Pool(
                path=path,
                node=int(node[1]) if node else 0,
                size_kb=int(size[1]),
                total=number(counts.get("nr_hugepages", "")) or 0,
                free=number(counts.get("free_hugepages", "")) or 0,
            )
        )
    return tuple(sorted(found, key=lambda pool: (pool.node, pool.size_kb)))


def _mounts(mounts: str, default_size_kb: int | None) -> tuple[Mount, ...]:
    found = []
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) > 3 and fields[2] == "hugetlbfs":
            size = re.search(r"\bpagesize=(\d+)([KMG])", fields[3])
            factor = {"K": 1, "M": 1024, "G": 1048576}
            size_kb = int(size[1]) * factor[size[2]] if size else default_size_kb or 2048
            found.append(Mount(fields[1], size_kb))
    return tuple(found)
