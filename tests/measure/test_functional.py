"""Every frame once and right, or it is said which byte is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pytest

from pytest_vswitch.errors import DutError, InputError
from pytest_vswitch.measure.functional import (
    FunctionalError,
    build_frames,
    check_functional,
    prove_clean,
    wait_until_forwarding,
)
from pytest_vswitch.topologies.sim import DutFaults, SimulatedDut
from pytest_vswitch.topologies.topology import Flow, plain_flow
from pytest_vswitch.traffic.sim import SimulatedGenerator


def check(frame_bytes: int = 64, **faults: int) -> None:
    dut = SimulatedDut(faults=DutFaults(**faults))
    check_functional(dut, SimulatedGenerator(dut), frame_bytes)


@pytest.mark.parametrize("frame_bytes", [64, 128, 1518, 9000])
def test_a_good_dut_passes(frame_bytes: int) -> None:
    check(frame_bytes)


@pytest.mark.parametrize("frame_bytes", [64, 1518])
def test_frames_are_distinct_valid_and_of_the_size_asked_for(frame_bytes: int) -> None:
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether

    frames = build_frames(plain_flow(0, 1), frame_bytes, 256)
    assert {len(frame) for frame in frames} == {frame_bytes - 4}
    assert len({frame[42:] for frame in frames}) == 256
    assert len({frame[26:34] for frame in frames}) > 250
    assert len({frame[34:38] for frame in frames}) > 250
    for frame in frames[:8]:
        parsed = Ether(frame)
        del parsed[IP].chksum, parsed[UDP].chksum
        assert bytes(parsed) == frame


def test_a_frame_without_room_for_its_headers_is_refused() -> None:
    with pytest.raises(InputError, match="at least 50"):
        build_frames(plain_flow(0, 1), 49, 1)


def test_missing_frames_are_counted() -> None:
    with pytest.raises(FunctionalError, match="sim0 -> sim1: 2 of 256 frames did not come back"):
        check(lose_one_in=100)


def test_the_hop_where_frames_were_lost_is_named() -> None:
    with pytest.raises(FunctionalError, match=r"\n    lost at guest .*: 2 \(virtio ring full: 2\)"):
        check(lose_one_in=100)
    with pytest.raises(FunctionalError) as error:
        check(corrupt_one_in=512)
    assert "lost at" not in str(error.value)


@pytest.mark.parametrize(
    ("offset", "field"),
    [
        (0, "Ethernet destination"),
        (11, "Ethernet source"),
        (13, "Ethernet type"),
        (22, "IPv4 time to live"),
        (25, "IPv4 checksum"),
        (33, "IPv4 destination"),
        (37, "UDP destination port"),
        (59, "payload"),
    ],
)
def test_the_first_wrong_byte_is_named(offset: int, field: str) -> None:
    with pytest.raises(FunctionalError) as error:
        check(corrupt_one_in=512, corrupt_offset=offset)
    message = str(error.value)
    assert "1 of 256 frames did not come back right" in message
    assert "1 frames came back changed" in message
    assert f"byte {offset} ({field}) is 0x" in message


def test_the_frame_and_the_wrong_bytes_in_it_are_numbered() -> None:
    """Steps: the DUT no more swaps the MAC addresses of the last of its frames."""

    class Forgetful(SimulatedDut):
        def carry_frames(self, frames: Mapping[int, Sequence[bytes]]) -> dict[int, list[bytes]]:
            out = SimulatedDut.carry_frames(self, frames)
            out[1][-1] = frames[0][-1]
            return out

    dut = Forgetful()
    with pytest.raises(FunctionalError, match=r"\(frame 16 of 16; 2 bytes of it are wrong\)"):
        check_functional(dut, SimulatedGenerator(dut), 64, 16)


@pytest.mark.parametrize(
    ("offset", "field"), [(11, "Ethernet source"), (15, "VLAN tag"), (37, "IPv4 destination")]
)
def test_fields_of_tagged_frames_are_where_they_are(offset: int, field: str) -> None:
    class Tagged(SimulatedDut):
        def flow(self, port: int) -> Flow:
            return replace(plain_flow(port, 1 - port), vlan=7)

    dut = Tagged(faults=DutFaults(corrupt_one_in=512, corrupt_offset=offset))
    with pytest.raises(FunctionalError, match=rf"byte {offset} \({field}\) is 0x"):
        check_functional(dut, SimulatedGenerator(dut), 128)


def test_frames_out_of_another_port_are_told_with_the_port() -> None:
    class Crossed(SimulatedDut):
        def carry_frames(self, frames: Mapping[int, Sequence[bytes]]) -> dict[int, list[bytes]]:
            out = SimulatedDut.carry_frames(self, frames)
            return {0: out[1], 1: out[0]}

    dut = Crossed()
    with pytest.raises(FunctionalError) as error:
        check_functional(dut, SimulatedGenerator(dut), 64, 8)
    assert (
        "sim0 -> sim1: 8 of 8 frames did not come back right\n"
        "    8 of them came out of sim0 instead: are the wires, or the ports in the lab file, "
        "crossed?" in str(error.value)
    )


def test_both_sides_are_there_to_be_looked_at() -> None:
    with pytest.raises(FunctionalError) as error:
        check(lose_one_in=100)
    exchange = error.value.exchange
    assert exchange is not None
    assert [len(frames) for frames in exchange.sent.values()] == [256, 256]
    assert [len(frames) for frames in exchange.expected.values()] == [256, 256]
    assert sum(len(frames) for frames in exchange.came_back.values()) == 512 - 5
    assert set(exchange.came_back["sim1"]) < set(exchange.expected["sim1"])


class Leaking(SimulatedDut):
    """Frames that nobody sends go through it, whenever one looks, so many times."""

    looks = 0

    def snapshot(self) -> object:
        if self.looks:
            self.looks -= 1
            self.carry([1, 0], 64, 1e-3)
        return super().snapshot()


def test_what_is_still_under_way_is_waited_for() -> None:
    dut = Leaking()
    dut.looks = 5
    prove_clean(dut, SimulatedGenerator(dut), 30.0)
    assert dut.looks == 0


def test_frames_that_nobody_sends_are_no_clean_start() -> None:
    dut = Leaking()
    dut.looks = 10**9
    with pytest.raises(DutError, match=r"move through sim .* e.g. host switch: sim0 -> vhost0: 1"):
        prove_clean(dut, SimulatedGenerator(dut), 0.1)


def test_a_topology_that_forwards_no_more_is_no_clean_start() -> None:
    dut = SimulatedDut(faults=DutFaults(deaf_for=10**9))
    with pytest.raises(DutError, match="forwards no frame"):
        prove_clean(dut, SimulatedGenerator(dut), 0.1)


@dataclass(slots=True)
class MeddlingGenerator(SimulatedGenerator):
    """Does something to what came back to port 1."""

    meddle: str = ""

    def exchange(
        self, frames: Mapping[int, Sequence[bytes]], *, wait_s: float
    ) -> Mapping[int, list[bytes]]:
        came_back = dict(SimulatedGenerator.exchange(self, frames, wait_s=wait_s))
        first, *rest = came_back[1]
        came_back[1] = {
            "repeat": [first, first, *rest],
            "cut": [first[:2044], *rest],
            "solicit": [
                bytes.fromhex("333300000002525400aabbcc86dd6000") + bytes(46),
                first,
                *rest,
            ],
            "reverse": [*reversed(rest), first],
        }[self.meddle]
        return came_back


def meddled(meddle: str) -> None:
    dut = SimulatedDut()
    check_functional(dut, MeddlingGenerator(dut, meddle=meddle), 9000, 8)


def test_a_frame_that_comes_twice() -> None:
    with pytest.raises(FunctionalError, match="1 of 8 frames came back more than once"):
        meddled("repeat")


def test_a_frame_that_is_cut_short() -> None:
    with pytest.raises(FunctionalError, match="there are 2044 bytes, it should be 8996"):
        meddled("cut")


@pytest.mark.parametrize("meddle", ["solicit", "reverse"])
def test_what_is_no_fault(meddle: str) -> None:
    meddled(meddle)


def test_waiting_until_it_forwards() -> None:
    dut = SimulatedDut(faults=DutFaults(deaf_for=3))
    wait_until_forwarding(dut, SimulatedGenerator(dut), 30.0)
    check_functional(dut, SimulatedGenerator(dut), 64)


def test_a_dut_that_never_forwards_is_named_with_what_was_waited_for() -> None:
    dut = SimulatedDut(faults=DutFaults(deaf_for=10**9))
    with pytest.raises(DutError, match="forwards no frame from sim0 -> sim1, sim1 -> sim0") as it:
        wait_until_forwarding(dut, SimulatedGenerator(dut), 0.5)
    assert "\n    lost at host switch: sim0 -> vhost0: " in str(it.value)


def test_a_dut_that_dies_meanwhile_is_named() -> None:
    dut = SimulatedDut(faults=DutFaults(dies_after_s=0.0))
    with pytest.raises(DutError, match="SIGSEGV"):
        wait_until_forwarding(dut, SimulatedGenerator(dut), 30.0)
