"""Faulty NICs and kernel drivers for what a VF's own driver asks for, limits and statistics."""

from __future__ import annotations

from typing import Any

from tests.emulated.nic import Counters, Function
from tests.emulated.vf_kernel import Driver, KernelDut
from tests.emulated.vfd_faults import KernelBreak, fails_by_kernel, ignored, noted, replaced

# --- what a VF's driver asks for ----------------------------------------------------------


def _asking(name: str, setter: str, *drivers: Driver) -> None:
    """What is never granted, never taken back, or takes everything with it when it ends."""

    def never(dut: KernelDut) -> None:
        ignored(dut, setter, lambda number, *args, **options: _is_on(args, options))

    def stays(dut: KernelDut) -> None:
        ignored(dut, setter, lambda number, *args, **options: not _is_on(args, options))

    def deafens(dut: KernelDut) -> None:
        was_on: list[int] = []

        def set_(plain: Any, number: int, *args: Any, **options: Any) -> None:
            plain(number, *args, **options)
            if _is_on(args, options):
                was_on.append(number)
            elif number in was_on:
                dut.nic.functions[number].rx = False

        replaced(dut, setter, set_)

    fails_by_kernel(f"{name} on: VF 0 receives", *drivers)(never)
    fails_by_kernel(f"{name} off: VF 0 does not", *drivers)(stays)
    fails_by_kernel(f"{name} off: others still arrive", *drivers)(deafens)


def _is_on(args: tuple[Any, ...], options: dict[str, Any]) -> bool:
    return bool(options.get("join", args[-1] if args else False))


_asking("multicast group", "ask_group")
_asking("all multicast", "ask_all_multicast")
_asking("promiscuous", "ask_promiscuous", "i40e")


# --- rate, statistics ---------------------------------------------------------------------


@fails_by_kernel("VF rate limit: no more [Mbit/s]")
def no_rate_is_limited(dut: KernelDut) -> None:
    ignored(dut, "set_max_rate", lambda number, mbps: True)


@fails_by_kernel("VF rate limit: and no less [Mbit/s]")
def a_rate_limit_is_twice_as_strict(dut: KernelDut) -> None:
    replaced(dut, "set_max_rate", lambda plain, number, mbps: plain(number, mbps / 2))


@fails_by_kernel("VF rate limit 0: all passes [Mbit/s]")
def a_rate_limit_stays(dut: KernelDut) -> None:
    ignored(dut, "set_max_rate", lambda number, mbps: mbps == 0)


def _counts_twice(counter: str) -> KernelBreak:
    def break_(dut: KernelDut) -> None:
        def told(plain: Any, number: int) -> Counters:
            counters: Counters = plain(number)
            setattr(counters, counter, 2 * getattr(counters, counter))
            return counters

        replaced(dut, "statistics_of", told)

    return break_


def _counts_its_own_twice(counter: str) -> KernelBreak:
    """Where the extended ones are looked at, too: all checks count frames by these."""

    def break_(dut: KernelDut) -> None:
        told = _noted_extended(dut)

        def seen(plain: Any, number: int) -> Function:
            function: Function = plain(number)
            if told:
                setattr(function.counters, counter, 2 * getattr(function.counters, counter))
            return function

        replaced(dut, "seen_by_vf", seen)

    return break_


def _noted_extended(dut: KernelDut) -> list[int]:
    told: list[int] = []

    def extended(plain: Any, number: int) -> dict[str, int]:
        # Its own, for `seen_by_vf` is what is broken.
        counters = dut.nic.functions[number].counters
        told.append(number)
        return {
            "rx_good_packets": counters.rx_packets,
            "tx_good_packets": counters.tx_packets,
        }

    replaced(dut, "extended_by_vf", extended)
    return told


for _counter, _assertion in (
    ("rx_packets", "RX frames"),
    ("tx_packets", "TX frames"),
    ("rx_bytes", "RX bytes"),
    ("tx_bytes", "TX bytes"),
):
    fails_by_kernel(f"VF statistics: {_assertion}", "i40e")(_counts_twice(_counter))
    fails_by_kernel(f"VF's own statistics: {_assertion}")(_counts_its_own_twice(_counter))


def _counts_extended_twice(counter: str) -> KernelBreak:
    def break_(dut: KernelDut) -> None:
        replaced(
            dut,
            "extended_by_vf",
            lambda plain, number: {
                name: count * (2 if name == counter else 1) for name, count in plain(number).items()
            },
        )

    return break_


for _counter in ("rx_good_packets", "tx_good_packets"):
    fails_by_kernel(f"VF's own extended statistics: {_counter}")(_counts_extended_twice(_counter))


def _survives_the_reset(counter: str) -> KernelBreak:
    def break_(dut: KernelDut) -> None:
        def clear(plain: Any, number: int) -> None:
            plain(number)
            setattr(dut.own_cleared[number], counter, 0)

        replaced(dut, "clear_seen_by_vf", clear)

    return break_


fails_by_kernel("VF's own statistics reset: RX frames")(_survives_the_reset("rx_packets"))
fails_by_kernel("VF's own statistics reset: TX frames")(_survives_the_reset("tx_packets"))


@fails_by_kernel("VF's own statistics reset: they count again")
def a_reset_stops_counting(dut: KernelDut) -> None:
    cleared = noted(dut, "clear_seen_by_vf")
    replaced(dut, "seen_by_vf", lambda plain, n: Function(b"") if cleared else plain(n))
