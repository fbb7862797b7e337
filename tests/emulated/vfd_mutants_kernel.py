"""Faulty NICs and kernel drivers for what `ip link` sets in `suites/vfd`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.emulated import vfd_mutants as shared
from tests.emulated import vfd_mutants_own
from tests.emulated.nic import Function, priority_of
from tests.emulated.vf_kernel import KernelDut
from tests.emulated.vfd_faults import (
    KERNEL_MUTANTS,
    KernelBreak,
    always,
    fails_by_kernel,
    ignored,
    noted,
    replaced,
)
from tests.emulated.vfd_mutants_i40e import is_not_told

__all__ = ["KERNEL_MUTANTS", "KernelBreak", "vfd_mutants_own"]

# --- as with a testpmd on the PF ----------------------------------------------------------

for _name, _break in (
    ("VF MAC address: the VF's driver has the new one", shared.the_vf_is_not_told_its_address),
    ("VF MAC address: frames to the new one arrive", shared.the_filter_keeps_the_first_address),
    (
        "VF MAC address: frames to the old one do not",
        shared.the_filter_keeps_the_first_address_too,
    ),
    ("VF MAC address restored: frames to it arrive", shared.the_filter_takes_one_change_only),
    ("VF MAC address restored: frames to the other do not", shared.the_filter_forgets_no_address),
    ("VLAN filtering: an added VLAN is received", shared.there_is_room_for_one_vlan),
    ("VLAN filtering: another added one, too", shared.a_vlan_takes_the_place_of_another),
    ("VLAN filtering: a removed VLAN is not received", shared.a_filter_is_not_removed),
    ("VLAN filtering: the one that is left still is", shared.removing_one_removes_all),
):
    fails_by_kernel(_name)(_break)


@fails_by_kernel("VLAN filtering: one that was not added is not")
def the_filter_filters_nothing(dut: KernelDut) -> None:
    replaced(
        dut.nic,
        "admits_vlan",
        lambda plain, n, vlan: (
            plain(n, vlan) or (vlan is not None and dut.settings[n].vlan is None)
        ),
    )


# --- between functions --------------------------------------------------------------------


def _once_switched(name: str, broken: Callable[..., Any]) -> KernelBreak:
    """A decision of the NIC goes wrong when a mode of switching was set."""

    def break_(dut: KernelDut) -> None:
        told = noted(dut, "set_loopback")
        replaced(
            dut.nic,
            name,
            lambda plain, *args: broken(dut, plain, *args) if told else plain(*args),
        )

    return break_


def _until_switched(name: str, broken: Callable[..., Any]) -> KernelBreak:
    def break_(dut: KernelDut) -> None:
        told = noted(dut, "set_loopback")
        replaced(
            dut.nic,
            name,
            lambda plain, *args: plain(*args) if told else broken(dut, plain, *args),
        )

    return break_


def _is_local(dut: KernelDut, frame: bytes) -> bool:
    return any(frame[:6] == function.mac for function in dut.nic.functions)


def _loses_local_frames(dut: KernelDut, plain: Any, sender: int, frame: bytes) -> Any:
    return [] if _is_local(dut, frame) and dut.nic.loopback else plain(sender, frame)


def _loses_frames_that_are_not_looped(dut: KernelDut, plain: Any, sender: int, frame: bytes) -> Any:
    return [] if _is_local(dut, frame) and not dut.nic.loopback else plain(sender, frame)


def _leaks(dut: KernelDut, plain: Any) -> bool:
    return True


fails_by_kernel("TX loopback on: VF 1 receives what VF 0 sends it", "i40e")(
    _once_switched("switch", _loses_local_frames)
)
fails_by_kernel("TX loopback on: none of it is on the wire", "i40e")(
    _once_switched("leaks", _leaks)
)
fails_by_kernel("TX loopback off: VF 1 receives nothing of VF 0", "i40e")(shared.loopback_stays_on)
fails_by_kernel("TX loopback off: all of it is on the wire", "i40e")(
    _once_switched("switch", _loses_frames_that_are_not_looped)
)
fails_by_kernel("between VFs: VF 1 receives what VF 0 sends it")(
    _until_switched("switch", _loses_local_frames)
)
fails_by_kernel("between VFs: none of it is on the wire")(_until_switched("leaks", _leaks))


# --- trust, spoofing ----------------------------------------------------------------------


@fails_by_kernel("trust off: no frames to an address of its choice")
def everybody_is_trusted(dut: KernelDut) -> None:
    told = noted(dut, "set_trust")
    replaced(dut, "grants_address", lambda plain, number: bool(told) or plain(number))


@fails_by_kernel("trust on: frames to an address of its choice")
def nobody_is_trusted(dut: KernelDut) -> None:
    always(dut, "grants_address", False)


@fails_by_kernel("MAC anti-spoofing on: frames by its own address pass")
def every_address_is_foreign(dut: KernelDut) -> None:
    told = noted(dut, "set_spoof_check")

    def foreign(plain: Any, number: int, source: bytes) -> bool:
        function = dut.nic.functions[number]
        return function.check_mac and bool(told) and not function.vlans

    replaced(dut.nic, "is_foreign_address", foreign)


@fails_by_kernel("MAC anti-spoofing on: by another address none")
def no_address_is_foreign(dut: KernelDut) -> None:
    always(dut.nic, "is_foreign_address", False)


@fails_by_kernel("MAC anti-spoofing on: VF 0 received them")
def spoofed_frames_are_not_counted_when_received(dut: KernelDut) -> None:
    def count(plain: Any, function: Function, frame: bytes) -> None:
        if dut.programs[0].mode not in ("io", "mac"):
            plain(function, frame)

    replaced(dut.nic, "count_received", count)


@fails_by_kernel("MAC anti-spoofing off: those pass, too")
def the_check_of_addresses_stays_on(dut: KernelDut) -> None:
    replaced(
        dut.nic,
        "is_foreign_address",
        lambda plain, number, source: source != dut.nic.functions[number].mac,
    )


@fails_by_kernel("VLAN anti-spoofing on: its own VLAN passes")
def every_vlan_is_foreign(dut: KernelDut) -> None:
    replaced(
        dut.nic,
        "is_foreign_vlan",
        lambda plain, number, vlan: vlan is not None and dut.nic.functions[number].check_vlan,
    )


@fails_by_kernel("VLAN anti-spoofing on: of another none")
def no_vlan_is_foreign(dut: KernelDut) -> None:
    always(dut.nic, "is_foreign_vlan", False)


@fails_by_kernel("VLAN anti-spoofing off: that passes")
def the_check_of_vlans_stays_on(dut: KernelDut) -> None:
    def foreign(plain: Any, number: int, vlan: int | None) -> bool:
        return vlan is not None and vlan not in dut.nic.functions[number].vlans

    replaced(dut.nic, "is_foreign_vlan", foreign)


# --- port VLAN ----------------------------------------------------------------------------


@fails_by_kernel("port VLAN 100: frames have its tag")
def nothing_is_inserted(dut: KernelDut) -> None:
    replaced(dut.nic, "inserted", lambda plain, number, frame: frame)


@fails_by_kernel("port VLAN 100: frames have its tag")
def a_tag_without_its_priority_is_inserted(dut: KernelDut) -> None:
    replaced(
        dut,
        "set_port_vlan",
        lambda plain, number, vlan, priority: plain(number, vlan, priority // 2),
    )


@fails_by_kernel("port VLAN 200: frames have its tag")
def the_first_tag_stays(dut: KernelDut) -> None:
    first: list[tuple[int, int]] = []

    def inserted(plain: Any, number: int, frame: bytes) -> bytes:
        function = dut.nic.functions[number]
        if function.port_vlan:
            first.append(function.port_vlan)
            function.port_vlan = first[0]
        done: bytes = plain(number, frame)
        return done

    replaced(dut.nic, "inserted", inserted)


@fails_by_kernel("port VLAN 0: frames have no tag")
def insertion_does_not_end(dut: KernelDut) -> None:
    def set_port_vlan(plain: Any, number: int, vlan: int, priority: int) -> None:
        before = dut.nic.functions[number].port_vlan
        plain(number, vlan, priority)
        if not vlan:
            dut.nic.functions[number].port_vlan = before

    replaced(dut, "set_port_vlan", set_port_vlan)


@fails_by_kernel("port VLAN 100: VF 0 is given frames without their tag")
def the_strip_strips_nothing(dut: KernelDut) -> None:
    replaced(dut.nic, "stripped", lambda plain, number, frame: frame)


@fails_by_kernel("port VLAN 100: it is given them all")
def frames_of_another_priority_are_lost(dut: KernelDut) -> None:
    replaced(dut.nic, "admits", lambda plain, n, frame: priority_of(frame) != 5 and plain(n, frame))


def _has_plain_vlan(dut: KernelDut, number: int) -> bool:
    """Without a priority: that of the check of the filter."""
    vlan = dut.settings[number].vlan
    return vlan is not None and vlan[1] == 0


@fails_by_kernel("port VLAN 100: VF 0 receives frames of it")
def a_vlan_without_a_priority_receives_nothing(dut: KernelDut) -> None:
    replaced(
        dut.nic,
        "admits_vlan",
        lambda plain, n, vlan: not _has_plain_vlan(dut, n) and plain(n, vlan),
    )


@fails_by_kernel("port VLAN 100: none of another")
def a_port_vlan_receives_all_vlans(dut: KernelDut) -> None:
    replaced(
        dut.nic,
        "admits_vlan",
        lambda plain, n, vlan: plain(n, vlan) or (vlan is not None and _has_plain_vlan(dut, n)),
    )


@fails_by_kernel("port VLAN 100: none without a tag")
def a_port_vlan_receives_untagged_frames(dut: KernelDut) -> None:
    always(dut.nic, "admits_untagged", True)


@fails_by_kernel("port VLAN 0: those without a tag")
def untagged_frames_stay_out(dut: KernelDut) -> None:
    def set_port_vlan(plain: Any, number: int, vlan: int, priority: int) -> None:
        was_plain = _has_plain_vlan(dut, number)
        plain(number, vlan, priority)
        if not vlan and was_plain:
            dut.nic.functions[number].untagged = False

    replaced(dut, "set_port_vlan", set_port_vlan)


# --- the link -----------------------------------------------------------------------------


def _tells_nothing_of(state: str) -> KernelBreak:
    def break_(dut: KernelDut) -> None:
        ignored(dut, "tell_link", lambda number: dut.settings[number].link == state)

    return break_


fails_by_kernel("VF link state disable: its driver says so", "i40e")(_tells_nothing_of("disable"))
fails_by_kernel("VF link state enable: its driver says so", "i40e")(_tells_nothing_of("enable"))


@fails_by_kernel("VF link state disable: nothing passes", "i40e")
def a_disabled_link_is_only_told(dut: KernelDut) -> None:
    def has_link(plain: Any, number: int) -> bool:
        return dut.nic.functions[number].link == "disable" or bool(plain(number))

    replaced(dut.nic, "has_link", has_link)

    def tell(plain: Any, number: int) -> None:
        function = dut.nic.functions[number]
        function.link_told_up = function.link != "disable"

    replaced(dut, "tell_link", tell)


@fails_by_kernel("VF link state enable: frames pass", "i40e")
def an_enabled_link_is_only_told(dut: KernelDut) -> None:
    replaced(
        dut.nic,
        "receives",
        lambda plain, number: dut.nic.functions[number].link != "enable" and plain(number),
    )


@fails_by_kernel("port down: nothing passes")
def a_port_that_is_down_is_only_told(dut: KernelDut) -> None:
    replaced(dut, "set_port", lambda plain, up: plain(up) if up else dut.nic.notify(up))


@fails_by_kernel("port up: frames pass")
def a_port_that_is_up_is_only_told(dut: KernelDut) -> None:
    replaced(dut, "set_port", lambda plain, up: dut.nic.notify(up) if up else plain(up))


for _vf in (0, 1):
    fails_by_kernel(f"link down: VF {_vf} is told")(is_not_told(_vf, up=False))
    fails_by_kernel(f"link up: VF {_vf} is told")(is_not_told(_vf, up=True))
