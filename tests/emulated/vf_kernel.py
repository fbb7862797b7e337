"""A PF with its kernel's driver, igb or i40e: what it does to its VFs, and grants to theirs.

After drivers/net/ethernet/intel/igb/igb_main.c and i40e/i40e_virtchnl_pf.c of Linux 6.1. What
`ip link` sets survives the VF's reset; what a VF's own driver asks for does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tests.emulated import vf_kernel_language
from tests.emulated.dut import Dut
from tests.emulated.nic import PF, Counters, Function, Link

if TYPE_CHECKING:
    from tests.emulated.testpmd import Testpmd

Driver = Literal["igb", "i40e"]


@dataclass(slots=True)
class Settings:
    """What `ip link` has set of a VF."""

    trusted: bool = False
    has_mac: bool = False
    vlan: tuple[int, int] | None = None
    link: Link = "auto"
    check_mac: bool = True
    """And VLANs."""
    mbps: float = 0.0


class KernelDut(Dut):
    """The PF is the kernel's; a mutant overrides one method, of this or of `nic`."""

    def __init__(self, driver: Driver, *, functions: int = 2) -> None:
        super().__init__("82576" if driver == "igb" else "X710", functions=functions)
        self.driver = driver
        self.settings = [Settings() for _ in range(functions)]
        self.own_cleared = [Counters() for _ in range(functions)]

    # --- what `ip link` sets ---

    def set_mac(self, number: int, mac: bytes) -> None:
        """At once; the VF's driver learns it when it starts again."""
        super().set_mac(number, mac)
        self.settings[number].has_mac = any(mac)
        self.nic.functions[number].mac = self.filtered_mac(number)

    def set_trust(self, number: int, on: bool) -> None:
        self.settings[number].trusted = on

    def set_spoof_check(self, number: int, on: bool) -> None:
        self.settings[number].check_mac = on
        self._apply(number)

    def set_port_vlan(self, number: int, vlan: int, priority: int) -> None:
        self.settings[number].vlan = (vlan, priority) if vlan else None
        function = self.nic.functions[number]
        function.vlans = {vlan} if vlan else set()
        self._apply(number)

    def set_link_state(self, number: int, state: Link) -> None:
        self.settings[number].link = state
        self._apply(number)
        self.tell_link(number)

    def tell_link(self, number: int) -> None:
        self.nic.functions[number].link_told_up = self.nic.has_link(number)

    def set_max_rate(self, number: int, mbps: float) -> None:
        self.settings[number].mbps = mbps
        self._apply(number)

    def set_port(self, up: bool) -> None:
        """An igb resets its VFs, which are idle until their drivers start again."""
        self.nic.set_link(up)
        if self.driver == "igb" and not up:
            for function in self.nic.functions:
                function.rx = function.tx = False

    def statistics_of(self, number: int) -> Counters:
        """As `ip -s link` tells them; igb counts none."""
        return Counters() if self.driver == "igb" else self.seen_by_pf(number).counters

    def _apply(self, number: int) -> None:
        function, kept = self.nic.functions[number], self.settings[number]
        function.port_vlan = kept.vlan
        function.strip = kept.vlan is not None
        function.untagged = kept.vlan is None
        function.link = kept.link
        function.check_mac = function.check_vlan = kept.check_mac
        function.max_mbps = kept.mbps

    # --- what a VF's own driver asks for ---

    def start_driver(self, number: int, ring_frames: int) -> None:
        super().start_driver(number, ring_frames)
        function = self.nic.functions[number]
        function.promiscuous = False
        if vlan := self.settings[number].vlan:
            function.vlans = {vlan[0]}
        self._apply(number)
        function.link_told_up = self.nic.has_link(number)

    def ask_address(self, number: int, mac: bytes) -> bool:
        """Whether its driver has it now: an igb's sends by one that it may not receive by, too."""
        granted = self.grants_address(number)
        if granted:
            self._macs[number] = mac
            self.nic.functions[number].mac = mac
        if granted or self.driver == "igb":
            self._known[number] = mac
        return granted or self.driver == "igb"

    def grants_address(self, number: int) -> bool:
        return self.settings[number].trusted or not self.settings[number].has_mac

    def ask_vlan(self, number: int, vlan: int, *, add: bool) -> None:
        """An igb strips the tags of VFs that have a VLAN."""
        function = self.nic.functions[number]
        if self.settings[number].vlan is None:
            self.filter_vlan(function, vlan, add=add)
            function.strip = self.driver == "igb" and bool(function.vlans)

    def ask_group(self, number: int, mac: bytes, *, join: bool) -> None:
        groups = self.nic.functions[number].groups
        (groups.add if join else groups.discard)(mac)

    def ask_all_multicast(self, number: int, on: bool) -> None:
        granted = self.driver == "igb" or self.settings[number].trusted
        self.nic.functions[number].all_multicast = on and granted

    def ask_promiscuous(self, number: int, on: bool) -> None:
        granted = self.driver != "igb" and self.settings[number].trusted
        self.nic.functions[number].promiscuous = on and granted

    # --- what its driver counts ---

    def seen_by_vf(self, number: int) -> Function:
        """Since its driver's statistics were cleared."""
        now, then = self.nic.functions[number].counters, self.own_cleared[number]
        names = ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")
        grown = {name: getattr(now, name) - getattr(then, name) for name in names}
        return Function(b"", counters=Counters(**grown))

    def extended_by_vf(self, number: int) -> dict[str, int]:
        counters = self.seen_by_vf(number).counters
        return {
            "rx_good_packets": counters.rx_packets,
            "tx_good_packets": counters.tx_packets,
            "rx_good_bytes": counters.rx_bytes,
            "tx_good_bytes": counters.tx_bytes,
        }

    def clear_seen_by_vf(self, number: int) -> None:
        now = self.nic.functions[number].counters
        self.own_cleared[number] = Counters(
            rx_packets=now.rx_packets,
            rx_bytes=now.rx_bytes,
            tx_packets=now.tx_packets,
            tx_bytes=now.tx_bytes,
        )

    def answer_of_vf(self, testpmd: Testpmd, line: str) -> str | None:
        assert testpmd.number != PF
        return vf_kernel_language.answer(self, testpmd, line)
