"""MPLS label stacks, byte by byte: as RFC 3032 draws them, and as scapy reads them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether

from pytest_vswitch.errors import InputError
from pytest_vswitch.measure.functional import FunctionalError, build_frames, check_functional
from pytest_vswitch.topologies.sim import DutFaults, SimulatedDut
from pytest_vswitch.topologies.topology import Flow, plain_flow
from pytest_vswitch.traffic import flows, frames, mpls
from pytest_vswitch.traffic.profile import Profile
from pytest_vswitch.traffic.scapy import forms
from pytest_vswitch.traffic.sim import SimulatedGenerator

FLOW = plain_flow(0, 1)
STACK = (100, 16, 1_048_575)


def made(profile: Profile, size: int = 200, flow: Flow = FLOW) -> dict[str, bytes]:
    """A frame of each of those who make some."""
    tags, vxlan, labels = profile.tags, profile.vxlan, profile.labels
    return {
        "template": frames.template(flow, size, tags, vxlan, labels),
        "scapy": forms.build(flow, size, profile)[0],
        "functional": build_frames(flow, size, 1, tags=tags, vxlan=vxlan, labels=labels)[0],
    }


@pytest.mark.parametrize("tags", [(), (100,), (100, 200)], ids=["plain", "tagged", "QinQ"])
@pytest.mark.parametrize("labels", [STACK[:1], STACK], ids=["one", "three"])
def test_labels_lie_between_tags_and_packet(tags: tuple[int, ...], labels: tuple[int, ...]) -> None:
    """The frame is as long as asked, and the IPv4 packet within is right."""
    for frame in made(Profile(tags=tags, labels=labels)).values():
        assert len(frame) == 200 - frames.FCS_BYTES
        packet = Ether(frame)
        assert [tag.vlan for tag in packet.iterpayloads() if isinstance(tag, Dot1Q)] == list(tags)
        entries = [entry for entry in packet.iterpayloads() if isinstance(entry, MPLS)]
        assert [entry.label for entry in entries] == list(labels)
        assert [entry.s for entry in entries] == [0] * (len(labels) - 1) + [1]
        assert {entry.ttl for entry in entries} == {64}
        ip = entries[-1].payload
        assert isinstance(ip, IP)
        assert ip.len == len(bytes(ip)) == ip[UDP].len + 20
        again = IP(bytes(ip))
        del again.chksum
        assert IP(bytes(again)).chksum == ip.chksum


def test_the_bytes_are_those_of_the_rfc() -> None:
    frame = frames.template(FLOW, 72, labels=(100, 1_048_575))
    assert frame[12:22] == bytes.fromhex("8847 00064040 fffff140")
    assert frame[22:] == frames.template(FLOW, 64)[14:]
    assert frame[:12] == frames.template(FLOW, 64)[:12]


def test_without_labels_nothing_changes() -> None:
    assert frames.template(FLOW, 200, labels=()) == frames.template(FLOW, 200)


def test_labels_around_vxlan_are_the_outer_frames() -> None:
    for frame in made(Profile(vxlan=42, labels=(100,))).values():
        assert len(frame) == 200 - frames.FCS_BYTES
        assert frame[12:18] == bytes.fromhex("8847 00064140")
        assert frame[46:54] == bytes.fromhex("08000000 00002a 00")
        assert frame[66:68] == b"\x08\x00"


def test_flows_differ_behind_the_labels() -> None:
    template = frames.template(FLOW, 200, labels=STACK)
    flow = flows.put(template, frames.stamp_offset(template), 7)
    assert flow[:26] == template[:26]
    assert Ether(flow)[IP].src != Ether(template)[IP].src
    assert len(set(forms.build(FLOW, 200, Profile(flows=3, labels=STACK)))) == 3


def test_a_topologys_own_tag_comes_first() -> None:
    tagged = replace(FLOW, vlan=1000)
    for frame in made(Profile(labels=(100,)), flow=tagged).values():
        assert frame[12:22] == bytes.fromhex("810003e8 8847 00064140")


@pytest.mark.parametrize(
    ("size", "labels", "message"),
    [
        (67, (100,), "frame size 67: from 68 to"),
        (200, (15,), "MPLS label 15: from 16 to 1048575"),
        (200, (1 << 20,), "MPLS label 1048576"),
    ],
)
def test_what_there_is_not_is_refused(size: int, labels: tuple[int, ...], message: str) -> None:
    for make in (
        lambda: frames.template(FLOW, size, labels=labels),
        lambda: forms.build(FLOW, size, Profile(labels=labels)),
    ):
        with pytest.raises(InputError, match=message):
            make()


def test_room_and_name_in_a_profile() -> None:
    profile = Profile(labels=(100, 200), tags=(7,))
    assert profile.least_bytes == 64 + 4 + 8
    assert profile.parameters == {"vlan": "7", "mpls": "100.200"}


@pytest.mark.parametrize(
    ("offset", "field"),
    [
        (13, "Ethernet type"),
        (14, "MPLS label"),
        (21, "MPLS label"),
        (22, "IPv4 version and header length"),
        (45, "UDP destination port"),
    ],
)
def test_a_wrong_byte_is_named_by_its_layer(offset: int, field: str) -> None:
    dut = SimulatedDut(faults=DutFaults(corrupt_one_in=50, corrupt_offset=offset))
    profile = Profile(labels=(100, 200))
    with pytest.raises(FunctionalError, match=rf"byte {offset} \({field}\) is 0x"):
        check_functional(dut, SimulatedGenerator(dut), 200, profile=profile)


@pytest.mark.parametrize(
    ("frame", "length"),
    [
        ("8847 00064140 4500", 4),
        ("8847 00064040 000c8140 4500", 8),
        ("0800 00064140", 0),
        ("8847 00064040", 0),  # no bottom
        ("8847", 0),
    ],
)
def test_how_long_a_stack_is(frame: str, length: int) -> None:
    assert mpls.stack_bytes(bytes.fromhex(frame)) == length
