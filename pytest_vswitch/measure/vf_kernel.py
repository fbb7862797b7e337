"""The functions of VFs that the kernel's PF driver has, each by what it does to frames.

`ip link set PF vf N ...` sets them; what only the VF's own driver can ask for goes by the kernel,
too, which grants it or not. Checks are as in `vf_functions`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Final

from pytest_vswitch.apps import ip_link_vf, vf_control
from pytest_vswitch.measure import vf_functions, vf_i40e, vf_ixgbe
from pytest_vswitch.measure.vf_bench import BROADCAST, FRAMES, MULTICAST, Bench, Tag
from pytest_vswitch.measure.vf_functions import OTHER, OWN
from pytest_vswitch.topologies.vfd import Vfd

CHOSEN_MAC: Final = "02:00:C6:12:F0:77"
"""That a VF's own driver takes."""
EMULATED_LIMIT_MBPS: Final = 1
"""Of an emulated DUT, which must carry four times that."""
PRIORITY: Final = 3
"""Of a port's VLAN, unlike that of the frames sent."""
SENT_PRIORITY: Final = 5

_NOT_MODELLED: Final = {
    "MAC anti-spoofing on: by another address none": "QEMU's 82576 does not look at who sends",
    "VLAN anti-spoofing on: of another none": "QEMU's 82576 does not look at who sends",
    "VF rate limit: no more [Mbit/s]": "QEMU's 82576 limits no rates",
    "link down: VF 0 is told": "QEMU's 82576 brings a VF's link back by itself",
    "all multicast on: VF 0 receives": "QEMU's 82576 knows no multicast promiscuous mode of a VF",
}
_IGB_HAS_NOT: Final = {
    "VF statistics: RX frames": "the kernel's igb tells no statistics of its VFs, only zeros",
    "promiscuous on: VF 0 receives": "the kernel's igb lets no VF be unicast promiscuous",
}


def known_lacks(topology: Vfd) -> Mapping[str, str]:
    """By assertion: why the kernel's driver, or QEMU's model of the NIC, cannot have the effect."""
    if topology.driver != "igb":
        return {}
    return {**_IGB_HAS_NOT, **(_NOT_MODELLED if topology.emulated else {})}


def mac_address(bench: Bench) -> None:
    """`mac` (5.2.2)."""
    vf_functions.changes_address(bench, lambda mac: ip_link_vf.mac_address(0, mac))


def trust(bench: Bench) -> None:
    """`trust`: a VF whose driver may choose another address than the one that it was given."""
    vf = bench.vfs[0]
    given = vf.mac

    def received() -> int:
        vf.control.take_address(CHOSEN_MAC)
        return bench.send(bench.frames(CHOSEN_MAC)).received[0]

    try:
        with bench.afterwards(ip_link_vf.trust(0, False), ip_link_vf.mac_address(0, given)):
            bench.set(ip_link_vf.trust(0, False))
            bench.expect("trust off: no frames to an address of its choice", received(), 0)
            bench.set(ip_link_vf.trust(0, True))
            bench.expect("trust on: frames to an address of its choice", received(), FRAMES)
    finally:
        vf.restart()


def spoof_check(bench: Bench) -> None:
    """`spoofchk` (5.2.3): an untrusted VF sends by an address that its own driver has chosen.

    Where that driver, refused by the kernel, keeps its address, as in `vf_functions`; QEMU's 82576
    would bring back to the VF the broadcasts that it sends.
    """
    vf = bench.vfs[0]
    given = vf.mac

    @contextlib.contextmanager
    def by_another() -> Iterator[str]:
        try:
            refused = vf.control.take_address(CHOSEN_MAC)
            vf.control.forward("io" if refused else "mac")
            yield BROADCAST if refused else given
        finally:
            vf.restart()

    with bench.afterwards(ip_link_vf.spoof_check(0, True)):  # as the kernel has it
        vf_functions.holds_back(bench, lambda on: ip_link_vf.spoof_check(0, on), by_another())


def vlan_insertion(bench: Bench) -> None:
    """`vlan N qos P` (5.2.5): what the VF sends has that tag; with 0, none."""
    mac = bench.vfs[0].mac

    def outermost(vlan: int | None) -> tuple[int, set[Tag | None]]:
        seen = bench.send(bench.frames(mac, vlan=vlan))
        return len(seen.back), {tags[0] if tags else None for tags in seen.tags}

    with bench.afterwards(ip_link_vf.vlan(0, 0)):
        for vlan in (OWN, OTHER):
            bench.set(ip_link_vf.vlan(0, vlan, PRIORITY))
            wanted = (FRAMES, {Tag(vlan, PRIORITY)})
            bench.expect(f"port VLAN {vlan}: frames have its tag", outermost(vlan), wanted)
        bench.set(ip_link_vf.vlan(0, 0))
        bench.expect("port VLAN 0: frames have no tag", outermost(None), (FRAMES, {None}))


def vlan_stripping(bench: Bench) -> None:
    """`vlan N` (5.2.6): frames come back without the tag, told by its priority, they came with."""
    mac = bench.vfs[0].mac
    with bench.afterwards(ip_link_vf.vlan(0, 0)):
        bench.set(ip_link_vf.vlan(0, OWN, PRIORITY))
        seen = bench.send(bench.frames(mac, vlan=OWN, priority=SENT_PRIORITY))
        kept = sum(Tag(OWN, SENT_PRIORITY) in tags for tags in seen.tags)
        bench.expect("port VLAN 100: VF 0 is given frames without their tag", kept, 0)
        bench.expect("port VLAN 100: it is given them all", seen.received[0], FRAMES)


def vlan_filter(bench: Bench) -> None:
    """`vlan N` (5.2.7): nothing else is received, be it of another VLAN or of none."""
    mac = bench.vfs[0].mac

    def received(vlan: int | None) -> int:
        return bench.send(bench.frames(mac, vlan=vlan)).received[0]

    with bench.afterwards(ip_link_vf.vlan(0, 0)):
        bench.set(ip_link_vf.vlan(0, OWN))
        bench.expect("port VLAN 100: VF 0 receives frames of it", received(OWN), FRAMES)
        bench.expect("port VLAN 100: none of another", received(OTHER), 0)
        bench.expect("port VLAN 100: none without a tag", received(None), 0)
        bench.set(ip_link_vf.vlan(0, 0))
        bench.expect("port VLAN 0: those without a tag", received(None), FRAMES)


def own_vlans(bench: Bench) -> None:
    """VLANs that the VF's own driver asks the kernel for, and gives up (5.2.7)."""
    with _asking_for_vlans(bench) as control:
        vf_functions.filters(bench, lambda vlan, add: vf_control.own_vlan(0, vlan, add), on=control)


def vlan_spoof_check(bench: Bench) -> None:
    """`spoofchk` (5.2.4): a VF has a VLAN, and its driver sends into another."""

    def check(checked: bool) -> None:
        bench.set(vf_control.own_vlan(0, OWN, True), on=control)
        bench.set(ip_link_vf.spoof_check(0, checked))

    with _asking_for_vlans(bench) as control, bench.afterwards(ip_link_vf.spoof_check(0, True)):
        try:
            vf_functions.holds_back_vlans(bench, check)
        finally:
            bench.set(vf_control.own_vlan(0, OWN, False), on=control)


@contextlib.contextmanager
def _asking_for_vlans(bench: Bench) -> Iterator[vf_control.Control]:
    """The driver of VF 0, which can ask for VLANs in the block."""
    control = bench.vfs[0].control
    try:
        control.filter_vlans(True)
        yield control
    finally:
        control.filter_vlans(False)


def between_functions(bench: Bench) -> None:
    """What VF 0 sends to VF 1, as the kernel leaves it (5.2.1)."""
    sender, receiver = bench.vfs
    seen = bench.send(bench.frames(sender.mac, receiver.mac))
    bench.expect("between VFs: VF 1 receives what VF 0 sends it", seen.received[1], FRAMES)
    bench.expect("between VFs: none of it is on the wire", len(seen.back), 0)


def switching(bench: Bench) -> None:
    """`bridge link set PF hwmode veb`, `vepa` (5.2.1)."""
    vf_functions.loops_back(bench, lambda on: ip_link_vf.switching("veb" if on else "vepa"))


def link_state(bench: Bench) -> None:
    """`state disable`, `enable`, `auto`: the link that one VF has."""
    vf = bench.vfs[0]

    def passing() -> int:
        return len(bench.send(bench.frames(vf.mac)).back)

    with bench.afterwards(ip_link_vf.link_state(0, "auto")):
        bench.set(ip_link_vf.link_state(0, "disable"))
        told = vf_i40e.link_of(vf, up=False)
        bench.expect("VF link state disable: its driver says so", told, False)
        bench.expect("VF link state disable: nothing passes", passing(), 0)
        bench.set(ip_link_vf.link_state(0, "enable"))
        told = vf_i40e.link_of(vf, up=True)
        bench.expect("VF link state enable: its driver says so", told, True)
        bench.expect("VF link state enable: frames pass", vf_i40e.passing(bench), FRAMES)


def port_down(bench: Bench) -> None:
    """`ip link set PF down`, `up`: VFs have no traffic, and have it again (5.4.3)."""
    with bench.afterwards(ip_link_vf.port(True)):
        bench.set(ip_link_vf.port(False))
        seen = bench.send(bench.frames(bench.vfs[0].mac))
        bench.expect("port down: nothing passes", len(seen.back), 0)
        bench.set(ip_link_vf.port(True))
    for vf in bench.vfs:
        vf.restart()  # an igb has reset its VFs
    bench.expect("port up: frames pass", vf_i40e.passing(bench), FRAMES)


def link_status(bench: Bench) -> None:
    """The VFs' drivers are told of it (5.4.3)."""
    try:
        vf_i40e.notifies(bench, ip_link_vf.port)
    finally:
        for vf in bench.vfs:
            vf.restart()


def multicast_group(bench: Bench) -> None:
    """A multicast address that the VF's own driver asks the kernel for, and gives up."""
    vf_functions.accepts(
        bench,
        "multicast group",
        MULTICAST,
        lambda join: vf_control.own_group(0, MULTICAST, join),
        normally=False,
        on=bench.vfs[0].control,
    )


def all_multicast(bench: Bench) -> None:
    """A trusted VF whose own driver wants all multicast frames (5.4.5)."""
    with _trusted(bench):
        vf_functions.accepts(
            bench,
            "all multicast",
            MULTICAST,
            lambda on: vf_control.own_all_multicast(0, on),
            normally=False,
            on=bench.vfs[0].control,
        )


def promiscuous(bench: Bench) -> None:
    """A trusted VF whose own driver wants all frames (5.4.6)."""
    with _trusted(bench):
        vf_functions.accepts(
            bench,
            "promiscuous",
            vf_i40e.UNKNOWN_MAC,
            lambda on: vf_control.own_promiscuous(0, on),
            normally=False,
            on=bench.vfs[0].control,
        )


@contextlib.contextmanager
def _trusted(bench: Bench) -> Iterator[None]:
    with bench.afterwards(ip_link_vf.trust(0, False)):
        bench.set(ip_link_vf.trust(0, True))
        yield


def rate_limit(bench: Bench) -> None:
    """`max_tx_rate` (5.3.3, 5.4.7)."""
    limit_mbps = EMULATED_LIMIT_MBPS if bench.topology.emulated else vf_ixgbe.LIMIT_MBPS
    vf_ixgbe.limits_rate(bench, lambda mbps: ip_link_vf.rate_limit(0, mbps), limit_mbps)


def vf_statistics(bench: Bench) -> None:
    """`ip -s link show` (5.4.1)."""
    vf_i40e.vf_statistics(bench)


def own_statistics(bench: Bench) -> None:
    """What the VF's own driver counts, as testpmd's statistics and extended ones (5.4.1)."""
    control = bench.vfs[0].control
    before = control.extended()
    burst = bench.frames(bench.vfs[0].mac)
    counted = bench.send(burst).counted[0]
    after = control.extended()
    bench.expect("VF's own statistics: RX frames", counted.rx_packets, FRAMES)
    bench.expect("VF's own statistics: TX frames", counted.tx_packets, FRAMES)
    least = sum(map(len, burst))
    most = least + 4 * FRAMES  # an 82576 counts the FCS
    bench.expect_between("VF's own statistics: RX bytes", counted.rx_bytes, least, most)
    bench.expect_between("VF's own statistics: TX bytes", counted.tx_bytes, least, most)
    for name in ("rx_good_packets", "tx_good_packets"):
        grown = after.get(name, 0) - before.get(name, 0)
        bench.expect(f"VF's own extended statistics: {name}", grown, FRAMES)


def own_statistics_reset(bench: Bench) -> None:
    """(5.4.2)"""
    vf = bench.vfs[0]
    bench.send(bench.frames(vf.mac))
    vf.control.clear_statistics()
    found = vf.control.statistics()
    bench.expect("VF's own statistics reset: RX frames", found.rx_packets, 0)
    bench.expect("VF's own statistics reset: TX frames", found.tx_packets, 0)
    bench.send(bench.frames(vf.mac))
    found = vf.control.statistics()
    bench.expect("VF's own statistics reset: they count again", found.rx_packets, FRAMES)
