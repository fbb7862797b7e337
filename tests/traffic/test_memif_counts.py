"""Each way a DUT can err is counted exactly, and under its own name."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pytest_vswitch.errors import DutError
from pytest_vswitch.traffic.generator import DirectionCounts, Offer
from pytest_vswitch.traffic.worker_generator import WorkerGenerator
from tests.traffic.conftest import Connect, run_trial
from tests.traffic.memif_server import Fault, Server

OFFER = Offer(rate_pps=4000.0, duration_s=0.25, frame_bytes=128)
FRAMES = 500  # per direction


@contextlib.contextmanager
def against(
    fault: Fault, sockets: Sequence[Path], generator: WorkerGenerator
) -> Iterator[WorkerGenerator]:
    with Server(sockets, fault), generator:
        yield generator


def wrong(counts: DirectionCounts) -> dict[str, int]:
    """What is not as it should be."""
    names = ("refused", "lost", "duplicated", "reordered", "corrupted", "foreign")
    return {name: getattr(counts, name) for name in names if getattr(counts, name)}


def outcome(
    fault: Fault, sockets: Sequence[Path], generator: WorkerGenerator, offer: Offer = OFFER
) -> list[dict[str, int]]:
    """What is wrong in each direction of one trial."""
    with against(fault, sockets, generator):
        counts = run_trial(generator, offer)
    assert [c.sent for c in counts] == [c.intended for c in counts]
    assert sum(c.intended for c in counts) == round(offer.rate_pps * offer.duration_s)
    for direction in counts:
        assert direction.latency is not None
        assert direction.latency.samples == direction.received
    return [wrong(direction) for direction in counts]


def flip(frame: bytes, place: int) -> bytes:
    return frame[:place] + bytes([frame[place] ^ 0x10]) + frame[place + 1 :]


def test_faultless(sockets: list[Path], connect: Connect) -> None:
    assert outcome(lambda port, number, frame: [frame], sockets, connect()) == [{}, {}]


def test_lost(sockets: list[Path], connect: Connect) -> None:
    def drop(port: int, number: int, frame: bytes) -> list[bytes]:
        return [] if port == 0 and number % 10 == 3 else [frame]

    assert outcome(drop, sockets, connect()) == [{"lost": FRAMES // 10}, {}]


def test_lost_in_a_row(sockets: list[Path], connect: Connect) -> None:
    def drop(port: int, number: int, frame: bytes) -> list[bytes]:
        return [] if 100 <= number < 300 else [frame]

    assert outcome(drop, sockets, connect()) == [{"lost": 200}, {"lost": 200}]


def test_all_lost(sockets: list[Path], connect: Connect) -> None:
    with against(lambda port, number, frame: [], sockets, connect()) as generator:
        counts = run_trial(generator, OFFER)
    assert [c.lost for c in counts] == [FRAMES, FRAMES]
    assert [c.latency for c in counts] == [None, None]


def test_duplicated(sockets: list[Path], connect: Connect) -> None:
    def repeat(port: int, number: int, frame: bytes) -> list[bytes]:
        return [frame] * 3 if port == 1 and number % 100 == 0 else [frame]

    assert outcome(repeat, sockets, connect()) == [{}, {"duplicated": 10}]


def test_duplicated_much_later(sockets: list[Path], connect: Connect) -> None:
    kept: list[bytes] = []

    def repeat(port: int, number: int, frame: bytes) -> list[bytes]:
        if port == 0 and number == 5:
            kept.append(frame)
        return [kept[0], frame] if port == 0 and number in (400, 450) else [frame]

    assert outcome(repeat, sockets, connect()) == [{"duplicated": 2}, {}]


def test_reordered(sockets: list[Path], connect: Connect) -> None:
    held: list[bytes] = []

    def swap(port: int, number: int, frame: bytes) -> list[bytes]:
        if port == 1:
            return [frame]
        if number % 50 == 0:
            held.append(frame)
            return []
        return [frame, held.pop()] if held else [frame]

    assert outcome(swap, sockets, connect()) == [{"reordered": 10}, {}]


def test_reordered_by_three(sockets: list[Path], connect: Connect) -> None:
    """Frames 10, 11 and 12 come after 13: three came late, whatever their order."""
    held: list[bytes] = []

    def hold(port: int, number: int, frame: bytes) -> list[bytes]:
        if port == 0 and number in (10, 11, 12):
            held.append(frame)
            return []
        if port == 0 and number == 13:
            return [frame, *reversed(held)]
        return [frame]

    assert outcome(hold, sockets, connect()) == [{"reordered": 3}, {}]


@pytest.mark.parametrize("place", [0, 13, 41, 42, 43, 44, 51, 52, 59, 60, 123])
def test_corrupted(sockets: list[Path], connect: Connect, place: int) -> None:
    """A wrong bit anywhere: headers, stream id, sequence, time, pattern, last byte."""

    def spoil(port: int, number: int, frame: bytes) -> list[bytes]:
        return [flip(frame, place) if port == 0 and number == 77 else frame]

    offer = Offer(rate_pps=4000.0, duration_s=0.05, frame_bytes=128)
    expected = {"lost": 1, "corrupted": 1}
    assert outcome(spoil, sockets, connect(), offer) == [expected, {}]


def test_truncated_and_extended(sockets: list[Path], connect: Connect) -> None:
    lengths = {10: 123, 20: 60, 30: 44}

    def cut(port: int, number: int, frame: bytes) -> list[bytes]:
        if port == 1 and number == 40:
            return [frame + bytes(200)]
        return [frame[: lengths.get(number, 124)] if port == 1 else frame]

    assert outcome(cut, sockets, connect()) == [{}, {"lost": 4, "corrupted": 4}]


def test_every_frame_corrupted(sockets: list[Path], connect: Connect) -> None:
    """A transform that the DUT does not do, e.g. when it does not swap the addresses."""

    def swapped(frame: bytes) -> bytes:
        return frame[6:12] + frame[:6] + frame[12:]

    both = {"lost": FRAMES, "corrupted": FRAMES}
    with against(lambda port, number, frame: [frame], sockets, connect(swapped)) as generator:
        counts = run_trial(generator, OFFER)
    assert [wrong(direction) for direction in counts] == [both, both]


def test_foreign(sockets: list[Path], connect: Connect) -> None:
    others = {10: b"short", 20: bytes(60), 30: b"x" * 124, 40: b"y" * 500, 50: b""}

    def inject(port: int, number: int, frame: bytes) -> list[bytes]:
        return [others[number], frame] if port == 0 and number in others else [frame]

    assert outcome(inject, sockets, connect()) == [{"foreign": 5}, {}]


def test_to_the_wrong_port(sockets: list[Path], connect: Connect) -> None:
    """A frame that leaves where it came in is lost to its stream, foreign to the other."""
    astray: list[bytes] = []

    def confuse(port: int, number: int, frame: bytes) -> list[bytes]:
        if port == 0 and number == 100:
            astray.append(frame)
            return []
        return [frame, astray.pop()] if port == 1 and astray else [frame]

    assert outcome(confuse, sockets, connect()) == [{"lost": 1}, {"foreign": 1}]


def test_everything_at_once(sockets: list[Path], connect: Connect) -> None:
    held: list[bytes] = []

    def err(port: int, number: int, frame: bytes) -> list[bytes]:
        match number % 50 if port == 0 else -1:
            case 5:
                return []
            case 15:
                return [frame, frame]
            case 25:
                return [flip(frame, 100)]
            case 35:
                return [b"foreign" * 20, frame]
            case 45:
                held.append(frame)
                return []
            case 46:
                return [frame, held.pop()]
        return [frame]

    tens = dict.fromkeys(("duplicated", "reordered", "corrupted", "foreign"), 10)
    assert outcome(err, sockets, connect()) == [{"lost": 20, **tens}, {}]


def test_late_frames_are_not_the_next_trials(sockets: list[Path], connect: Connect) -> None:
    """Frames of one trial that arrive during the next are foreign there."""
    held: list[bytes] = []

    def keep(port: int, number: int, frame: bytes) -> list[bytes]:
        if port == 0 and number < 7:
            held.append(frame)
            return []
        if port == 0 and number == FRAMES + 100:
            return [frame, *held]
        return [frame]

    with against(keep, sockets, connect()) as generator:
        first = run_trial(generator, OFFER)
        second = run_trial(generator, OFFER)
    assert [wrong(c) for c in first] == [{"lost": 7}, {}]
    assert [wrong(c) for c in second] == [{"foreign": 7}, {}]


def test_exchange_returns_what_came(sockets: list[Path], connect: Connect) -> None:
    frames = [b"a" * 60, b"b" * 1514, b"c" * 5000]
    with against(lambda port, number, frame: [frame[::-1]], sockets, connect()) as generator:
        assert generator.exchange({0: frames, 1: frames[:1]}, wait_s=30.0) == {
            0: [b"a" * 60],
            1: frames,
        }
        counts = run_trial(generator, OFFER)
        assert all(c.corrupted == FRAMES or c.foreign == FRAMES for c in counts)


def test_exchange_ends_without_an_answer(sockets: list[Path], connect: Connect) -> None:
    with against(lambda port, number, frame: [], sockets, connect()) as generator:
        assert generator.exchange({0: [bytes(60)]}, wait_s=0.1) == {0: [], 1: []}


def test_server_dies_during_a_trial(sockets: list[Path], connect: Connect) -> None:
    with Server(sockets, lambda port, number, frame: [frame]) as server, connect() as generator:
        generator.start(Offer(rate_pps=2000.0, duration_s=600.0, frame_bytes=64))
        assert generator.poll(0.1) is None
        server.die()
        with pytest.raises(DutError, match=r"memif[01].*errs on purpose.*closed the connection"):
            generator.poll(60.0)
        generator.abort()  # nothing runs any more: nothing happens
        generator.start(OFFER)
        with pytest.raises(DutError, match="closed the connection"):
            generator.poll(60.0)


def test_a_straggler_is_found_by_a_recount(sockets: list[Path], connect: Connect) -> None:
    """The DUT sits on the very last frame until the trial has been counted."""
    release = threading.Event()
    seen = itertools.count(1)

    def hold(port: int, number: int, frame: bytes) -> list[bytes]:
        if next(seen) == 2 * FRAMES:
            release.wait(timeout=30)
        return [frame]

    with against(hold, sockets, connect()) as generator:
        assert sum(c.lost for c in run_trial(generator, OFFER)) == 1
        release.set()
        deadline = time.monotonic() + 30
        while sum(c.lost for c in generator.recount()):
            assert time.monotonic() < deadline, "the released frame never came"
