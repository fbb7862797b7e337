"""Where the NICs of a virtual DUT end: TAP devices in a network namespace of the controller.

A TAP device stays when QEMU ends, and loses its carrier, as the far end of a cable does.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from collections.abc import Sequence
from pathlib import Path

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.host import Host

NAMES = ("port0", "port1")
"""The TAP devices, in the order of the DUT's ports."""

MTU = 9000
"""Of the TAP devices, so that the DUT's own decides [bytes]."""

_NAMESPACES = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000


def make(host: Host, netns: str) -> None:
    """The namespace and its TAP devices, up; what is there already stays. Raises HostError."""
    if not (_NAMESPACES / netns).exists():
        host.run(["ip", "netns", "add", netns], why="where the DUT's ports end")
    there = host.run(["ip", "-n", netns, "-br", "link"]).output
    for name in NAMES:
        if f"{name} " in there:
            continue
        host.run(["ip", "-n", netns, "tuntap", "add", "dev", name, "mode", "tap"])
        # No address: only the generator's frames shall be on the wire.
        link = ["ip", "-n", netns, "link", "set", "dev", name]
        host.run([*link, "mtu", str(MTU), "addrgenmode", "none"])
        host.run([*link, "up"])


def remove(host: Host, netns: str) -> None:
    """Remove the namespace and all in it. Raises HostError naming who still works in it."""
    if not (_NAMESPACES / netns).exists():
        return
    pids = host.run(["ip", "netns", "pids", netns]).output.split()
    if pids:
        names = ", ".join(f"{_program(pid)} ({pid})" for pid in pids)
        raise HostError(f"in use in the network namespace {netns}: {names}; end it first")
    # Also where a process that is not in it keeps it alive: the devices go now.
    for name in NAMES:
        host.run(["ip", "-n", netns, "link", "delete", "dev", name], check=False)
    host.run(["ip", "netns", "delete", netns])


def open_taps(netns: str, names: Sequence[str] = NAMES) -> list[int]:
    """Descriptors of the TAP devices, for QEMU; each is one end of a wire. Raises HostError.

    The calling thread visits the namespace for it; no other thread may be under way.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    taps: list[int] = []
    try:
        there = os.open(_NAMESPACES / netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(libc, there)
            try:
                for name in names:
                    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
                    taps.append(tap)
                    request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI)
                    fcntl.ioctl(tap, _TUNSETIFF, request)
            finally:
                _enter(libc, home)
        finally:
            os.close(there)
    except OSError as error:
        for tap in taps:
            os.close(tap)
        raise HostError(
            f"cannot open the TAP devices in the network namespace {netns}: {error}"
        ) from None
    finally:
        os.close(home)
    return taps


def _enter(libc: ctypes.CDLL, namespace: int) -> None:
    # os.setns comes with Python 3.12.
    if libc.setns(namespace, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _program(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"
