"""The simulated generator: virtual time, honest counts, faults on purpose."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_vswitch.topologies.sim import DutFaults, SimulatedDut
from pytest_vswitch.traffic.generator import DirectionCounts, Generator, Offer
from pytest_vswitch.traffic.sim import SimulatedGenerator


def trial(generator: Generator, rate_pps: float, duration_s: float) -> Sequence[DirectionCounts]:
    generator.start(Offer(rate_pps, duration_s, 64))
    counts = generator.poll(0.2)
    assert counts is not None
    return counts


def test_a_trial_takes_virtual_time_only() -> None:
    dut = SimulatedDut()
    counts = trial(SimulatedGenerator(dut), 1e6, 3600.0)
    assert dut.clock_s == 3600.0
    assert sum(direction.sent for direction in counts) == 3_600_000_000
    assert all(direction.lost == 0 for direction in counts)


def test_it_says_that_it_is_simulated() -> None:
    generator = SimulatedGenerator(SimulatedDut())
    assert generator.simulated
    assert "simulated" in generator.description


def test_directions_are_each_others_peers() -> None:
    counts = trial(SimulatedGenerator(SimulatedDut()), 1e6, 1.0)
    assert [(direction.tx_port, direction.rx_port) for direction in counts] == [(0, 1), (1, 0)]


def test_a_slow_generator_sends_less_than_intended_and_calls_it_no_loss() -> None:
    counts = trial(SimulatedGenerator(SimulatedDut(), max_pps=1000), 4000, 1.0)
    assert [(d.intended, d.sent, d.lost) for d in counts] == [(2000, 500, 0)] * 2


def test_a_glitch_now_and_then() -> None:
    generator = SimulatedGenerator(SimulatedDut(), glitch_one_in=4)
    short = sum(trial(generator, 1e5, 1.0)[0].sent < 50_000 for _ in range(400))
    assert 60 <= short <= 140


def test_latency_rises_with_load_and_is_ordered() -> None:
    dut = SimulatedDut()
    generator = SimulatedGenerator(dut)
    low, high = (
        trial(generator, part * dut.model.capacity_pps(64), 1.0)[0].latency for part in (0.1, 0.95)
    )
    assert low is not None
    assert high is not None
    assert low.min_us < low.p50_us < low.p99_us < low.max_us
    assert high.p50_us > low.p50_us


def test_nothing_received_has_no_latency() -> None:
    generator = SimulatedGenerator(SimulatedDut(faults=DutFaults(deaf_for=1)))
    assert [direction.latency for direction in trial(generator, 1e5, 1.0)] == [None, None]


def test_corrupted_frames_are_lost_and_counted_apart() -> None:
    generator = SimulatedGenerator(SimulatedDut(faults=DutFaults(corrupt_one_in=1000)))
    counts = trial(generator, 1e5, 1.0)
    assert [(d.corrupted, d.lost) for d in counts] == [(50, 50)] * 2


def test_exchange_gives_back_transformed_frames_at_the_peer() -> None:
    dut = SimulatedDut()
    frame = bytes(range(60))
    assert SimulatedGenerator(dut).exchange({0: [frame]}, wait_s=1) == {
        0: [],
        1: [frame[6:12] + frame[:6] + frame[12:]],
    }


def test_poll_without_a_trial_is_a_bug_of_the_caller() -> None:
    generator = SimulatedGenerator(SimulatedDut())
    generator.start(Offer(1000, 1.0, 64))
    generator.abort()
    with pytest.raises(RuntimeError, match="start"):
        generator.poll(0.2)
