"""The generator's interfaces: found on its host, and made fit to carry nothing but frames of ours.

An interface that is up has a life of its own: with IPv6 the kernel looks for neighbours and
routers there. Where such frames go into the DUT, its counters show more than was sent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts import netns
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.machine import management

_PCI = "/sys/bus/pci/devices"
_UP = 0x1

_MERGING = ("rx-gro-list", "rx-udp-gro-forwarding")
"""Features by which the kernel makes one of several UDP frames; GRO and LRO as such merge
TCP only (Documentation/networking/segmentation-offloads.rst)."""


def require_namespace(host: Host, space: str, where: str) -> None:
    """Raise InputError, naming the line `where`, if there is no such network namespace."""
    if space and not host.exists(f"{netns.NAMESPACES}/{space}"):
        raise InputError(f"{where}: {host.name} has no network namespace `{space}`")


def find(host: Host, space: str, wire: str, where: str) -> str:
    """The interface that a lab calls `wire`, a name or a PCI address.

    Raises InputError, naming the line `where`, if there is none or more than one.
    """
    beside = f" in the network namespace {space}" if space else ""
    if ":" not in wire:
        if wire not in _names(host, space, "/sys/class/net"):
            raise InputError(f"{where}: {host.name} has no interface {wire}{beside}")
        return wire
    names = _names(host, space, f"{_PCI}/{wire}/net")
    for virtio in host.glob(f"{_PCI}/{wire}/virtio*"):
        names += _names(host, space, f"{virtio}/net")
    if not names:
        driver = f"{_PCI}/{wire}/driver"
        bound = host.read_link(driver).rpartition("/")[2] if host.exists(driver) else "none"
        raise InputError(
            f"{where}: {host.name} has no interface of the PCI device {wire}{beside} "
            f"(its driver: {bound}); the generator sends on interfaces of the kernel"
        )
    if len(names) > 1:
        raise InputError(
            f"{where}: PCI device {wire} of {host.name} has several interfaces; name one of "
            f"{', '.join(sorted(names))}"
        )
    return names[0]


def refuse_management(host: Host, space: str, names: Sequence[str]) -> None:
    """Raise HostError, with the reason, for an interface that keeps the host reachable."""
    if space:
        return
    reasons = management.reasons(host)
    for name in names:
        if name in reasons:
            raise HostError(f"{host.name}: the interface {name} is left alone: {reasons[name]}")


@contextlib.contextmanager
def prepared(host: Host, space: str, name: str) -> Iterator[None]:
    """The interface up, and silent by itself; as it was found at the end.

    Raises HostError.
    """
    _refuse_merging(host, space, name)
    with contextlib.ExitStack() as stack:
        ipv6 = f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6"
        if _is_there(host, space, ipv6) and netns.read(host, space, ipv6).strip() == "0":
            stack.enter_context(netns.rewriting(host, space, ipv6, "1\n"))
        path = f"/sys/class/net/{name}/flags"
        flags = int(netns.read(host, space, path), 16)
        if not flags & _UP:
            stack.enter_context(netns.rewriting(host, space, path, f"{flags | _UP:#x}\n"))
        yield


def _names(host: Host, space: str, directory: str) -> list[str]:
    done = host.ask([*netns.command(space), "ls", "-1", "--", directory], check=False)
    return done.output.split() if not done.status else []


def _is_there(host: Host, space: str, path: str) -> bool:
    return not host.ask([*netns.command(space), "test", "-e", path], check=False).status


def _refuse_merging(host: Host, space: str, name: str) -> None:
    if not host.which("ethtool"):
        return
    told = host.ask([*netns.command(space), "ethtool", "-k", name], check=False).output
    pairs = (line.partition(":") for line in told.splitlines())
    on = [key.strip() for key, _, value in pairs if value.split()[:1] == ["on"]]
    if merging := [feature for feature in _MERGING if feature in on]:
        off = " ".join(f"{feature} off" for feature in merging)
        raise HostError(
            f"{host.name}: {name} makes one frame of several, so they cannot be counted: "
            f"ethtool -K {name} {off}"
        )
