"""Delays that are known, measured by real generators; stalls of DUT and of generator."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.traffic.generator import DirectionCounts, Latency, Offer
from pytest_vswitch.traffic.latency import Histogram
from tests.traffic.conftest import run_trial
from tests.traffic.delayer import STALL_AFTER
from tests.traffic.wires import Wires, attached, program, wires

DELAY_US = 400_000
STALL_US = 100_000
ATTEMPTS = 6
"""Another process may have the generator's core for longer than the error allows."""

Tell = Callable[[str], Sequence[Sequence[int]]]


@pytest.fixture
def where() -> Iterator[Wires]:
    with wires() as made:
        yield made


@contextlib.contextmanager
def delayer(where: Wires, delay_us: float) -> Iterator[Tell]:
    """Gives what each frame really took, by the port it came to; see delayer.py."""
    script = Path(__file__).with_name("delayer.py")
    with program(where.dut, str(script), str(delay_us / 1e3), "d0", "d1") as running:

        def tell(line: str = "") -> Sequence[Sequence[int]]:
            assert running.stdin is not None
            assert running.stdout is not None
            running.stdin.write(line.encode() + b"\n")
            running.stdin.flush()
            told: list[list[int]] = json.loads(running.stdout.readline())
            return told

        yield tell


def latency(direction: DirectionCounts) -> Latency:
    assert direction.latency is not None
    assert direction.lost == direction.corrupted == direction.foreign == 0
    return direction.latency


def off(seen: Latency, took_ns: Sequence[int]) -> tuple[float, float]:
    """How far median and 99.9th percentile are from the truth, as part of it."""
    p50, p999 = (np.percentile(took_ns, p, method="inverted_cdf") / 1e3 for p in (50, 99.9))
    return abs(seen.p50_us / float(p50) - 1), abs(seen.p999_us / float(p999) - 1)


def test_a_known_delay(host: LocalHost, where: Wires) -> None:
    """No frame may seem faster; 1 % at the median, 5 % at the 99.9th percentile."""
    seen: list[tuple[float, float]] = []
    with delayer(where, DELAY_US) as tell, attached(host, where) as generator:
        for _ in range(ATTEMPTS):
            tell("")
            counts = run_trial(generator, Offer(4000.0, 1.0, 128))
            for direction, took_ns in zip(counts, tell(""), strict=True):
                found = latency(direction)
                assert found.samples == len(took_ns) == 2000
                assert found.min_us >= DELAY_US
                assert found.pdv_p999_us == found.p999_us - found.min_us
                seen.append(off(found, took_ns))
            if all(p50 <= 0.01 and p999 <= 0.05 for p50, p999 in seen[-2:]):
                return
    raise AssertionError(f"off by (p50, p99.9): {seen}")


def test_a_stall_of_the_dut(host: LocalHost, where: Wires) -> None:
    """A tenth of the frames meet it, the first of them the whole of it."""
    with delayer(where, 1000) as tell, attached(host, where) as generator:
        tell(f"stall {STALL_US / 1e3}")
        counts = run_trial(generator, Offer(2000.0, 1.0, 128))
        assert min(map(len, tell(""))) == 1000 > STALL_AFTER
    for direction in counts:
        stalled_percentiles(latency(direction), 1000)


def test_a_stall_of_the_generator(host: LocalHost, where: Wires) -> None:
    """Its process is stopped: nobody sends, and nobody sees what arrives."""
    with delayer(where, 1000) as tell, attached(host, where) as generator:
        tell("")
        generator.start(Offer(2000.0, 1.0, 128))
        taken = [0, 0]
        while min(taken) < 200:
            assert generator.poll(0.01) is None
            taken = [sum(counts) for counts in zip(taken, map(len, tell("")), strict=True)]
        os.kill(generator.pid, signal.SIGSTOP)
        try:
            end = time.monotonic() + STALL_US / 1e6
            while time.monotonic() < end:
                time.sleep(0.001)
        finally:
            os.kill(generator.pid, signal.SIGCONT)
        counts = generator.poll(60.0)
        assert counts is not None
        taken = [sum(counts) for counts in zip(taken, map(len, tell("")), strict=True)]
    for direction, sent in zip(counts, taken, strict=True):
        found = latency(direction)
        assert (direction.sent, direction.received) == (sent, sent)
        assert found.late >= 80
        stalled_percentiles(found, 1000)


def stalled_percentiles(found: Latency, delay_us: float) -> None:
    """A tenth of a second of one: what came due in it has waited for the rest of it."""
    assert found.samples == 1000
    assert found.min_us >= delay_us
    histogram = Histogram.decode(found.histogram)
    for percent in (92, 95, 97, 99):
        waited_us = (percent - 90) / 10 * STALL_US
        # Other programs may make it longer, nothing can make it shorter: but for one frame
        # more or less in it, and for what the generator counts as on time.
        assert histogram.percentile_us(percent) > 0.95 * waited_us - 2000
    assert found.max_us > 0.97 * STALL_US
    assert found.ipdv_max_us is not None
    assert found.ipdv_max_us > 0.9 * STALL_US
