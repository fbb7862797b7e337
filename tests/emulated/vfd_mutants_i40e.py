"""Faulty NICs and drivers for the assertions of `suites/vfd` on the X710 (guide, 5.4)."""

from __future__ import annotations

from typing import Any

from tests.emulated.dut import Dut
from tests.emulated.nic import Function
from tests.emulated.vfd_faults import I40E, Break, always, fails, ignored, replaced, setting

# --- i40e: statistics ---------------------------------------------------------------------


def _noted(dut: Dut) -> set[int]:
    """The VFs whose statistics were cleared by now."""
    cleared: set[int] = set()

    def clear(plain: Any, number: int) -> None:
        cleared.add(number)
        plain(number)

    replaced(dut, "clear_seen_by_pf", clear)
    return cleared


def _counts_twice(name: str) -> Break:
    def break_(dut: Dut) -> None:
        def seen(plain: Any, number: int) -> Function:
            function: Function = plain(number)
            setattr(function.counters, name, 2 * getattr(function.counters, name))
            return function

        # What was cleared counts once: the reset has assertions of its own.
        cleared = _noted(dut)
        replaced(dut, "seen_by_pf", lambda plain, n: plain(n) if n in cleared else seen(plain, n))

    return break_


fails("VF statistics: RX frames", *I40E)(_counts_twice("rx_packets"))
fails("VF statistics: TX frames", *I40E)(_counts_twice("tx_packets"))
fails("VF statistics: RX bytes", *I40E)(_counts_twice("rx_bytes"))
fails("VF statistics: TX bytes", *I40E)(_counts_twice("tx_bytes"))


def _survives_the_reset(name: str) -> Break:
    def break_(dut: Dut) -> None:
        def clear(plain: Any, number: int) -> None:
            before = getattr(dut._cleared.get(number, Function(b"").counters), name)
            plain(number)
            setattr(dut._cleared[number], name, before)

        replaced(dut, "clear_seen_by_pf", clear)

    return break_


fails("VF statistics reset: RX frames", *I40E)(_survives_the_reset("rx_packets"))
fails("VF statistics reset: TX frames", *I40E)(_survives_the_reset("tx_packets"))


@fails("VF statistics reset: they count again", *I40E)
def a_reset_stops_counting(dut: Dut) -> None:
    cleared = _noted(dut)
    replaced(dut, "seen_by_pf", lambda plain, n: Function(b"") if n in cleared else plain(n))


# --- i40e: link ---------------------------------------------------------------------------


def is_not_told(number: int, up: bool) -> Break:
    def break_(dut: Dut) -> None:
        def notify(plain: Any, now: bool) -> None:
            before = dut.nic.functions[number].link_told_up
            plain(now)
            if now is up:
                dut.nic.functions[number].link_told_up = before

        replaced(dut.nic, "notify", notify)

    return break_


for _vf in (0, 1):
    fails(f"link down: VF {_vf} is told", *I40E)(is_not_told(_vf, up=False))
    fails(f"link up: VF {_vf} is told", *I40E)(is_not_told(_vf, up=True))


@fails("link up: frames pass", *I40E)
def the_link_only_seems_up(dut: Dut) -> None:
    replaced(dut.nic, "set_link", lambda plain, up: dut.nic.notify(up) if up else plain(up))


# --- i40e: broadcast, promiscuous ---------------------------------------------------------


def _accepting() -> None:
    for name, field in (
        ("broadcast", "broadcast"),
        ("multicast promiscuous", "all_multicast"),
        ("unicast promiscuous", "promiscuous"),
    ):

        def never(dut: Dut, field: str = field) -> None:
            replaced(
                dut,
                "set_field",
                lambda plain, function, what, on: plain(function, what, on and what != field),
            )

        def stays(dut: Dut, field: str = field) -> None:
            ignored(dut, "set_field", setting(field, False))

        def deafens(dut: Dut, field: str = field) -> None:
            def set_field(plain: Any, function: Function, what: str, on: bool) -> None:
                plain(function, what, on)
                function.rx = on or what != field

            replaced(dut, "set_field", set_field)

        fails(f"{name} on: VF 0 receives", *I40E)(never)
        fails(f"{name} off: VF 0 does not", *I40E)(stays)
        fails(f"{name} off: others still arrive", *I40E)(deafens)


_accepting()


# --- i40e: bandwidth ----------------------------------------------------------------------


def _without_classes(dut: Dut) -> bool:
    return dut.nic.traffic_classes == 1


@fails("VF max bandwidth: no more [Mbit/s]", *I40E)
def no_bandwidth_is_limited(dut: Dut) -> None:
    ignored(dut, "set_bandwidth", lambda function, mbps: _without_classes(dut))


@fails("VF max bandwidth: and no less [Mbit/s]", *I40E)
def bandwidth_is_halved(dut: Dut) -> None:
    replaced(
        dut,
        "set_bandwidth",
        lambda plain, function, mbps: plain(function, mbps / (1 + _without_classes(dut))),
    )


@fails("VF max bandwidth 0: all passes [Mbit/s]", *I40E)
def a_bandwidth_limit_does_not_end(dut: Dut) -> None:
    ignored(dut, "set_bandwidth", lambda function, mbps: not mbps)


@fails("TC bandwidth (20, 20, 20, 40): how far a class is off", *I40E)
def shares_are_ignored(dut: Dut) -> None:
    ignored(dut, "set_shares", lambda function, shares: True)


@fails("TC bandwidth (20, 20, 20, 40): how far a class is off", *I40E)
def shares_are_given_in_reverse(dut: Dut) -> None:
    replaced(dut, "set_shares", lambda plain, function, shares: plain(function, shares[::-1]))


@fails("TC bandwidth (25, 25, 25, 25): how far a class is off", *I40E)
def the_first_shares_stay(dut: Dut) -> None:
    ignored(dut, "set_shares", lambda function, shares: bool(function.tc_shares))


@fails("TC max bandwidth: class 0", *I40E)
def no_class_is_limited(dut: Dut) -> None:
    ignored(dut, "set_tc_bandwidth", lambda function, tc, mbps: True)


@fails("TC max bandwidth: class 3 has of the rest", *I40E)
def the_rest_goes_to_one_class(dut: Dut) -> None:
    def share(plain: Any, number: int, tc: int) -> float:
        limited = any(dut.nic.functions[number].tc_max_mbps.values())
        return (0.1, 0.85, 0.04, 0.01)[tc] if limited else plain(number, tc)

    replaced(dut.nic, "share", share)


@fails("TC max bandwidth 0: class 0 as the others", *I40E)
def a_limit_of_a_class_does_not_end(dut: Dut) -> None:
    ignored(dut, "set_tc_bandwidth", lambda function, tc, mbps: not mbps)


@fails("TC strict priority: class 2 has all", *I40E)
def no_class_goes_first(dut: Dut) -> None:
    always(dut.nic, "is_strict", False)


@fails("TC strict priority: class 2 has all", *I40E)
def the_bitmap_is_taken_for_a_number(dut: Dut) -> None:
    replaced(dut, "set_strict", lambda plain, classes: plain(1 << classes if classes < 4 else 8))


@fails("TC strict priority off: class 2 has its part", *I40E)
def priority_does_not_end(dut: Dut) -> None:
    ignored(dut, "set_strict", lambda classes: not classes)
