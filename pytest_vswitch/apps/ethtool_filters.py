"""Filters as `ethtool -N` takes them: what they match, where they direct to, in each dialect.

ixgbe directs to a virtual function by bits 39:32 of `action` (its number + 1). i40e 1.x, the
driver of the guide (chapter 3.2), by `user-def`, which also holds a VXLAN network identifier;
Intel's own i40e since 2.x, and the kernel's, by `action` as ixgbe does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from pytest_vswitch.errors import InputError, NotHere

Dialect = Literal["cookie", "user-def", "cloud-bit"]
"""How a driver is told the virtual function: `cookie`, in `action`; `user-def`: in that, of
i40e 1.x; `cloud-bit`: in `action`, if bit 63 of `user-def` says that it is a cloud filter."""

_NO_VNI: Final = 0xFFFFFFFF
"""Upper half of `user-def`: no network identifier; with an IP address, an L3 VEB filter."""
_CLOUD: Final = 1 << 63
_ANY: Final = ("00:00:00:00:00:00", "m", "ff:ff:ff:ff:ff:ff")
"""A MAC address that is not looked at: a set bit of a mask is `not involved`."""
_EXACTLY: Final = ("m", "00:00:00:00:00:00")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a filter directs frames to."""

    queue: int
    vf: int | None = None
    """Number of the virtual function; None: the port itself, which is the kernel's."""

    @property
    def cookie(self) -> int:
        """The guide's `$queue_index_in_VFn`: (n + 1) in bits 39:32, the queue below."""
        return (0 if self.vf is None else (self.vf + 1) << 32) + self.queue

    @property
    def told(self) -> str:
        """As `ethtool -n` shows the cookie."""
        where = "" if self.vf is None else f"VF {self.vf} "
        return f"Direct to {where}queue {self.queue}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A filter, ready for `ethtool -N INTERFACE`."""

    location: int
    """Its place in the port's table."""
    words: tuple[str, ...]
    action: str
    """As `ethtool -n` shows it."""


@dataclass(frozen=True, slots=True)
class Tunnelled:
    """What a cloud filter matches: of a VXLAN frame, always where it goes to, not its source."""

    inner_mac: str
    outer_mac: str | None = None
    inner_vlan: int | None = None
    vni: int | None = None
    """VXLAN network identifier, 24 bits."""

    def __post_init__(self) -> None:
        known = (self.outer_mac is not None, self.inner_vlan is not None, self.vni is not None)
        if known not in _CLOUD_CASES:
            raise InputError(
                "the NIC has no cloud filter of these fields; there are inner MAC, inner MAC + "
                "VNI, outer MAC + inner MAC + VNI, inner MAC + inner VLAN + VNI, and inner MAC + "
                "inner VLAN"
            )


_CLOUD_CASES: Final = (
    (False, False, False),
    (False, False, True),
    (True, False, True),
    (False, True, True),
    (False, True, False),
)
"""(outer MAC, inner VLAN, VNI) beside the inner MAC address (guide, chapter 3.2)."""


def i40e_dialect(version: str, kernel: str) -> Dialect:
    """How an i40e takes filters, by its version and the kernel's release (`uname -r`).

    The kernel's own has the kernel's release, or a number that ends in `-k` (before 5.8).
    """
    if version == kernel or version.endswith("-k"):
        return "cookie"
    first = re.match(r"(\d+)\.", version)
    return "user-def" if first and int(first[1]) < 2 else "cloud-bit"


def udp4(src_ip: str, dst_ip: str, target: Target, location: int) -> Rule:
    """UDP over IPv4 between two hosts (guide, chapter 3.1)."""
    match = ("flow-type", "udp4", "src-ip", src_ip, "dst-ip", dst_ip)
    return _rule(match, "", target.cookie, location, target.told)


def l3_veb(dst_ip: str, target: Target, location: int, dialect: Dialect, vfs: int = 2) -> Rule:
    """All that goes to an IPv4 address, not tunnelled (guide, chapter 3.2)."""
    match = ("flow-type", "ip4", "dst-ip", dst_ip)
    if dialect == "user-def":
        return _of_old(match, _NO_VNI, target, location, vfs)
    user_def = f"{_CLOUD:#x}" if dialect == "cloud-bit" else ""
    return _rule(match, user_def, target.cookie, location, target.told)


def cloud(
    tunnelled: Tunnelled, target: Target, location: int, dialect: Dialect, vfs: int = 2
) -> Rule:
    """VXLAN frames by what is inside (guide, chapter 3.2).

    Raises NotHere for a driver other than the guide's: nobody has said how they take them.
    """
    if dialect != "user-def":
        raise NotHere(
            "the guide's cloud filters are those of i40e 1.x (it names 1.5.16); the driver here "
            "takes filters otherwise"
        )
    outer = _ANY if tunnelled.outer_mac is None else (tunnelled.outer_mac, *_EXACTLY)
    vlan = () if tunnelled.inner_vlan is None else ("vlan", str(tunnelled.inner_vlan))
    match = (
        *("flow-type", "ether", "dst", *outer),
        *("src", tunnelled.inner_mac, *_EXACTLY, *vlan),
    )
    vni = _NO_VNI if tunnelled.vni is None else tunnelled.vni
    return _of_old(match, vni, target, location, vfs)


def _of_old(match: tuple[str, ...], upper: int, target: Target, location: int, vfs: int) -> Rule:
    """i40e 1.x: a number of a function that there is not stands for the port's own queues."""
    function = vfs + 1 if target.vf is None else target.vf
    user_def = f"{(upper << 32) + function:#x}"
    return _rule(match, user_def, target.queue, location, f"Direct to queue {target.queue}")


def _rule(match: tuple[str, ...], user_def: str, action: int, location: int, told: str) -> Rule:
    more = ("user-def", user_def) if user_def else ()
    number = hex(action) if action >> 32 else str(action)
    return Rule(location, (*match, *more, "action", number, "loc", str(location)), told)
