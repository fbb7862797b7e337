"""A trial that outlives its memif server: what is due meanwhile is refused, what lay there lost."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pytest_vswitch.errors import DutError
from pytest_vswitch.traffic.generator import DirectionCounts, Offer
from pytest_vswitch.traffic.worker_generator import WorkerGenerator
from tests.traffic.conftest import DEADLINE_S, Connect, run_trial
from tests.traffic.memif_server import Server

RATE_PPS = 4000.0
"""So slow that a ring of 1,024 frames is not full within a second's half."""


def echo(port: int, number: int, frame: bytes) -> list[bytes]:
    del port, number
    return [frame]


def wait_for(server: Server, frames: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while min(server.seen) < frames:
        assert time.monotonic() < deadline, server.seen
        time.sleep(0.01)


def end(generator: WorkerGenerator) -> list[DirectionCounts]:
    generator.finish()
    counts = generator.poll(DEADLINE_S)
    assert counts is not None
    return list(counts)


def test_a_trial_goes_on_with_the_next_server(sockets: list[Path], connect: Connect) -> None:
    with Server(sockets, echo) as first, connect() as generator:
        generator.start(Offer(RATE_PPS, 600.0, 128, patient=True))
        wait_for(first, 100)
        first.die()
        gone = time.monotonic()
        for path in sockets:
            path.unlink()
        assert generator.poll(1.0) is None
        with Server(sockets, echo) as second:
            away_s = time.monotonic() - gone
            wait_for(second, 100)
            counts = end(generator)
            for port, direction in enumerate(counts):
                # All that either server took came back, and nothing else.
                taken = first.seen[port] + second.seen[port]
                assert direction.received == taken
                assert direction.duplicated == direction.corrupted == direction.foreign == 0
                assert direction.refused > 0
                assert direction.lost >= direction.refused
                assert direction.silences[0].length_ms >= 1e3 * away_s * 0.99
            # It is connected as it was before.
            for direction in run_trial(generator, Offer(RATE_PPS, 0.25, 128)):
                assert direction.received == direction.intended == 500


def test_a_server_that_does_not_come_back_is_named(sockets: list[Path], connect: Connect) -> None:
    with Server(sockets, echo) as server, connect() as generator:
        generator.start(Offer(RATE_PPS, 600.0, 128, patient=True))
        wait_for(server, 100)
        server.die()
        generator.finish()
        with pytest.raises(DutError, match=r"memif0: no server answers there any more"):
            generator.poll(DEADLINE_S)


def test_without_patience_the_trial_ends(sockets: list[Path], connect: Connect) -> None:
    with Server(sockets, echo) as server, connect() as generator:
        generator.start(Offer(RATE_PPS, 600.0, 128))
        wait_for(server, 100)
        server.die()
        with pytest.raises(DutError, match="it died"):
            generator.poll(DEADLINE_S)
