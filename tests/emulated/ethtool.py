"""ethtool's language for filters, and what three drivers and their NICs do with them.

The language is that of ethtool 6.1 (`rxclass.c`: options in any order after the flow type, each
with a value and perhaps `m` and a mask, whose set bits are not involved). What drivers refuse is
from Linux's ixgbe (`ixgbe_add_ethtool_fdir_entry`) and i40e (`i40e_add_fdir_ethtool`), and for
i40e 1.x from its cloud filters' documents. Frames are taken apart by hand, by offsets of the RFCs.
It knows nothing of what the suites expect; a mutant overrides one method.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

PF = -1
Kind = Literal["ixgbe", "i40e", "i40e 1.x"]

USAGE = "ethtool: bad command line argument(s)\nFor more information run ethtool -h\n"
INVALID, UNSUPPORTED = "Invalid argument", "Operation not supported"

_ADDRESS, _NUMBER, _MAC = "address", "number", "mac"
_EXTRA = {
    "vlan-etype": (_NUMBER, 16),
    "vlan": (_NUMBER, 16),
    "user-def": (_NUMBER, 64),
    "action": (_NUMBER, 64),
    "vf": (_NUMBER, 32),
    "queue": (_NUMBER, 32),
    "loc": (_NUMBER, 32),
}
_IP = {"src-ip": (_ADDRESS, 32), "dst-ip": (_ADDRESS, 32), "tos": (_NUMBER, 8)}
_PORTS = {"src-port": (_NUMBER, 16), "dst-port": (_NUMBER, 16)}
OPTIONS: Mapping[str, Mapping[str, tuple[str, int]]] = {
    "udp4": {**_IP, **_PORTS, **_EXTRA},
    "tcp4": {**_IP, **_PORTS, **_EXTRA},
    "ip4": {**_IP, **_PORTS, "l4proto": (_NUMBER, 8), **_EXTRA},
    "ether": {"src": (_MAC, 48), "dst": (_MAC, 48), "proto": (_NUMBER, 16), **_EXTRA},
}
_PROTOCOLS = {"udp4": 17, "tcp4": 6}
_WHERE = ("action", "vf", "queue", "loc")


class Usage(Exception):
    """ethtool does not take these words."""


@dataclass(slots=True)
class Parsed:
    """A filter as it goes to the kernel."""

    flow: str
    fields: dict[str, tuple[int, int]]
    """By option: its value, and the mask as the kernel has it: set bits are compared."""
    cookie: int
    location: int

    @property
    def vf(self) -> int:
        """As a ring cookie says it; `PF` for none."""
        return (self.cookie >> 32 & 0xFF) - 1

    @property
    def queue(self) -> int:
        return self.cookie & 0xFFFFFFFF


def parse(words: list[str]) -> Parsed:
    """What comes after `-N INTERFACE`. Raises Usage."""
    if len(words) < 2 or words[0] != "flow-type" or words[1] not in OPTIONS:
        raise Usage(USAGE)
    options, rest = OPTIONS[words[1]], words[2:]
    given: dict[str, tuple[int, int]] = {}
    while rest:
        name, *rest = rest
        if name not in options:
            raise Usage(f"{USAGE}\nAdd rule, unrecognized option[{name}]\n")
        if not rest:
            raise Usage(f"{USAGE}\n")
        kind, bits = options[name]
        value, mask = _value(kind, bits, name, rest.pop(0)), (1 << bits) - 1
        if rest[:1] == ["m"]:
            if len(rest) < 2 or name in _WHERE:
                raise Usage(f"{USAGE}\nAdd rule, invalid syntax\n")
            mask &= ~_value(kind, bits, name, rest[1])
            rest = rest[2:]
        given[name] = (value, mask)
    cookie = given.pop("action", (0, 0))[0]
    if "vf" in given or "queue" in given:
        cookie = (given.pop("vf", (-1, 0))[0] + 1 << 32) + given.pop("queue", (0, 0))[0]
    location = given.pop("loc", (-1, 0))[0]
    return Parsed(words[1], given, cookie, location)


def _value(kind: str, bits: int, name: str, text: str) -> int:
    wrong = Usage(f"Invalid {name} value[{text}]\n{USAGE}\n")
    try:
        if kind == _ADDRESS:
            return int(ipaddress.IPv4Address(text))
        if kind == _MAC:
            if len(parts := text.split(":")) != 6:
                raise ValueError(text)
            return int.from_bytes(bytes(int(part, 16) for part in parts), "big")
        value = int(text, 0)
    except ValueError:
        raise wrong from None
    if not 0 <= value < 1 << bits:
        raise wrong
    return value


# --- frames, by the offsets of RFC 791, 768, 7348 and IEEE 802.1Q ---------------------------


def fields_of(frame: bytes) -> dict[str, int]:
    """Of a frame or of what is inside a tunnel: what filters compare."""
    found = {"dst": int.from_bytes(frame[:6], "big"), "src": int.from_bytes(frame[6:12], "big")}
    at = 12
    if frame[at : at + 2] == b"\x81\x00":
        found["vlan"] = int.from_bytes(frame[at + 2 : at + 4], "big") & 0xFFF
        at += 4
    if frame[at : at + 2] != b"\x08\x00":
        return found
    ip = at + 2
    found["l4proto"] = frame[ip + 9]
    found["src-ip"] = int.from_bytes(frame[ip + 12 : ip + 16], "big")
    found["dst-ip"] = int.from_bytes(frame[ip + 16 : ip + 20], "big")
    if found["l4proto"] in (6, 17):
        l4 = ip + 4 * (frame[ip] & 15)
        found["src-port"] = int.from_bytes(frame[l4 : l4 + 2], "big")
        found["dst-port"] = int.from_bytes(frame[l4 + 2 : l4 + 4], "big")
        found["payload"] = l4 + 8
    return found


# --- a driver's table -----------------------------------------------------------------------


@dataclass(slots=True)
class Filters:
    """The filters of one port."""

    kind: Kind
    vfs: int = 2
    pf_queues: int = 8
    vf_queues: int = 4
    ntuple: bool = True
    tunnel_ports: set[int] = field(default_factory=set)
    """UDP ports that the NIC was told VXLAN has."""
    table: dict[int, Parsed] = field(default_factory=dict)

    # --- the command ---

    def command(self, option: str, words: list[str]) -> tuple[int, str]:
        """`ethtool OPTION INTERFACE words...`: its exit status, and what it says."""
        if option == "-N" and words[:1] == ["delete"] and len(words) == 2:
            return self._delete(int(words[1]))
        if option == "-N":
            try:
                rule = parse(words)
            except Usage as usage:
                return 1, str(usage)
            refusal = self.refusal(rule)
            if self.stays(refusal):
                self.table[rule.location] = rule
            # With a location ethtool 6.1 does not tell by its status.
            return 0, f"rmgr: Cannot insert RX class rule: {refusal}\n" if refusal else ""
        if option == "-n" and not words:
            return 0, f"{self.pf_queues} RX rings available\nTotal {len(self.table)} rules\n"
        if option == "-n" and words[0] == "rule" and len(words) == 2:
            return self._show(int(words[1]))
        if option == "-K" and words[:1] == ["ntuple"] and words[1:] in (["on"], ["off"]):
            self.ntuple = words[1] == "on"
            if not self.ntuple:
                self.table.clear()
            return 0, ""
        if option == "-k" and not words:
            on = "on" if self.ntuple else "off"
            return 0, f"Features for ens1f0:\nrx-checksumming: on\nntuple-filters: {on}\n"
        return 1, USAGE

    def _delete(self, location: int) -> tuple[int, str]:
        if location not in self.table:
            said = "rmgr: Cannot delete RX class rule: No such file or directory\n"
            return 1, f"{said}Cannot delete classification rule\n"
        self.delete(location)
        return 0, ""

    def delete(self, location: int) -> None:
        del self.table[location]

    def _show(self, location: int) -> tuple[int, str]:
        if location not in self.table:
            said = "rxclass: Cannot get RX class rule: Invalid argument\n"
            return 1, f"{said}Cannot get RX classification rule\n"
        rule = self.table[location]
        where = f"VF {rule.vf} " if rule.vf != PF else ""
        action = f"\tAction: Direct to {where}queue {rule.queue}\n"
        return 0, f"Filter: {location}\n\tRule Type: UDP over IPv4\n{action}\n"

    # --- the driver ---

    def stays(self, refusal: str) -> bool:
        """Whether a filter gets into the table."""
        return not refusal

    def refusal(self, rule: Parsed) -> str:
        """Why the driver does not take it; empty: it does."""
        if not self.ntuple:
            return UNSUPPORTED
        if self.beyond(rule.location):
            return INVALID
        if not self.has_queue(*self.target(rule)):
            return INVALID
        return INVALID if self.is_wrong_match(rule) else ""

    def beyond(self, location: int) -> bool:
        """Whether the table is smaller (82599 with 64 KiB for filters; X710)."""
        return not 0 <= location < (2046 if self.kind == "ixgbe" else 8192)

    def has_queue(self, function: int, queue: int) -> bool:
        return self.has_function(function) and queue < self.queues(function)

    def has_function(self, function: int) -> bool:
        return function < self.vfs

    def queues(self, function: int) -> int:
        return self.pf_queues if function == PF else self.vf_queues

    def is_wrong_match(self, rule: Parsed) -> bool:
        if self.kind == "ixgbe":
            return self.is_partial_vlan(rule) or self.is_other_mask(rule)
        whole = (0, (1 << 32) - 1)
        if any(rule.fields.get(f, (0, 0))[1] not in whole for f in ("src-ip", "dst-ip")):
            return self.refuses_networks()
        if rule.flow == "ether":
            return self.kind != "i40e 1.x" or self.lacks_inner_mac(rule)
        return False

    def refuses_networks(self) -> bool:
        return True

    def is_partial_vlan(self, rule: Parsed) -> bool:
        """FDIRM has a bit for the id, and one for the priority."""
        return rule.fields.get("vlan", (0, 0))[1] & 0xEFFF not in (0, 0xFFF, 0xE000, 0xEFFF)

    def is_other_mask(self, rule: Parsed) -> bool:
        """82599: one mask for all."""
        return any(masks(rule) != masks(other) for other in self.table.values())

    def lacks_inner_mac(self, rule: Parsed) -> bool:
        return rule.fields.get("src", (0, 0))[1] != (1 << 48) - 1

    # --- the NIC ---

    def target(self, rule: Parsed) -> tuple[int, int]:
        """Function and queue."""
        if self.kind != "i40e 1.x":
            return rule.vf, rule.queue
        function = rule.fields.get("user-def", (0, 0))[0] & 0xFFFFFFFF
        return (function if function < self.vfs else PF), rule.queue

    def direct(self, frame: bytes) -> tuple[int, int] | None:
        """Where a filter sends a frame; None: no filter has it."""
        outer = fields_of(frame)
        for rule in self.table.values():
            if self.matches(rule, frame, outer):
                return self.target(rule)
        return None

    def matches(self, rule: Parsed, frame: bytes, outer: Mapping[str, int]) -> bool:
        if rule.flow == "ether":
            return self.is_of_tunnel(rule, frame, outer)
        if not self.has_protocol(rule, outer) or "src-ip" not in outer:
            return False
        return all(
            self.has(outer, name, *compared)
            for name, compared in rule.fields.items()
            if name != "user-def"
        )

    def has_protocol(self, rule: Parsed, fields: Mapping[str, int]) -> bool:
        wanted = _PROTOCOLS.get(rule.flow)
        return wanted is None or fields.get("l4proto") == wanted

    def has(self, fields: Mapping[str, int], name: str, value: int, mask: int) -> bool:
        return fields.get(name, 0) & mask == value & mask

    def is_of_tunnel(self, rule: Parsed, frame: bytes, outer: Mapping[str, int]) -> bool:
        """A cloud filter: `dst` is the outer address, `src` the inner one, both destinations."""
        if outer.get("l4proto") != 17 or outer.get("dst-port") not in self.tunnel_ports:
            return False
        header = outer["payload"]
        inner = fields_of(frame[header + 8 :])
        vni = int.from_bytes(frame[header + 4 : header + 7], "big")
        wanted = rule.fields["user-def"][0] >> 32
        return (
            self.has_inner_mac(rule, inner)
            and self.has_outer_mac(rule, outer)
            and self.has_vlan(rule, inner)
            and self.has_vni(wanted, vni)
        )

    def has_inner_mac(self, rule: Parsed, inner: Mapping[str, int]) -> bool:
        value, mask = rule.fields["src"]
        return inner["dst"] & mask == value & mask

    def has_outer_mac(self, rule: Parsed, outer: Mapping[str, int]) -> bool:
        value, mask = rule.fields.get("dst", (0, 0))
        return outer["dst"] & mask == value & mask

    def has_vlan(self, rule: Parsed, inner: Mapping[str, int]) -> bool:
        return "vlan" not in rule.fields or inner.get("vlan") == rule.fields["vlan"][0]

    def has_vni(self, wanted: int, vni: int) -> bool:
        return wanted == 0xFFFFFFFF or wanted == vni


def masks(rule: Parsed) -> tuple[str, frozenset[tuple[str, int]]]:
    """What a filter compares, without the values."""
    return rule.flow, frozenset((name, mask) for name, (_, mask) in rule.fields.items() if mask)
