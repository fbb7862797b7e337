"""Which network interfaces keep a host reachable, and so must never be touched.

An interface is one of them if it carries a default route or an SSH session, or if one of
them stands on it: it is a member of a bond, team or bridge, the parent of a VLAN, what a
tunnel's frames leave by, and so on.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.host import Host

_OVS = "ovs-system"
"""Master of the ports of all Open vSwitch bridges; the bridges themselves hang on nothing."""

_SESSION = re.compile(r"^\d+\s+\d+\s+(\S+):\d+\s+(\S+):\d+\s+.*\(\(\"sshd", re.MULTILINE)
"""One line of `ss` about a connection of sshd: local and peer address."""


def reasons(host: Host) -> dict[str, str]:
    """Why each of the host's management interfaces is one, by interface.

    Raises HostError when it cannot be found out: who does not know must not touch any.
    """
    found: dict[str, str] = {}
    addresses = _addresses(host)
    for name in _default_routes(host):
        found.setdefault(name, "carries the default route")
    for name, peer in _sessions(host, addresses):
        found.setdefault(name, f"carries the SSH session from {peer}")
    found.pop("lo", None)
    virtual = _virtual(host)
    below = _below(host)
    real = set(addresses.values()) - virtual
    for name in [name for name in found if name in virtual and not below.get(name)]:
        if _OVS in below:
            below[name] = below[_OVS]
        else:  # a tunnel: its frames leave by one that has an address
            below[name] = real
    return _with_those_below(found, below)


def _default_routes(host: Host) -> Iterable[str]:
    for family in ("-4", "-6"):
        argv = ["ip", "-j", family, "route", "show", "default", "table", "all"]
        for route in ask_json(host, argv, "which interfaces carry the default route"):
            for hop in [route, *route.get("nexthops", [])]:
                if "dev" in hop:
                    yield hop["dev"]


def _addresses(host: Host) -> dict[str, str]:
    """The interface of each address that is more than link-local."""
    return {
        _plain(address["local"]): link["ifname"]
        for link in ask_json(host, ["ip", "-j", "address"], "which interfaces are reached")
        for address in link.get("addr_info", [])
        if "local" in address and address.get("scope") != "link"
    }


def _sessions(host: Host, addresses: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """(interface, peer) of every SSH session, by its local address and by the way back."""
    why = "which interfaces carry SSH sessions"
    ends = set(_SESSION.findall(host.ask(["ss", "-Htnp", "state", "established"], why=why).output))
    # Who is not root cannot see whose a connection is; its own is in the environment.
    own = host.ask(["printenv", "SSH_CONNECTION"], check=False, why=why).output.split()
    if len(own) == 4:
        ends.add((own[2], own[0]))
    for local, peer in sorted(ends):
        zone = re.search(r"%([^\]:]+)", local)
        plain = _plain(peer)
        if name := zone[1] if zone else addresses.get(_plain(local)):
            yield name, plain
        if zone is None and plain:
            argv = ["ip", "-j", "route", "get", plain]
            for route in ask_json(host, argv, why, check=False):
                if "dev" in route:
                    yield route["dev"], plain


def _plain(address: str) -> str:
    """As `ip` writes it: without brackets, zone, and IPv4 in IPv6; empty if it is none."""
    try:
        parsed = ipaddress.ip_address(re.sub(r"[\[\]]|%[^\]]*", "", address))
    except ValueError:
        return ""
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def _below(host: Host) -> dict[str, set[str]]:
    """For each interface, those that it stands on, as the kernel links them."""
    below: dict[str, set[str]] = {}
    for path in host.glob("/sys/class/net/*/upper_*"):
        name, _, upper = path.removeprefix("/sys/class/net/").partition("/upper_")
        below.setdefault(upper, set()).add(name)
    return below


def _virtual(host: Host) -> set[str]:
    """Interfaces without a device."""
    real = {path.split("/")[4] for path in host.glob("/sys/class/net/*/device")}
    return {path.split("/")[4] for path in host.glob("/sys/class/net/*")} - real


def _with_those_below(found: Mapping[str, str], below: Mapping[str, set[str]]) -> dict[str, str]:
    every = dict(found)
    pending = list(found)
    while pending:
        upper = pending.pop()
        why = found.get(upper) or every[upper].partition(", which ")[2]
        for name in sorted(below.get(upper, set()) - every.keys()):
            every[name] = f"carries {upper}, which {why}"
            pending.append(name)
    return every


def ask_json(host: Host, argv: list[str], why: str, *, check: bool = True) -> list[dict[str, Any]]:
    """What an `ip -j` command lists. Raises HostError when it is not a list of mappings."""
    done = host.ask(argv, check=check, why=why)
    if done.status:
        return []
    try:
        listed = json.loads(done.output or "[]")
    except ValueError:
        listed = None
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise HostError(f"{host.name}: `{' '.join(argv)}` did not answer in JSON: is it iproute2?")
    return [item for item in listed if item]
