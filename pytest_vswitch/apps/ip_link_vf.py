"""The functions of a virtual function that the kernel's PF driver sets: `ip link set PF vf N ...`.

Words are those of ip-link(8) and bridge(8). Answers were captured from iproute2 6.1 on an igb.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, Literal

from pytest_vswitch.apps.vf_control import NotSupported, Statistics
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.host import Host

LinkState = Literal["auto", "enable", "disable"]
"""As the wire's; always up, so that VFs reach each other without it; always down."""
Switching = Literal["veb", "vepa"]
"""Frames between functions stay inside; or all go to the switch at the other end of the wire."""

# --- commands: what follows the interface -------------------------------------------------


def mac_address(vf: int, mac: str) -> str:
    """Which the VF's driver may not change by itself, unless it is trusted."""
    return f"vf {vf} mac {mac}"


def vlan(vf: int, number: int, priority: int = 0) -> str:
    """The port's VLAN: inserted, stripped, and the only one that is received; 0 ends it."""
    return f"vf {vf} vlan {number}" + (f" qos {priority}" if priority else "")


def spoof_check(vf: int, on: bool) -> str:
    return f"vf {vf} spoofchk {_switch(on)}"


def trust(vf: int, on: bool) -> str:
    """Whether its driver may choose its address, and be promiscuous."""
    return f"vf {vf} trust {_switch(on)}"


def link_state(vf: int, state: LinkState) -> str:
    return f"vf {vf} state {state}"


def rate_limit(vf: int, mbps: int) -> str:
    """Of all that it sends [Mbit/s]; 0 ends it."""
    return f"vf {vf} max_tx_rate {mbps}"


def port(up: bool) -> str:
    """The PF's own interface, of which the VFs are told."""
    return "up" if up else "down"


def switching(mode: Switching) -> str:
    return f"hwmode {mode}"


def _switch(on: bool) -> str:
    return "on" if on else "off"


# --- answers ------------------------------------------------------------------------------

_NOT_SUPPORTED: Final = ("Operation not supported", "Protocol not supported")


def check_answer(line: str, status: int, answer: str) -> None:
    """Raises NotSupported for what the driver does not have, DutError for any other failure."""
    if status == 0:
        return
    words = "; ".join(filter(None, map(str.strip, answer.splitlines()))) or f"status {status}"
    if any(said in answer for said in _NOT_SUPPORTED):
        raise NotSupported(f"`{line}` is not supported here: {words}")
    raise DutError(f"the kernel did not carry out `{line}`: {words}")


def parse_statistics(output: str, vf: int) -> Statistics:
    """From `ip -j -s link show dev PF`. Raises DutError for what is not of that form."""
    try:
        (link,) = json.loads(output)
        (told,) = (one["stats"] for one in link["vfinfo_list"] if one["vf"] == vf)
        return Statistics(
            rx_packets=told["rx"]["packets"],
            rx_bytes=told["rx"]["bytes"],
            tx_packets=told["tx"]["tx_packets"],
            tx_bytes=told["tx"]["tx_bytes"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DutError(
            f"`ip -j -s link show` told nothing of VF {vf} ({error}): {output}"
        ) from None


# --- running ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KernelControl:
    """A PF whose driver is the kernel's; see `vf_control.Control`."""

    host: Host
    interface: str

    def argv(self, command: str) -> list[str]:
        """The program that takes it."""
        words = command.split(" ")
        program = "bridge" if words[0] == "hwmode" else "ip"
        return [program, "link", "set", "dev", self.interface, *words]

    def set(self, command: str, *, why: str = "") -> None:
        """Raises NotSupported, or DutError when the kernel does not carry it out."""
        argv = self.argv(command)
        done = self.host.run(argv, check=False, why=why)
        check_answer(" ".join(argv), done.status, done.output)

    def vf_statistics(self, vf: int) -> Statistics:
        """As the PF sees them; all 0 with a driver that does not count them. Raises DutError."""
        show = ["ip", "-j", "-s", "link", "show", "dev", self.interface]
        return parse_statistics(self.host.ask(show).output, vf)
