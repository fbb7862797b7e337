"""Which programs a host has, in which version; nothing is started that touches a device."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.machine.files import text

UNKNOWN = "unknown"

_NUMPY = "import numpy; print(numpy.__version__)"
_TREX = ("/opt/trex*/t-rex-64", "/opt/trex/*/t-rex-64")
"""Where its users unpack it; the directory is called by the version."""


@dataclass(frozen=True, slots=True)
class Software:
    """Versions; empty: the program is not there; `unknown`: it is, and tells no version."""

    distribution: str
    """E.g. `Debian GNU/Linux 12 (bookworm)`."""
    kernel: str
    dpdk: str
    """Of testpmd."""
    qemu: str
    ovs: str
    vpp: str
    trex: str
    python: str
    numpy: str
    """Of `python`; the memif generator runs there."""


def read(
    host: Host, *, testpmd: str = "dpdk-testpmd", qemu: str = "qemu-system-x86_64"
) -> Software:
    """Ask each program that is there. Raises HostError when one does not answer in time."""
    release = re.search(r'^PRETTY_NAME="?([^"\n]*)', text(host, "/etc/os-release"), re.MULTILINE)
    return Software(
        distribution=release[1] if release else UNKNOWN,
        kernel=text(host, "/proc/sys/kernel/osrelease"),
        # With `-h` EAL ends after it told its version, before it looks for devices.
        dpdk=_version(host, [testpmd, "-v", "-h"], r"RTE Version: '(?:DPDK )?([^']+)'"),
        qemu=_version(host, [qemu, "--version"], r"QEMU emulator version (\S+)"),
        ovs=_version(host, ["ovs-vswitchd", "--version"], r"\(Open vSwitch\) (\S+)"),
        vpp=_vpp(host),
        trex=_trex(host),
        python=_version(host, ["python3", "--version"], r"Python (\S+)"),
        numpy=_version(host, ["python3", "-I", "-c", _NUMPY], r"^(\d\S*)").replace(UNKNOWN, ""),
    )


def _version(host: Host, argv: Sequence[str], pattern: str) -> str:
    if host.which(argv[0]) is None:
        return ""
    said = host.ask(argv, check=False, why=f"which version of {argv[0]} is there").output
    found = re.search(pattern, said, re.MULTILINE)
    return found[1] if found else UNKNOWN


def _vpp(host: Host) -> str:
    """By its package: older ones take `--version` for a configuration, and start."""
    if host.which("vpp") is None:
        return ""
    for argv in (
        ["dpkg-query", "-W", "-f", "version ${Version}", "vpp"],
        ["rpm", "-q", "--qf", "version %{VERSION}", "vpp"],
    ):
        if (found := _version(host, argv, r"^version (\S+)$")) not in ("", UNKNOWN):
            return found
    return UNKNOWN


def _trex(host: Host) -> str:
    servers = [path for pattern in _TREX for path in host.glob(pattern)]
    versions = (re.search(r"v(\d+\.\d+)/t-rex-64$", path) for path in servers)
    return max((found[1] for found in versions if found), default=UNKNOWN if servers else "")
