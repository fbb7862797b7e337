"""Builds dpdk-vhost from the source that Debian's `dpdk-doc` ships, for the lab's own DPDK.

On the DUT where it has a compiler, else here, if this machine has the same DPDK; once: what
was built of the same source for the same DPDK is used again.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from pytest_vswitch.apps.vhost_switch import Version, version_of
from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript

SOURCES: Final = (
    "/usr/share/dpdk/examples/vhost",
    "/usr/local/share/dpdk/examples/vhost",
)
"""Where an installed DPDK keeps the sample."""

_NEEDED: Final = {"gcc": "gcc", "make": "make", "pkg-config": "pkg-config"}
_BUILD_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Built:
    """The program, ready on the DUT."""

    path: str
    version: Version
    """Of the DPDK that it was built with."""


def missing(host: Host) -> list[str]:
    """Debian packages without which a host cannot build it."""
    lacking = [package for program, package in _NEEDED.items() if not host.which(program)]
    if not any(host.exists(f"{source}/main.c") for source in SOURCES):
        lacking.append("dpdk-doc")
    if not lacking and host.ask(["pkg-config", "--exists", "libdpdk"], check=False).status:
        lacking.append("libdpdk-dev")
    return lacking


def prepare(dut: Host) -> Built:
    """The program on the DUT. Raises InputError, with what neither machine has; HostError."""
    lacking = missing(dut)
    if not lacking:
        return _build(dut)
    built, data = _build_here(dut, lacking)
    target = f"{dut.cache}/dpdk-vhost-{hashlib.sha256(data).hexdigest()[:16]}"
    if not dut.exists(target):
        dut.run(["mkdir", "-p", "--", dut.cache], why="what later runs can use again")
        part = f"{target}.{PurePosixPath(dut.scratch).name}"
        dut.write_bytes(part, data)
        dut.run(["chmod", "755", "--", part])
        dut.run(["sync", "--", part], why="it is given its name when it is whole and on disk")
        dut.run(["mv", "--", part, target], why="dpdk-vhost, built on the controller")
    return Built(target, built.version)


def _build_here(dut: Host, lacking: list[str]) -> tuple[Built, bytes]:
    """Built on this machine, for a DUT that lacks packages; with the program itself."""
    with (
        tempfile.TemporaryDirectory(prefix="vswitch-build-") as scratch,
        LocalHost("build", Transcript(Path(scratch)), Path(scratch) / "state") as here,
    ):
        lacking_here = missing(here)
        if lacking_here:
            raise InputError(
                f"dpdk-vhost is built neither on {dut.name}, which lacks {', '.join(lacking)}, "
                f"nor here, where {', '.join(lacking_here)} is missing: "
                f"apt-get install --no-install-recommends {' '.join(lacking_here)}"
            )
        theirs, ours = _abi(dut), _abi(here)
        if theirs != ours:
            raise InputError(
                f"{dut.name} has DPDK's libraries with ABI {theirs}, this machine has {ours}: "
                f"what is built here does not run there; on {dut.name}: apt-get install "
                f"--no-install-recommends {' '.join(lacking)}"
            )
        built = _build(here)
        return built, here.read_bytes(built.path)


def _build(host: Host) -> Built:
    source = next(path for path in SOURCES if host.exists(f"{path}/main.c"))
    version = host.ask(["pkg-config", "--modversion", "libdpdk"]).output.strip()
    files = sorted([*host.glob(f"{source}/*.[ch]"), f"{source}/Makefile"])
    sums = host.ask(["sha256sum", "--", *files], why="is the built dpdk-vhost current?").output
    digest = hashlib.sha256((version + sums).encode()).hexdigest()[:16]
    target = f"{host.cache}/dpdk-vhost-{version}-{digest}"
    if not host.exists(target):
        directory = f"{host.scratch}/vhost-source"
        host.run(["rm", "-rf", "--", directory], why="an earlier try may have failed")
        host.run(["mkdir", "-p", "--", host.cache, directory])
        host.run(["cp", "--target-directory", directory, *files], why="the sample's own source")
        host.run(
            ["make", "-C", directory, "shared"],
            timeout_s=_BUILD_S,
            why="guide, Compiling the Sample Code: make in examples/vhost",
        )
        part = f"{target}.{PurePosixPath(host.scratch).name}"
        # Called vhost-switch before 22.11, in whose Makefile it got its name.
        found = host.glob(f"{directory}/build/*-shared") or [f"{directory}/build/dpdk-vhost-shared"]
        host.run(["cp", "--", found[0], part])
        host.run(["sync", "--", part], why="it is given its name when it is whole and on disk")
        host.run(["mv", "--", part, target])
        host.run(["rm", "-rf", "--", directory])
    return Built(target, version_of(version))


def _abi(host: Host) -> str:
    """E.g. `23`, of DPDK 22.11's libraries. Raises InputError where there are none."""
    roots = ("/usr/lib/*", "/usr/lib", "/usr/local/lib/*", "/usr/local/lib", "/usr/lib64")
    for root in roots:
        for path in host.glob(f"{root}/librte_eal.so.*"):
            if found := re.search(r"\.so\.(\d+)$", path):
                return found[1]
    raise InputError(f"{host.name} has no DPDK: apt-get install --no-install-recommends dpdk-dev")
