"""All faulty NICs and drivers, and those of the functions that both kinds have (guide, 5.2)."""

from __future__ import annotations

from typing import Any

from tests.emulated import vfd_mutants_i40e, vfd_mutants_ixgbe
from tests.emulated.dut import Dut
from tests.emulated.nic import Delivery, Function, mac_of, tagged
from tests.emulated.vfd_faults import MUTANTS, Break, always, fails, ignored, replaced, setting

__all__ = ["MUTANTS", "Break", "vfd_mutants_i40e", "vfd_mutants_ixgbe"]

# --- TX loopback --------------------------------------------------------------------------


@fails("TX loopback on: VF 1 receives what VF 0 sends it")
def looped_frames_are_lost(dut: Dut) -> None:
    def switch(plain: Any, sender: int, frame: bytes) -> list[Delivery]:
        local = any(frame[:6] == function.mac for function in dut.nic.functions)
        return [] if local and dut.nic.loopback else plain(sender, frame)

    replaced(dut.nic, "switch", switch)


@fails("TX loopback on: none of it is on the wire")
def looped_frames_leak(dut: Dut) -> None:
    always(dut.nic, "leaks", True)


@fails("TX loopback off: VF 1 receives nothing of VF 0")
def loopback_stays_on(dut: Dut) -> None:
    ignored(dut, "set_loopback", lambda on: not on)


@fails("TX loopback off: all of it is on the wire")
def what_is_not_looped_is_lost(dut: Dut) -> None:
    def switch(plain: Any, sender: int, frame: bytes) -> list[Delivery]:
        local = any(frame[:6] == function.mac for function in dut.nic.functions)
        return [] if local and not dut.nic.loopback else plain(sender, frame)

    replaced(dut.nic, "switch", switch)


# --- VF MAC address -----------------------------------------------------------------------


@fails("VF MAC address: the VF's driver has the new one")
def the_vf_is_not_told_its_address(dut: Dut) -> None:
    replaced(dut, "told_mac", lambda plain, number: mac_of(number))


@fails("VF MAC address: frames to the new one arrive")
def the_filter_keeps_the_first_address(dut: Dut) -> None:
    replaced(dut, "filtered_mac", lambda plain, number: mac_of(number))


@fails("VF MAC address: frames to the old one do not")
def the_filter_keeps_the_first_address_too(dut: Dut) -> None:
    def admits(plain: Any, number: int, address: bytes) -> bool:
        return bool(plain(number, address)) or address == mac_of(number)

    replaced(dut.nic, "admits_unicast", admits)


@fails("VF MAC address restored: frames to it arrive")
def the_filter_takes_one_change_only(dut: Dut) -> None:
    changed: dict[int, bytes] = {}

    def filtered(plain: Any, number: int) -> bytes:
        mac: bytes = plain(number)
        if mac != mac_of(number):
            changed.setdefault(number, mac)
        return changed.get(number, mac)

    replaced(dut, "filtered_mac", filtered)


@fails("VF MAC address restored: frames to the other do not")
def the_filter_forgets_no_address(dut: Dut) -> None:
    ever: set[bytes] = set()

    def filtered(plain: Any, number: int) -> bytes:
        mac: bytes = plain(number)
        if mac != mac_of(number):
            ever.add(mac)
        return mac

    replaced(dut, "filtered_mac", filtered)
    replaced(
        dut.nic,
        "admits_unicast",
        lambda plain, number, address: plain(number, address) or (number == 0 and address in ever),
    )


# --- anti-spoofing ------------------------------------------------------------------------


@fails("MAC anti-spoofing on: frames by its own address pass")
def every_address_is_foreign(dut: Dut) -> None:
    def foreign(plain: Any, number: int, source: bytes) -> bool:
        function = dut.nic.functions[number]
        return function.check_mac and not function.vlans

    replaced(dut.nic, "is_foreign_address", foreign)


@fails("MAC anti-spoofing on: by another address none")
def no_address_is_foreign(dut: Dut) -> None:
    always(dut.nic, "is_foreign_address", False)


@fails("MAC anti-spoofing on: VF 0 received them")
def spoofed_frames_are_not_counted_when_received(dut: Dut) -> None:
    def count(plain: Any, function: Function, frame: bytes) -> None:
        if not (function.check_mac and dut.programs[0].mode == "io"):
            plain(function, frame)

    replaced(dut.nic, "count_received", count)


@fails("MAC anti-spoofing off: those pass, too")
def mac_antispoofing_stays_on(dut: Dut) -> None:
    ignored(dut, "set_field", setting("check_mac", False))


@fails("VLAN anti-spoofing on: its own VLAN passes")
def every_vlan_is_foreign(dut: Dut) -> None:
    replaced(
        dut.nic, "is_foreign_vlan", lambda plain, number, _: dut.nic.functions[number].check_vlan
    )


@fails("VLAN anti-spoofing on: of another none")
def no_vlan_is_foreign(dut: Dut) -> None:
    always(dut.nic, "is_foreign_vlan", False)


@fails("VLAN anti-spoofing off: that passes")
def vlan_antispoofing_stays_on(dut: Dut) -> None:
    ignored(dut, "set_field", setting("check_vlan", False))


# --- VLANs --------------------------------------------------------------------------------


@fails("VLAN insertion 100: frames have that tag")
def nothing_is_inserted(dut: Dut) -> None:
    replaced(dut.nic, "inserted", lambda plain, number, frame: frame)


@fails("VLAN insertion 100: frames have that tag")
def the_wrong_tag_is_inserted(dut: Dut) -> None:
    def inserted(plain: Any, number: int, frame: bytes) -> bytes:
        vlan = dut.nic.functions[number].insert
        return tagged(frame, vlan + 1) if vlan else frame

    replaced(dut.nic, "inserted", inserted)


@fails("VLAN insertion 200: frames have that tag")
def the_first_tag_stays(dut: Dut) -> None:
    def insertion(plain: Any, function: Function, vlan: int) -> None:
        plain(function, function.insert if function.insert and vlan else vlan)

    replaced(dut, "set_insertion", insertion)


@fails("VLAN insertion 0: frames have no tag")
def insertion_does_not_end(dut: Dut) -> None:
    ignored(dut, "set_insertion", lambda function, vlan: vlan == 0)


@fails("VLAN stripping on: the tag is gone")
def the_strip_strips_nothing(dut: Dut) -> None:
    replaced(dut.nic, "stripped", lambda plain, number, frame: frame)


@fails("VLAN stripping off: the tag is there")
def stripping_does_not_end(dut: Dut) -> None:
    ignored(dut, "set_field", setting("strip", False))


@fails("VLAN filtering: an added VLAN is received")
def there_is_room_for_one_vlan(dut: Dut) -> None:
    ignored(dut, "filter_vlan", lambda function, vlan, add: add and bool(function.vlans - {vlan}))


@fails("VLAN filtering: another added one, too")
def a_vlan_takes_the_place_of_another(dut: Dut) -> None:
    def change(plain: Any, function: Function, vlan: int, *, add: bool) -> None:
        if add:
            function.vlans.clear()
        plain(function, vlan, add=add)

    replaced(dut, "filter_vlan", change)


@fails("VLAN filtering: one that was not added is not")
def the_filter_filters_nothing(dut: Dut) -> None:
    replaced(dut.nic, "admits_vlan", lambda plain, n, vlan: vlan is not None or plain(n, vlan))


@fails("VLAN filtering: a removed VLAN is not received")
def a_filter_is_not_removed(dut: Dut) -> None:
    ignored(dut, "filter_vlan", lambda function, vlan, add: not add)


@fails("VLAN filtering: the one that is left still is")
def removing_one_removes_all(dut: Dut) -> None:
    def change(plain: Any, function: Function, vlan: int, *, add: bool) -> None:
        plain(function, vlan, add=add)
        if not add:
            function.vlans = {4095}  # the filter is still on

    replaced(dut, "filter_vlan", change)
