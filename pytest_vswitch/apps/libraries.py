"""What a program of the host needs, file by file: for an image with that and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.host import Host

if TYPE_CHECKING:
    from pytest_vswitch.apps.dpdk import Dpdk

_LOADED_LATE = ("libgcc_s.so.1",)
"""glibc opens it in pthread_cancel, so that no library list names it."""


def needed(
    host: Host, programs: Sequence[str], drivers: Sequence[str], static: Sequence[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """Programs, libraries, DPDK drivers and each link to them; the files of the drivers.

    Drivers are named as in `librte_<driver>.so`. The first of `programs` is linked with DPDK;
    `static` ones need no library. Raises HostError for what is not installed.
    """
    found = linked(host, programs)
    plugins = {name: _driver(host, found, name) for name in drivers}
    found |= linked(host, list(plugins.values())) if plugins else set()
    libc = next(path for path in found if path.endswith("/libc.so.6"))
    late = {f"{PurePosixPath(libc).parent}/{name}" for name in _LOADED_LATE}
    every = {*programs, *static, *plugins.values(), *found, *late}
    return _with_targets(host, sorted(every)), plugins


def needed_of_tree(
    host: Host, dpdk: Dpdk, drivers: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """As `needed`, of the testpmd of a DPDK beside the system's, its loader included."""
    plugins = {name: f"{dpdk.drivers}/librte_{name}.so" for name in drivers} if dpdk.drivers else {}
    for path in plugins.values():
        if not host.exists(path):
            raise HostError(f"{host.name}: DPDK {dpdk.name} has no driver {path}")
    loader = dpdk.command[0]
    found = {dpdk.program, loader, *plugins.values()}
    for path in (dpdk.program, *plugins.values()):
        found |= linked(host, [path], dpdk.list_libraries)
    directories = {str(PurePosixPath(path).parent) for path in found}
    late = {f"{directory}/{name}" for directory in directories for name in _LOADED_LATE}
    found |= {path for path in late if host.exists(path)}
    return _with_targets(host, sorted(found)), plugins


def linked(host: Host, programs: Sequence[str], lister: Sequence[str] = ("ldd", "--")) -> set[str]:
    """Paths of the libraries of all. Raises HostError for one that is missing."""
    output = host.ask([*lister, *programs], why="what the image's programs need").output
    if missing := re.search(r"(\S+) => not found", output):
        raise HostError(f"{host.name}: {missing[1]}, needed by {programs[0]}, is not installed")
    return set(re.findall(r"(?:=> |^\s+)(/\S+) \(0x", output, re.MULTILINE))


def _driver(host: Host, libraries: set[str], name: str) -> str:
    """The driver's file beside the other drivers of the same DPDK."""
    eal = next((path for path in libraries if "/librte_eal.so" in path), None)
    root = str(PurePosixPath(eal).parent) if eal else "/usr/lib/x86_64-linux-gnu"
    found = host.glob(f"{root}/dpdk/pmds-*/librte_{name}.so")
    if not found:
        raise HostError(f"{host.name}: DPDK's driver librte_{name}.so is not in {root}/dpdk/pmds-*")
    return found[-1]


def _with_targets(host: Host, paths: Sequence[str]) -> list[str]:
    """Each path without links in its directories, and all that it leads to, link by link."""
    found: dict[str, None] = {}
    while paths:
        parents = host.ask(["realpath", "--", *(str(PurePosixPath(p).parent) for p in paths)])
        flat = [
            f"{parent}/{PurePosixPath(path).name}"
            for path, parent in zip(paths, parents.output.splitlines(), strict=True)
        ]
        found |= dict.fromkeys(flat)
        links = host.ask(["find", *flat, "-maxdepth", "0", "-type", "l", "-printf", "%h\t%l\n"])
        pairs = [line.split("\t") for line in links.output.splitlines()]
        paths = [str(PurePosixPath(parent) / target) for parent, target in pairs]
    return list(found)
