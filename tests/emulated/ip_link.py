"""`ip link` and `bridge link` on a PF that its kernel's driver has, behind a host's door.

Strict: what iproute2 6.1 and an igb of Linux 6.1 say was captured from them; what an i40e has in
addition is from its source (i40e_main.c, `ndo_set_vf_link_state`, `ndo_bridge_setlink`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.host import Completed
from tests.emulated.nic import Link
from tests.emulated.vf_kernel import KernelDut

PF_NAME = "ens1f0"
UNSUPPORTED = "RTNETLINK answers: Operation not supported\n"
INVALID = "RTNETLINK answers: Invalid argument\n"
_WRONG = 255
_ANSWERED = 2
_ON = {"on": True, "off": False}
_STATES: dict[str, Link] = {"auto": "auto", "enable": "enable", "disable": "disable"}


class Refused(Exception):
    """Status and words."""


def _wrong(words: str) -> Refused:
    return Refused(_WRONG, f"Error: {words}\n")


class IpLink:
    """The two programs; part of `hosts.host.Host`."""

    name = "emulated"

    def __init__(self, dut: KernelDut) -> None:
        self.dut = dut

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | bytes = "",
        timeout_s: float = 30.0,
        check: bool = True,
        why: str = "",
    ) -> Completed:
        del stdin, why
        self.dut.said.append(" ".join(argv))
        fault = self.dut.fault(len(self.dut.said))
        if fault == "silent":
            raise HostError(f"{self.name}: `{' '.join(argv)}` took longer than {timeout_s:g} s")
        if fault:
            status, output = (-9, "") if fault == "dies" else (2, "RTNETLINK answers: Busy\n")
        else:
            status, output = self.answer(argv)
        self.dut.settle()
        if check and status != 0:
            raise HostError(f"{self.name}: `{' '.join(argv)}` failed ({status}): {output}")
        return Completed(tuple(argv), status, output)

    ask = run

    def answer(self, argv: Sequence[str]) -> tuple[int, str]:
        """What it says, and its status."""
        try:
            return 0, self._carry_out(list(argv))
        except Refused as refused:
            status, words = refused.args
            return status, words

    def _carry_out(self, argv: list[str]) -> str:
        if argv[:5] == ["ip", "-j", "-s", "link", "show"]:
            return self._shown()
        program, *words = argv
        if program not in ("ip", "bridge") or words[:3] != ["link", "set", "dev"]:
            raise AssertionError(f"nobody knows what {argv} does")
        if words[3] != PF_NAME:
            raise Refused(1, f'Cannot find device "{words[3]}"\n')
        (self._bridge if program == "bridge" else self._ip)(words[4:])
        return ""

    def _bridge(self, words: list[str]) -> None:
        if len(words) != 2 or words[0] != "hwmode" or words[1] not in ("veb", "vepa"):
            raise _wrong("Mode argument must be vepa or veb")
        if self.dut.driver == "igb":
            raise Refused(_WRONG, UNSUPPORTED)
        self.dut.set_loopback(words[1] == "veb")

    def _ip(self, words: list[str]) -> None:
        if words in (["up"], ["down"]):
            self.dut.set_port(words == ["up"])
            return
        if len(words) < 2 or words[0] != "vf" or not words[1].isdecimal():
            raise _wrong(f'either "dev" is duplicate, or "{words[0]}" is a garbage.')
        number, rest = int(words[1]), words[2:]
        if not rest or rest[0] not in _SETTINGS:
            raise Refused(_WRONG, 'Command line is not complete. Try option "help"\n')
        setting, form = rest[0], _SETTINGS[rest[0]]
        if not (found := re.fullmatch(form, " ".join(rest[1:]))):
            raise _wrong(f'argument "{" ".join(rest[1:])}" is wrong: Invalid "{setting}" value')
        if number >= len(self.dut.nic.functions):
            raise Refused(_ANSWERED, INVALID)
        getattr(self, f"_{setting}")(number, *found.groups())

    def _mac(self, number: int, text: str) -> None:
        mac = bytes.fromhex(text.replace(":", ""))
        if mac[0] & 1:
            raise Refused(_ANSWERED, INVALID)
        self.dut.set_mac(number, mac)

    def _vlan(self, number: int, vlan: str, priority: str | None) -> None:
        if int(vlan) > 4095:
            raise _wrong(f'argument "{vlan}" is wrong: Invalid "vlan" value')
        if int(priority or 0) > 7:
            raise Refused(_ANSWERED, INVALID)
        self.dut.set_port_vlan(number, int(vlan), int(priority or 0))

    def _spoofchk(self, number: int, on: str) -> None:
        self.dut.set_spoof_check(number, _ON[on])

    def _trust(self, number: int, on: str) -> None:
        self.dut.set_trust(number, _ON[on])

    def _state(self, number: int, state: str) -> None:
        if self.dut.driver == "igb":
            raise Refused(_ANSWERED, UNSUPPORTED)
        self.dut.set_link_state(number, _STATES[state])

    def _max_tx_rate(self, number: int, mbps: str) -> None:
        if float(mbps) > self.dut.nic.line_rate_mbps:
            raise Refused(_ANSWERED, INVALID)
        self.dut.set_max_rate(number, float(mbps))

    def _shown(self) -> str:
        functions = []
        for number in range(len(self.dut.nic.functions)):
            counters = self.dut.statistics_of(number)
            functions.append(
                {
                    "vf": number,
                    "stats": {
                        "rx": {"bytes": counters.rx_bytes, "packets": counters.rx_packets},
                        "tx": {"tx_bytes": counters.tx_bytes, "tx_packets": counters.tx_packets},
                    },
                }
            )
        return json.dumps([{"ifname": PF_NAME, "vfinfo_list": functions}]) + "\n"


_SETTINGS = {
    "mac": r"([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5})",
    "vlan": r"(\d+)(?: qos (\d+))?",
    "spoofchk": "(on|off)",
    "trust": "(on|off)",
    "state": "(auto|enable|disable)",
    "max_tx_rate": r"(\d+)",
}
"""By setting: what follows it."""
