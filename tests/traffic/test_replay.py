"""Frames of a pcap file: read, sent in a loop, counted."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from scapy.packet import Raw
from scapy.utils import PcapWriter, wrpcap, wrpcapng

from pytest_vswitch.errors import InputError
from pytest_vswitch.traffic import pcap
from pytest_vswitch.traffic.generator import DirectionCounts, Offer
from pytest_vswitch.traffic.profile import Capabilities, Profile, Replayed
from tests.traffic.conftest import Connect, Loop, run_trial
from tests.traffic.memif_server import Fault, Server

LENGTHS = (60, 1514, 61, 300, 60, 9000)
FRAMES = tuple(bytes([number]) * length for number, length in enumerate(LENGTHS))
REPLAY = Profile(replay=Replayed("six", FRAMES), burst_frames=7)
OFFER = Offer(2000.0, 0.2, 1834, REPLAY)
EACH = 200


def write(file: Path, *frames: bytes, linktype: int = 1) -> None:
    wrpcap(str(file), [Raw(frame) for frame in frames], linktype=linktype)


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    """But for short frames, which a network card pads."""
    write(tmp_path / "a.pcap", b"\1" * 14, *FRAMES)
    wrpcapng(str(tmp_path / "a.pcapng"), [Raw(b"\1" * 14), *map(Raw, FRAMES)])
    for name in ("a.pcap", "a.pcapng"):
        found = pcap.read(tmp_path / name, 9018)
        assert found.frames == (b"\1" * 14 + bytes(46), *FRAMES)
        assert found.name.startswith("a-")
    assert pcap.read(tmp_path / "a.pcap", 9018).name == found.name


def test_a_name_fits_a_case(tmp_path: Path) -> None:
    """Which lists its parameters with commas."""
    write(tmp_path / "a=b, c.pcap", *FRAMES)
    assert re.fullmatch(r"a_b__c-[0-9a-f]{8}", pcap.read(tmp_path / "a=b, c.pcap", 9018).name)


def test_the_name_tells_what_is_in_it(tmp_path: Path) -> None:
    write(tmp_path / "a.pcap", *FRAMES)
    before = pcap.read(tmp_path / "a.pcap", 9018)
    write(tmp_path / "a.pcap", *FRAMES[:-1])
    assert pcap.read(tmp_path / "a.pcap", 9018).name != before.name


def test_what_cannot_be_replayed(tmp_path: Path) -> None:
    file = tmp_path / "x.pcap"

    def refused(why: str) -> None:
        with pytest.raises(InputError, match=why):
            pcap.read(file, 1518)

    refused("x.pcap: No such file")
    file.write_bytes(b"what")
    refused("x.pcap: no pcap file")
    write(file)
    refused("x.pcap: (holds no frame|no pcap file)")
    write(file, bytes(60), bytes(1515))
    refused("frame 2 has 1519 bytes with FCS; the vSwitch, the first hop, carries 1518")
    write(file, *[bytes(60)] * (pcap.MOST + 1))
    refused("more than 4,096 frames")
    write(file, bytes(60), linktype=101)
    refused("its link type is 101, not Ethernet")
    with PcapWriter(str(file), linktype=1) as writer:
        writer.write_header(None)
        writer.write_packet(bytes(60), wirelen=1514, caplen=60)
    refused("frame 1 was captured with 60 of its 1514 bytes only")


def test_who_cannot_says_so() -> None:
    assert Capabilities().lacks(REPLAY) == "cannot replay frames"
    assert Capabilities(replay=True, max_burst_frames=7).lacks(REPLAY) is None
    assert REPLAY.parameters == {"burst": 7, "pcap": "six"}
    assert REPLAY.mean_bytes(64) == sum(LENGTHS) / len(LENGTHS) + 4


def wrong(counts: DirectionCounts) -> dict[str, int]:
    names = ("refused", "lost", "duplicated", "reordered", "corrupted", "foreign")
    return {name: getattr(counts, name) for name in names if getattr(counts, name)}


def outcome(fault: Fault, sockets: Sequence[Path], connect: Connect) -> list[dict[str, int]]:
    with Server(sockets, fault), connect() as generator:
        counts = run_trial(generator, OFFER)
    assert [(c.intended, c.sent, c.latency) for c in counts] == [(EACH, EACH, None)] * 2
    return [wrong(direction) for direction in counts]


def test_every_frame_in_turn(sockets: list[Path], connect: Connect) -> None:
    seen: dict[int, list[bytes]] = {0: [], 1: []}

    def see(port: int, number: int, frame: bytes) -> list[bytes]:
        seen[port].append(frame)
        return [frame]

    assert outcome(see, sockets, connect) == [{}, {}]
    for port in (0, 1):
        assert seen[port] == list(itertools.islice(itertools.cycle(FRAMES), EACH))


def test_faults_are_counted_exactly(sockets: list[Path], connect: Connect) -> None:
    """Of the six frames, always the same ones are lost, repeated and changed."""

    def err(port: int, number: int, frame: bytes) -> list[bytes]:
        match number % 18 if port == 0 else -1:
            case 3:
                return []
            case 5:
                return [frame, frame]
            case 10:
                return [frame[:-1] + b"\xff"]
        return [frame]

    times = len(range(3, EACH, 18))
    assert times == len(range(5, EACH, 18)) == len(range(10, EACH, 18)) == 11
    wrong_ones = {"lost": 2 * times, "duplicated": times, "foreign": times}
    assert outcome(err, sockets, connect) == [wrong_ones, {}]


def test_a_copy_cannot_be_told_from_a_lost_frame(sockets: list[Path], connect: Connect) -> None:
    """Which is what a replay does not see: of equal bytes, as many came as were sent."""

    def swap_for_a_copy(port: int, number: int, frame: bytes) -> list[bytes]:
        return {1: [], 7: [frame, frame]}.get(number, [frame])

    assert outcome(swap_for_a_copy, sockets, connect) == [{}, {}]


def test_through_testpmd_and_as_large_as_can_be(testpmd: Loop, connect: Connect) -> None:
    """Then a plain trial, which is not disturbed by it."""
    many = tuple(number.to_bytes(2, "big") * 120 for number in range(pcap.MOST))
    replay = Profile(replay=Replayed("many", many))
    with testpmd("io"), connect() as generator:
        for offer in (Offer(20_000.0, 0.5, 244, replay), Offer(2000.0, 0.2, 64)):
            for counts in run_trial(generator, offer):
                assert counts.received == counts.sent == counts.intended
                assert wrong(counts) == {}
