"""The lab's NIC ports: there, up, as fast as they could be, and not the one we came by."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_vswitch.machine.checks.check import Check, Outcome
from pytest_vswitch.machine.facts import Machine
from pytest_vswitch.machine.needs import Needs
from pytest_vswitch.machine.nics import Nic

ETHERNET_BYTES = 18
"""Of a frame, beside what the MTU counts: header and FCS."""

NONE = Outcome("the lab names no NIC port", None)


def present(machine: Machine, needs: Needs) -> Outcome:
    if not needs.ports:
        return NONE
    there = {nic.bdf for nic in machine.nics}
    missing = [port.bdf for port in needs.ports if port.bdf not in there]
    if not missing:
        return Outcome(", ".join(port.bdf for port in needs.ports), True)
    others = ", ".join(sorted(there)) or "none"
    return Outcome(
        f"no NIC at {', '.join(missing)}", False, f"name others in the lab's ports; there: {others}"
    )


def management(machine: Machine, needs: Needs) -> Outcome:
    ours = [nic for nic in _nics(machine, needs) if nic.management]
    if not ours:
        return Outcome("no port of the lab", True) if needs.ports else NONE
    found = ", ".join(f"{nic.bdf} {nic.management}" for nic in ours)
    return Outcome(found, False, "name other ports in the lab: this one is never unbound")


def link(machine: Machine, needs: Needs) -> Outcome:
    nics = list(_nics(machine, needs))
    down = [nic for nic in nics if nic.link_up is False]
    if down:
        devices = "; ".join(f"ip link set {nic.netdev} up" for nic in down if nic.netdev)
        mend = "check cable and transceiver" + (f", or: {devices}" if devices else "")
        return Outcome(f"down: {', '.join(nic.bdf for nic in down)}", False, mend)
    if not any(nic.link_up for nic in nics):
        return Outcome("not told while a port has no kernel driver", None)
    return Outcome("up", True)


def speed(machine: Machine, needs: Needs) -> Outcome:
    """A trial never offers more than the lab's line rate: it must be the link's."""
    rates = {port.bdf: port.line_rate_gbps * 1000 for port in needs.ports}
    known = [nic for nic in _nics(machine, needs) if nic.speed_mbps]
    wrong = [nic for nic in known if nic.speed_mbps != rates[nic.bdf]]
    if not known:
        return Outcome("not told while a link is down", None)
    if not wrong:
        return Outcome("as the lab says", True)
    found = ", ".join(f"{nic.bdf} has {(nic.speed_mbps or 0) / 1000:g} Gbit/s" for nic in wrong)
    return Outcome(found, False, "set line_rate_gbps of the port in the lab, or mend the link")


def pcie(machine: Machine, needs: Needs) -> Outcome:
    known = [n for n in _nics(machine, needs) if n.pcie_width_max and n.pcie_gts_max]
    slow = [
        nic
        for nic in known
        if (nic.pcie_width or 0) < (nic.pcie_width_max or 0)
        or (nic.pcie_gts or 0) < (nic.pcie_gts_max or 0)
    ]
    if not known:
        return Outcome("not told", None) if needs.ports else NONE
    if not slow:
        nic = known[0]
        return Outcome(f"x{nic.pcie_width} at {nic.pcie_gts:g} GT/s", True)
    found = ", ".join(
        f"{n.bdf} runs x{n.pcie_width} at {n.pcie_gts:g} GT/s "
        f"of x{n.pcie_width_max} at {n.pcie_gts_max:g}"
        for n in slow
    )
    return Outcome(found, False, "seat the card anew, in a slot with all its lanes")


def mtu(machine: Machine, needs: Needs) -> Outcome:
    """DPDK sets its own, but not where the kernel's driver stays (bifurcated, e.g. mlx5)."""
    if not needs.ports:
        return NONE
    wanted = needs.frame_bytes - ETHERNET_BYTES
    small = with_small_mtu(machine, needs)
    if not small:
        return Outcome(f"{wanted} or more, or set by DPDK", True)
    found = ", ".join(f"{nic.netdev} has {nic.mtu}" for nic in small)
    mend = "; ".join(f"ip link set {nic.netdev} mtu {wanted}" for nic in small)
    return Outcome(f"{found}; frames of {needs.frame_bytes} bytes need {wanted}", False, mend)


def with_small_mtu(machine: Machine, needs: Needs) -> list[Nic]:
    """The lab's ports that stay the kernel's, and would not take the longest frame."""
    wanted = needs.frame_bytes - ETHERNET_BYTES
    stay = {port.bdf for port in needs.ports if port.driver == "kernel"}
    return [
        nic
        for nic in _nics(machine, needs)
        if nic.bdf in stay and nic.netdev and 0 < (nic.mtu or 0) < wanted
    ]


def mbuf(machine: Machine, needs: Needs) -> Outcome:
    if needs.frame_bytes <= needs.mbuf_bytes:
        return Outcome(f"{needs.mbuf_bytes} bytes for {needs.frame_bytes}", True)
    return Outcome(
        f"{needs.mbuf_bytes} bytes for frames of {needs.frame_bytes}",
        False,
        f"give testpmd --mbuf-size={needs.frame_bytes + 128}, or send shorter frames",
    )


def pause(machine: Machine, needs: Needs) -> Outcome:
    nics = list(_nics(machine, needs))
    known = [nic for nic in nics if nic.pause_rx is not None or nic.pause_tx is not None]
    on = [nic for nic in known if nic.pause_rx or nic.pause_tx]
    if not known:
        return Outcome("not told while a port has no kernel driver", None)
    if not on:
        return Outcome("off", True)
    mend = "; ".join(f"ethtool -A {nic.netdev} autoneg off rx off tx off" for nic in on)
    return Outcome(f"on: {', '.join(nic.netdev or nic.bdf for nic in on)}", False, mend)


def firmware(machine: Machine, needs: Needs) -> Outcome:
    nics = list(_nics(machine, needs))
    ours = {nic.bdf for nic in nics}
    lines = [
        line
        for line in machine.kernel.firmware_complaints
        if any(f" {bdf}: " in line for bdf in ours)
    ]
    if lines:
        bdf, _, text = lines[0].partition(": ")
        return Outcome(f"{bdf}: {text}", False, "install the pair that the NIC's vendor names")
    models: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for nic in nics:
        if nic.firmware:
            model = (nic.vendor, nic.device)
            models.setdefault(model, set()).add((nic.firmware, nic.driver_version))
    mixed = [pairs for pairs in models.values() if len(pairs) > 1]
    if mixed:
        versions = " and ".join(sorted(f"{fw} (driver {driver})" for fw, driver in mixed[0]))
        mend = "bring all ports of a model to the same firmware"
        return Outcome(f"ports of one model have {versions}", False, mend)
    if not models:
        return Outcome("not told", None) if needs.ports else NONE
    return Outcome(", ".join(sorted(fw for pairs in models.values() for fw, _ in pairs)), True)


def _nics(machine: Machine, needs: Needs) -> Iterator[Nic]:
    """The lab's, in its order; one that is missing has a check of its own."""
    found = {nic.bdf: nic for nic in machine.nics}
    yield from (found[port.bdf] for port in needs.ports if port.bdf in found)


CHECKS = (
    Check("nic-present", "NICs", "the lab's ports", "required with NICs", "4.2.4", present),
    Check(
        "nic-management",
        "NICs",
        "not the port that the host is reached by",
        "required with NICs",
        "pit",
        management,
    ),
    Check("nic-link", "NICs", "links up", "required with NICs", "4.1", link),
    Check(
        "nic-speed", "NICs", "the lab's line rate is the link's", "required with NICs", "pit", speed
    ),
    Check(
        "nic-pcie",
        "NICs",
        "PCIe link as wide and fast as the card can",
        "required with NICs",
        "pit",
        pcie,
    ),
    Check(
        "nic-mtu",
        "NICs",
        "an MTU for the longest frame, where the kernel's driver stays",
        "required with NICs",
        "pit",
        mtu,
    ),
    Check("mbuf-size", "NICs", "buffers that hold the longest frame", "required", "pit", mbuf),
    Check(
        "nic-pause",
        "NICs",
        "pause frames off: who pauses the generator loses nothing",
        "required with NICs",
        "pit",
        pause,
    ),
    Check("nic-firmware", "NICs", "firmware and driver in step", "advised", "pit", firmware),
)
