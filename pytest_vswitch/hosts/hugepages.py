"""Hugepages for a run: used if free, allocated and given back if not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.undo import Change

_SIZES_KB = {"2M": 2048, "1G": 1048576}


@dataclass(frozen=True, slots=True)
class Hugepages:
    """What the run's memory lies on."""

    size_kb: int | None
    """None: ordinary pages."""
    reason: str
    """Why not hugepages, or how they were had."""

    def __str__(self) -> str:
        pages = f"{self.size_kb} kB hugepages" if self.size_kb else "no hugepages"
        return f"{pages} ({self.reason})"


@contextlib.contextmanager
def reserve(host: Host, wanted: str, needs_mb: Sequence[int]) -> Iterator[Hugepages]:
    """Pages for each of `needs_mb`; `wanted` is the lab's `auto`, `none`, `2M` or `1G`.

    Raises HostError when the lab names a size that cannot be had.
    """
    if wanted == "none":
        yield Hugepages(None, "the lab asks for none")
        return
    with contextlib.ExitStack() as stack:
        shortfalls = []
        for size in _SIZES_KB if wanted == "auto" else [wanted]:
            size_kb = _SIZES_KB[size]
            pages = sum(-(-need * 1024 // size_kb) for need in needs_mb)
            reason, enough = stack.enter_context(_pages(host, size_kb, pages))
            if enough:
                yield Hugepages(size_kb, reason)
                return
            shortfalls.append(reason)
        if wanted != "auto":
            raise HostError(f"{host.name}: dut.hugepages is {wanted}, but {shortfalls[0]}")
        yield Hugepages(None, "; ".join(shortfalls))


@contextlib.contextmanager
def _pages(host: Host, size_kb: int, pages: int) -> Iterator[tuple[str, bool]]:
    """Whether `pages` pages are free now, allocating what is missing; and why (not)."""
    directory = f"/sys/kernel/mm/hugepages/hugepages-{size_kb}kB"
    if not host.exists(directory):
        yield f"the kernel has no {size_kb} kB pages", False
        return
    total = f"{directory}/nr_hugepages"
    # Those promised to a program that has not touched them yet count as free, too.
    promised = int(host.read_text(f"{directory}/resv_hugepages"))
    free = int(host.read_text(f"{directory}/free_hugepages")) - promised
    missing = pages - free
    if missing <= 0:
        yield f"{free} were free", True
        return
    had = int(host.read_text(total))
    with host.changing(Change("rewrote", total, str(had), str(had + missing))):
        try:
            host.write_text(total, str(had + missing))
            got = int(host.read_text(total)) - had
        except OSError:
            got = 0
        if got >= missing:
            yield f"{missing} allocated for this run", True
            return
    yield f"of {missing} more pages of {size_kb} kB the kernel gave {got}", False
