"""Flow bifurcation on Intel X710 and XL710: L3 VEB and cloud filters (guide, chapter 3.2)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pytest_vswitch.apps.ethtool_filters import Rule, Target, Tunnelled, cloud, l3_veb
from pytest_vswitch.errors import NotHere
from pytest_vswitch.measure.bifurcation import FRAMES, Inside, Setup, hold

DRIVER = "i40e"
L3_IP = "192.168.50.108"
OTHER_IP = "192.168.50.109"
MAC_9, MAC_20, MAC_C2 = "00:00:00:00:09:00", "00:00:00:00:20:00", "c2:1a:e1:53:bc:57"
OTHER_MAC = "00:00:00:00:0a:00"
OTHER_OUTER = "68:05:ca:24:03:8c"


def test_l3_veb(split: Setup) -> None:
    """Steps: direct what goes to an IPv4 address to queue 2 of VF 0. Send UDP and TCP there, and
    between them UDP to its neighbour, and pings to the kernel.

    Verify: both protocols reach that queue and come back from testpmd; nothing else reaches a
    VF; the kernel gets all the rest and nothing more, and answers.
    """
    station = split.topology.card.station_ip
    with split.filtering(l3_veb(L3_IP, Target(2, vf=0), 8, split.topology.dialect)):
        seen = split.send(
            split.udp(station, L3_IP),
            split.tcp(station, L3_IP),
            split.udp(station, OTHER_IP),
            split.echoes(),
        )
    hold(
        the_route_reaches_its_queue=({(0, 2): 2 * FRAMES}, seen.vf_queues),
        the_VFs_get_nothing_else=({0: 2 * FRAMES, 1: 0}, seen.vfs),
        the_route_comes_back_from_DPDK=(2 * FRAMES, seen.returned[0]),
        the_kernel_gets_all_the_rest=(2 * FRAMES, seen.kernel),
        the_kernel_answers=(FRAMES, seen.answered),
    )


def test_a_route_without_its_filter_is_the_kernels(split: Setup) -> None:
    """Steps: send to an address before its filter is there, with it, and when it is deleted.

    Verify: DPDK gets these frames only between; the kernel's pings are answered all the time.
    """
    station = split.topology.card.station_ip
    before = split.send(split.udp(station, L3_IP), split.echoes())
    with split.filtering(l3_veb(L3_IP, Target(2, vf=0), 8, split.topology.dialect)):
        between = split.send(split.udp(station, L3_IP), split.echoes())
    after = split.send(split.udp(station, L3_IP), split.echoes())
    hold(
        without_a_filter_the_kernel_gets_all=(2 * FRAMES, before.kernel),
        with_it_DPDK_gets_the_route=(FRAMES, between.vfs[0]),
        when_it_is_deleted_the_kernel_gets_all=(2 * FRAMES, after.kernel),
        pings_are_answered_all_the_time=(
            [FRAMES] * 3,
            [before.answered, between.answered, after.answered],
        ),
    )


CLOUD: dict[str, tuple[str, dict[str, int], Target, int]] = {
    "inner MAC": (MAC_9, {}, Target(6), 1),
    "inner MAC + VNI": (MAC_9, {"vni": 8}, Target(4), 4),
    "outer MAC + inner MAC + VNI": (MAC_C2, {"outer": 1, "vni": 8}, Target(2), 2),
    "inner MAC + inner VLAN + VNI": (MAC_20, {"inner_vlan": 10, "vni": 8}, Target(1, vf=0), 5),
    "inner MAC + inner VLAN": (MAC_20, {"inner_vlan": 10}, Target(1, vf=0), 6),
}
"""The guide's five, by what they look at. It gives the last two the same place, 5."""


@pytest.mark.parametrize("name", CLOUD)
def test_cloud_filter(split: Setup, name: str) -> None:
    """Steps: put in the guide's filter for VXLAN frames. Send frames that it matches, and pings;
    then frames that differ in one of the fields that it looks at, and others that do not.

    Verify: what matches reaches the queue that the filter names, of the PF or of VF 0; what
    differs, and what is not tunnelled, is the kernel's as if there were no filter.
    """
    mac, fields, target, place = CLOUD[name]
    outer = split.topology.mac if "outer" in fields else None
    vlan, vni = fields.get("inner_vlan"), fields.get("vni")
    rule = _cloud(split, Tunnelled(mac, outer, vlan, vni), target, place)
    same = Inside(mac, vlan, vni or 8)
    near = [Inside(OTHER_MAC, vlan, vni or 8)]
    near += [Inside(mac, vlan, 9)] if vni is not None else []
    near += [Inside(mac, 11, vni or 8), Inside(mac, None, vni or 8)] if vlan else []
    with split.filtering(rule):
        met = split.send(split.tunnelled(same), split.echoes())
        elsewhere = [split.tunnelled(other) for other in near]
        plain = split.udp(split.topology.card.station_ip, split.topology.card.kernel_ip)
        differ = split.send(*elsewhere, plain)
        foreign = 0
        if outer:  # no function has the other address: the NIC lets none of it in
            other = Inside(mac, vlan, vni or 8, OTHER_OUTER)
            foreign = split.send(split.tunnelled(other)).kernel
    to_vf = FRAMES if target.vf is not None else 0
    in_queue = met.kernel_queues if target.vf is None else _of(target.vf, met.vf_queues)
    strays = 0 if target.vf is not None else differ.kernel_queues.get(target.queue, 0)
    hold(
        what_matches_reaches_its_queue=(FRAMES, min(FRAMES, in_queue.get(target.queue, 0))),
        the_VFs_get_nothing_else=({0: to_vf, 1: 0}, met.vfs),
        what_is_for_a_VF_comes_back_from_DPDK=(to_vf, met.returned[0]),
        the_kernel_gets_all_the_rest=(2 * FRAMES - to_vf, met.kernel),
        the_kernel_answers=(FRAMES, met.answered),
        what_differs_is_the_kernels=((len(near) + 1) * FRAMES, differ.kernel),
        what_differs_reaches_no_VF=({0: 0, 1: 0}, differ.vfs),
        what_differs_is_spread_as_before=(True, strays < FRAMES),
        another_outer_MAC_is_not_let_in=(0, foreign),
    )


WRONG_L3 = {
    "a queue that the VF does not have": Target(64, vf=0),
    "a queue that the PF does not have": Target(4096),
}


@pytest.mark.parametrize("name", WRONG_L3)
def test_a_wrong_filter_is_refused(split: Setup, name: str) -> None:
    """Steps: direct a route to a queue that there is not; send to it.

    Verify: the driver refuses it, although ethtool takes its words; the table does not have
    it; DPDK gets nothing.
    """
    _refused(split, l3_veb(L3_IP, WRONG_L3[name], 8, split.topology.dialect))


def test_an_address_masked_in_part_is_refused(split: Setup) -> None:
    """Steps: direct a network instead of an address to VF 0; send to it.

    Verify: the driver refuses it: it takes an address whole, or not at all.
    """
    words = ("flow-type", "ip4", "dst-ip", L3_IP, "m", "0.0.0.255", *_to_vf_0(split), "loc", "8")
    _refused(split, Rule(8, words, "Direct to queue 0"))


def test_a_cloud_filter_without_an_inner_mac_is_refused(split: Setup) -> None:
    """Steps: put in a filter on a network identifier only.

    Verify: the driver refuses it: there is none of the five that lacks the inner MAC address.
    """
    good = _cloud(split, Tunnelled(MAC_9, vni=8), Target(1, vf=0), 5)
    words = list(good.words)
    words[words.index(MAC_9) + 2] = "ff:ff:ff:ff:ff:ff"
    _refused(split, Rule(5, tuple(words), good.action))


def _refused(split: Setup, rule: Rule) -> None:
    with split.attempting(rule) as (refusal, is_there):
        seen = split.send(split.udp(split.topology.card.station_ip, L3_IP), split.echoes())
    hold(
        the_driver_refuses_it=("driver", refusal and refusal.by),
        the_table_does_not_have_it=(False, is_there),
        the_VFs_get_nothing=({0: 0, 1: 0}, seen.vfs),
    )


def _to_vf_0(split: Setup) -> tuple[str, ...]:
    good = l3_veb(L3_IP, Target(0, vf=0), 8, split.topology.dialect).words
    return good[good.index(L3_IP) + 1 : good.index("loc")]


def _cloud(split: Setup, tunnelled: Tunnelled, target: Target, place: int) -> Rule:
    try:
        return cloud(tunnelled, target, place, split.topology.dialect)
    except NotHere as reason:
        pytest.skip(str(reason))


def _of(vf: int, queues: Mapping[tuple[int, int], int]) -> dict[int, int]:
    return {queue: count for (number, queue), count in queues.items() if number == vf}
