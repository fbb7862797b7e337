"""The port that flow bifurcation splits: its VFs, and the network namespace that the PF is in."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pytest_vswitch.apps import ethtool
from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import changes, netns
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.undo import Change

SPACE: Final = "vswitch-pf"
"""Network namespace that the PF is in."""
VFS: Final = 2
VF_MACS: Final = ("02:00:c6:12:f0:00", "02:00:c6:12:f0:01")
STATION_MAC: Final = "02:00:c6:12:00:01"
"""Of the machine at the other end of the wire."""

_RULES: Final = re.compile(r"Total (\d+) rules")


@dataclass(frozen=True, slots=True)
class Card:
    """What the guide says of one kind of card."""

    kernel_ip: str
    """Of the PF, where the kernel answers."""
    station_ip: str
    """At the other end of the wire."""
    queues: int
    """Of each VF that testpmd polls: filters name one of them."""


CARDS: Final = {
    "ixgbe": Card("198.51.100.1", "198.51.100.9", queues=2),
    "i40e": Card("10.16.43.214", "10.16.43.9", queues=4),
}
"""By the driver of the PF."""


def interface(host: Host, bdf: str) -> str:
    """The PF's network interface. Raises HostError when it has none, or several."""
    names = [path.rpartition("/")[2] for path in host.glob(f"/sys/bus/pci/devices/{bdf}/net/*")]
    if len(names) != 1:
        raise HostError(
            f"{host.name}: {bdf} has {'no network interface' if not names else ', '.join(names)}; "
            "its kernel's driver must have made one, in the host's own network namespace"
        )
    return names[0]


def refuse_addresses(host: Host, name: str) -> None:
    """Raise HostError where somebody uses an interface."""
    told = host.ask(["ip", "-o", "address", "show", "dev", name, "scope", "global"]).output
    if addresses := re.findall(r"inet6? (\S+)", told):
        raise HostError(
            f"{host.name}: {name} has the addresses {', '.join(addresses)}, which a run would "
            "take away: remove them, or give the lab another port"
        )


def refuse_used(host: Host, pf: ethtool.Port) -> None:
    """Raise HostError where somebody's addresses or filters would be lost."""
    refuse_addresses(host, pf.name)
    shown = host.ask(pf.command("-n"), check=False).output
    if (found := _RULES.search(shown)) and int(found[1]):
        raise HostError(
            f"{host.name}: {pf.name} has {found[1]} filters of somebody already "
            f"(ethtool -n {pf.name}): delete them first"
        )


@contextlib.contextmanager
def functions(host: Host, bdf: str, count: int = VFS) -> Iterator[list[str]]:
    """VFs that no driver of the kernel takes."""
    device = f"/sys/bus/pci/devices/{bdf}"
    knob = f"{device}/sriov_numvfs"
    had = host.read_text(knob).strip() if host.exists(knob) else "no place for"
    if had != "0":
        raise HostError(
            f"{host.name}: {bdf} has {had} virtual functions; there must be none yet, and SR-IOV "
            "switched on in the BIOS"
        )
    with (
        changes.rewriting(host, f"{device}/sriov_drivers_autoprobe", "0\n"),
        changes.virtual_functions(host, bdf, count) as functions,
    ):
        yield functions


@contextlib.contextmanager
def apart(host: Host, name: str, card: Card, driver: str) -> Iterator[ethtool.Port]:
    """The PF in a namespace of its own, with the addresses of the guide; back at the end."""
    flags = f"/sys/class/net/{name}/flags"
    with (
        host.changing(Change("rewrote", flags, host.read_text(flags))),  # the move sets it down
        changes.namespace(host, SPACE),
    ):
        host.run(
            ["ip", "link", "set", "dev", name, "netns", SPACE],
            why="what this namespace's kernel counts came from this port",
        )
        for setting in ("net.ipv6.conf.all.disable_ipv6=1", "net.ipv4.ip_forward=0"):
            host.run(
                [*netns.command(SPACE), "sysctl", "-q", "-w", setting],
                why="no frames of its own but answers",
            )
        host.run(ip("address", "add", f"{card.kernel_ip}/24", "dev", name))
        host.run(ip("link", "set", "dev", name, "up"))
        host.run(
            ip("neighbour", "replace", card.station_ip, "lladdr", STATION_MAC, "dev", name),
            why="where the kernel's answers go",
        )
        if driver == "i40e":
            _offload_vxlan(host, name, card)
        yield ethtool.Port(host, SPACE, name)


def _offload_vxlan(host: Host, name: str, card: Card) -> None:
    """A VXLAN interface of the kernel, which tells the NIC the UDP port of tunnels (8472)."""
    how = ["type", "vxlan", "id", "42", "group", "239.1.1.1", "local", card.kernel_ip]
    host.run(
        ip("link", "add", "vxlan0", *how, "dstport", "8472", "dev", name),
        why="the NIC looks into tunnels of this UDP port (guide, 3.2, step 4)",
    )
    host.run(ip("link", "set", "dev", "vxlan0", "up"))


def ip(*words: str) -> list[str]:
    """`ip` in the PF's namespace."""
    return ["ip", "-n", SPACE, *words]
