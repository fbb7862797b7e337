"""Faulty NICs and drivers for the assertions of `suites/vfd` on the 82599 (guide, 5.3)."""

from __future__ import annotations

from typing import Any

from tests.emulated.dut import Dut
from tests.emulated.nic import Function
from tests.emulated.vfd_faults import IXGBE, Break, always, fails, ignored, replaced, setting

# --- ixgbe: drop --------------------------------------------------------------------------


@fails("all queues drop off: VF 0 waits behind the full ring of VF 1", *IXGBE)
def queues_drop_without_being_told(dut: Dut) -> None:
    told: list[str] = []

    def set_field(plain: Any, function: Function, name: str, on: bool) -> None:
        told.append(name)
        plain(function, name, on)

    replaced(dut, "set_field", set_field)
    replaced(dut.nic, "drops_all", lambda plain: plain() or "drop" not in told)


@fails("all queues drop on: VF 0 receives beside it", *IXGBE)
def all_queues_drop_stays_off(dut: Dut) -> None:
    ignored(dut, "set_all_drop", lambda on: on)


@fails("VF packet drop off: VF 0 waits behind the full ring of VF 1", *IXGBE)
def a_vf_drops_without_being_told(dut: Dut) -> None:
    replaced(
        dut,
        "set_field",
        lambda plain, function, name, on: plain(function, name, on or name == "drop"),
    )


@fails("VF packet drop on: VF 0 receives beside it", *IXGBE)
def packet_drop_stays_off(dut: Dut) -> None:
    ignored(dut, "set_field", setting("drop", True))


# --- ixgbe: rate, RX and TX ---------------------------------------------------------------


@fails("VF rate limit: no more [Mbit/s]", *IXGBE)
def no_rate_is_limited(dut: Dut) -> None:
    ignored(dut, "set_rate", lambda function, queue, mbps: True)


@fails("VF rate limit: no more [Mbit/s]", *IXGBE)
def a_rate_limit_is_half_as_strict(dut: Dut) -> None:
    replaced(dut, "set_rate", lambda plain, function, queue, mbps: plain(function, queue, 2 * mbps))


@fails("VF rate limit: and no less [Mbit/s]", *IXGBE)
def a_rate_limit_is_twice_as_strict(dut: Dut) -> None:
    replaced(dut, "set_rate", lambda plain, function, queue, mbps: plain(function, queue, mbps / 2))


@fails("VF rate limit 0: all passes [Mbit/s]", *IXGBE)
def a_rate_limit_does_not_end(dut: Dut) -> None:
    ignored(dut, "set_rate", lambda function, queue, mbps: not mbps)


@fails("VF RX off: it receives nothing", *IXGBE)
def rx_stays_on(dut: Dut) -> None:
    always(dut.nic, "receives", True)


@fails("VF RX off: the other VF receives", *IXGBE)
def rx_is_switched_for_all(dut: Dut) -> None:
    replaced(dut.nic, "receives", lambda plain, n: all(f.rx for f in dut.nic.functions))


@fails("VF RX on: it receives", *IXGBE)
def rx_stays_off(dut: Dut) -> None:
    ignored(dut, "set_field", setting("rx", True))


@fails("VF TX off: nothing comes out", *IXGBE)
def tx_stays_on(dut: Dut) -> None:
    always(dut.nic, "transmits", True)


@fails("VF TX off: it still receives", *IXGBE)
def tx_off_switches_rx_off(dut: Dut) -> None:
    replaced(dut.nic, "receives", lambda plain, n: plain(n) and dut.nic.functions[n].tx)


@fails("VF TX on: all come out", *IXGBE)
def tx_stays_off(dut: Dut) -> None:
    ignored(dut, "set_field", setting("tx", True))


# --- ixgbe: RX modes ----------------------------------------------------------------------


def _switches_off_everything(name: str) -> Break:
    """Ending that mode ends receiving."""

    def break_(dut: Dut) -> None:
        def mode(plain: Any, function: Function, field: str, on: bool) -> None:
            plain(function, field, on)
            function.rx = on or field != name

        replaced(dut, "set_mode", mode)

    return break_


def _modes() -> None:
    admits = {
        "AUPE": ("untagged", "admits_untagged"),
        "ROPE": ("hashed", "admits_hashed"),
        "BAM": ("broadcast", "admits_broadcast"),
        "MPE": ("all_multicast", "admits_multicast"),
    }
    for mode, (name, method) in admits.items():

        def never(dut: Dut, name: str = name) -> None:
            replaced(
                dut,
                "set_mode",
                lambda plain, function, field, on: plain(function, field, on and field != name),
            )

        def ever(dut: Dut, method: str = method) -> None:
            if method == "admits_hashed":
                replaced(dut.nic, method, lambda plain, n, mac: mac in dut.nic.hash_table)
            else:
                always(dut.nic, method, True)

        fails(f"RX mode {mode} on: VF 0 receives", *IXGBE)(never)
        fails(f"RX mode {mode} off: VF 0 does not", *IXGBE)(ever)
        fails(f"RX mode {mode} off: others still arrive", *IXGBE)(_switches_off_everything(name))


_modes()
