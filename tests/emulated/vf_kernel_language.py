"""testpmd's words on a VF that its own driver passes on to the kernel's driver of the PF.

Captured from testpmd 22.11 on an 82576's VFs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.emulated import language

if TYPE_CHECKING:
    from tests.emulated.testpmd import Testpmd
    from tests.emulated.vf_kernel import KernelDut

_MAC = r"([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5})"
_STOPPED = "Please stop all ports first\n"


def answer(dut: KernelDut, testpmd: Testpmd, line: str) -> str | None:
    """None for what is as on any port."""
    for form, run in _COMMANDS:
        if found := re.fullmatch(form, line):
            return run(dut, testpmd, found)
    return None


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _address(dut: KernelDut, testpmd: Testpmd, found: re.Match[str]) -> str:
    if int(found[1][:2], 16) & 1:
        return "mac_addr_cmd error: (Invalid argument)\n"
    if not dut.ask_address(testpmd.number, _mac(found[1])):
        return "mac_addr_cmd error: (Operation not permitted)\n"
    return ""


def _offload(dut: KernelDut, testpmd: Testpmd, found: re.Match[str]) -> str:
    if testpmd.started:
        return _STOPPED
    testpmd.filters_vlans = found[1] == "on"
    if not testpmd.filters_vlans:
        dut.nic.functions[testpmd.number].vlans.clear()
    return ""


def _vlan(dut: KernelDut, testpmd: Testpmd, found: re.Match[str]) -> str:
    if not testpmd.filters_vlans:
        on = int(found[1] == "add")
        return (
            "Port 0: VLAN-filtering disabled\n"
            f"rte_eth_dev_vlan_filter(port_pi=0, vlan_id={found[2]}, on={on}) failed diag=-38\n"
        )
    dut.ask_vlan(testpmd.number, int(found[2]), add=found[1] == "add")
    return ""


def _group(dut: KernelDut, testpmd: Testpmd, found: re.Match[str]) -> str:
    mac, join = _mac(found[2]), found[1] == "add"
    if not join and mac not in testpmd.groups:
        return "multicast address not filtered by port 0\n"
    (testpmd.groups.add if join else testpmd.groups.discard)(mac)
    dut.ask_group(testpmd.number, mac, join=join)
    return ""


def _promiscuous(dut: KernelDut, testpmd: Testpmd, found: re.Match[str]) -> str:
    dut.ask_promiscuous(testpmd.number, found[1] == "on")
    return ""


def _all_multicast(dut: KernelDut, testpmd: Testpmd, found: re.Match[str]) -> str:
    dut.ask_all_multicast(testpmd.number, found[1] == "on")
    return ""


def _statistics(dut: KernelDut, testpmd: Testpmd, found: re.Match[str]) -> str:
    return language.statistics_table(dut.seen_by_vf(testpmd.number))


def _extended(dut: KernelDut, testpmd: Testpmd, found: re.Match[str]) -> str:
    counts = dut.extended_by_vf(testpmd.number)
    lines = "".join(f"{name}: {count}\n" for name, count in counts.items())
    return f"###### NIC extended statistics for port 0 \n{lines}"


def _clear(dut: KernelDut, testpmd: Testpmd, found: re.Match[str]) -> str:
    dut.clear_seen_by_vf(testpmd.number)
    return "\n  NIC statistics for port 0 cleared\n"


_COMMANDS: tuple[tuple[str, Callable[[KernelDut, Testpmd, re.Match[str]], str]], ...] = (
    (rf"mac_addr set 0 {_MAC}", _address),
    (r"port config 0 rx_offload vlan_filter (on|off)", _offload),
    (r"rx_vlan (add|rm) (\d+) 0", _vlan),
    (rf"mcast_addr (add|remove) 0 {_MAC}", _group),
    (r"set promisc 0 (on|off)", _promiscuous),
    (r"set allmulti 0 (on|off)", _all_multicast),
    (r"show port stats (?:0|all)", _statistics),
    (r"show port xstats 0", _extended),
    (r"clear port stats 0", _clear),
)
