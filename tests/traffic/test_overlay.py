"""VXLAN frames, byte by byte: as RFC 7348 draws them, and as scapy reads them."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.layers.vxlan import VXLAN

from pytest_vswitch.errors import InputError
from pytest_vswitch.measure.functional import FunctionalError, build_frames, check_functional
from pytest_vswitch.topologies.sim import DutFaults, SimulatedDut
from pytest_vswitch.topologies.topology import plain_flow
from pytest_vswitch.traffic import flows, frames, overlay
from pytest_vswitch.traffic.profile import Profile
from pytest_vswitch.traffic.scapy import forms
from pytest_vswitch.traffic.sim import SimulatedGenerator

FLOW = plain_flow(0, 1)
VNI = 0xABCDEF


def made(tags: tuple[int, ...] = (), size: int = 200) -> dict[str, bytes]:
    """A frame of each of those who make some."""
    profile = Profile(tags=tags, vxlan=VNI)
    return {
        "template": frames.template(FLOW, size, tags, VNI),
        "scapy": forms.build(FLOW, size, profile)[0],
        "functional": build_frames(FLOW, size, 1, tags=tags, vxlan=VNI)[0],
    }


@pytest.mark.parametrize("who", ["template", "scapy", "functional"])
@pytest.mark.parametrize("tags", [(), (100,)], ids=["plain", "tagged"])
def test_a_frame_lies_within_another(who: str, tags: tuple[int, ...]) -> None:
    frame = made(tags)[who]
    assert len(frame) == 200 - frames.FCS_BYTES
    packet = Ether(frame)
    assert (packet.src, packet.dst) == (FLOW.src_mac, FLOW.dst_mac)
    assert [tag.vlan for tag in packet.iterpayloads() if isinstance(tag, Dot1Q)] == list(tags)
    outer, vxlan = packet[IP], packet[VXLAN]
    assert (outer.src, outer.dst) == (FLOW.src_ip, FLOW.dst_ip)
    assert (outer[UDP].dport, outer[UDP].chksum, outer.len) == (4789, 0, 200 - 18 - 4 * len(tags))
    assert outer[UDP].sport >= 49152
    assert (vxlan.vni, vxlan.flags) == (VNI, "Instance")
    inner = vxlan.payload
    assert isinstance(inner, Ether)
    assert inner.src not in (packet.src, packet.dst)
    assert inner[IP].len == len(bytes(inner)) - 14
    for ip in (outer, inner[IP]):
        again = IP(bytes(ip))
        del again.chksum
        assert IP(bytes(again)).chksum == ip.chksum


def test_the_first_bytes_are_those_of_the_rfc() -> None:
    frame = frames.template(FLOW, 114, vxlan=VNI)
    assert frame[36:38] == (4789).to_bytes(2, "big")
    assert frame[42:50] == bytes.fromhex("08000000 abcdef 00")
    assert frame[50:] == frames.template(overlay.inner(FLOW), 64)


def test_flows_differ_inside() -> None:
    template = frames.template(FLOW, 200, vxlan=VNI)
    flow = flows.put(template, frames.stamp_offset(template), 7)
    assert flow[:50] == template[:50]
    assert Ether(flow)[VXLAN].payload[IP].src != Ether(template)[VXLAN].payload[IP].src
    built = forms.build(FLOW, 200, Profile(flows=3, vxlan=VNI))
    assert len({frame[50:] for frame in built}) == 3
    assert len({frame[:50] for frame in built}) == 1


@pytest.mark.parametrize("size", [113, 63, 9725])
def test_no_room_is_refused(size: int) -> None:
    for who in (
        lambda: frames.template(FLOW, size, vxlan=VNI),
        lambda: forms.build(FLOW, size, Profile(vxlan=VNI)),
    ):
        with pytest.raises(InputError, match="frame size"):
            who()


@pytest.mark.parametrize(
    ("offset", "field"),
    [(37, "UDP destination port"), (46, "VXLAN header"), (50, "inner Ethernet destination")],
)
def test_a_wrong_byte_is_named_by_its_layer(offset: int, field: str) -> None:
    dut = SimulatedDut(faults=DutFaults(corrupt_one_in=50, corrupt_offset=offset))
    with pytest.raises(FunctionalError, match=rf"byte {offset} \({field}\) is 0x"):
        check_functional(dut, SimulatedGenerator(dut), 200, profile=Profile(vxlan=VNI))
