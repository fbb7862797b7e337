"""The generator against a real testpmd, and its worker against everything else."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.errors import DutError, HostError, InputError
from pytest_vswitch.topologies.topology import plain_flow
from pytest_vswitch.traffic.generator import Generator, Offer
from pytest_vswitch.traffic.worker_generator import WorkerGenerator
from tests.traffic.conftest import Connect, Loop, run_trial
from tests.traffic.crossed import Crossed

SLOW = Offer(rate_pps=2000.0, duration_s=0.5, frame_bytes=64)


def swap(frame: bytes) -> bytes:
    return frame[6:12] + frame[:6] + frame[12:]


@pytest.fixture
def attached(testpmd: Loop, connect: Connect) -> Iterator[WorkerGenerator]:
    with testpmd("macswap"), connect(swap) as generator:
        yield generator


def test_trials_and_exchanges(attached: WorkerGenerator) -> None:
    """One connection serves exchanges and trials of all frame sizes, in any order."""
    generator: Generator = attached
    assert not generator.simulated
    assert re.match(
        r"pytest-vswitch memif \S+ on a shared CPU, ring 1024, numpy \d", generator.description
    )
    assert [peer.split()[0] for peer in attached.peers] == ["DPDK", "DPDK"]

    frame = bytes(range(100))
    assert generator.exchange({0: [frame]}, wait_s=30.0) == {0: [], 1: [swap(frame)]}
    for size in (64, 65, 256, 1518, 64):
        counts = run_trial(generator, Offer(2000.0, 0.2, size))
        for direction, port in zip(counts, (0, 1), strict=True):
            assert (direction.tx_port, direction.rx_port) == (port, 1 - port)
            assert direction.intended == direction.sent == direction.received == 200
            assert direction.duplicated == direction.reordered == direction.corrupted == 0
            assert direction.foreign == direction.refused == direction.lost == 0
            latency = direction.latency
            assert latency is not None
            assert latency.samples == 200
            order = [latency.min_us, latency.p50_us, latency.p90_us, latency.p99_us]
            order += [latency.p999_us, latency.max_us]
            assert order == sorted(order)
            assert order[0] > 0
    both = generator.exchange({0: [frame] * 3, 1: [frame]}, wait_s=30.0)
    assert both == {0: [swap(frame)], 1: [swap(frame)] * 3}


def test_odd_counts_are_split_exactly(attached: WorkerGenerator) -> None:
    counts = run_trial(attached, Offer(rate_pps=2001.0, duration_s=0.333, frame_bytes=64))
    assert sum(c.intended for c in counts) == round(2001 * 0.333)
    assert abs(counts[0].intended - counts[1].intended) <= 1


def test_fast_trial_reconciles(attached: WorkerGenerator) -> None:
    """More than this machine can do: whatever happens, every frame is accounted for."""
    for direction in run_trial(attached, Offer(rate_pps=100e6, duration_s=0.5, frame_bytes=64)):
        assert direction.intended == 25_000_000
        assert direction.sent < direction.intended
        assert 0 <= direction.refused <= direction.sent
        assert 0 < direction.received <= direction.sent - direction.refused
        assert direction.duplicated == direction.reordered == direction.corrupted == 0
        assert direction.foreign == 0


def test_abort_leaves_no_trace(attached: WorkerGenerator) -> None:
    attached.start(Offer(rate_pps=50_000.0, duration_s=600.0, frame_bytes=64))
    assert attached.poll(0.2) is None
    attached.abort()
    attached.abort()
    for direction in run_trial(attached, SLOW):
        assert direction.received == direction.intended == 500
        assert direction.foreign == 0


def test_a_new_trial_ends_the_old(attached: WorkerGenerator) -> None:
    attached.start(Offer(rate_pps=1000.0, duration_s=600.0, frame_bytes=64))
    assert [c.received for c in run_trial(attached, SLOW)] == [500, 500]


def test_abort_after_the_end(attached: WorkerGenerator) -> None:
    attached.start(Offer(rate_pps=1000.0, duration_s=0.01, frame_bytes=64))
    time.sleep(0.3)  # the trial is over by now, most likely; both orders must do
    attached.abort()
    assert [c.received for c in run_trial(attached, SLOW)] == [500, 500]


def test_dut_that_stops_forwarding(testpmd: Loop, connect: Connect) -> None:
    """Its ring fills, then refuses: all of that is lost, and the next trial is impossible."""
    with testpmd("macswap") as program, connect(swap) as generator:
        program.write("stop\n")
        program.read_until(re.compile(r"Done\."), timeout_s=30.0, what="end of forwarding")
        counts = run_trial(generator, Offer(rate_pps=20_000.0, duration_s=0.5, frame_bytes=64))
        for direction in counts:
            assert direction.received == 0
            assert direction.refused > 0
            assert direction.sent == direction.lost == direction.refused + 1024
        generator.start(SLOW)
        with pytest.raises(DutError, match="left 1024 frames in its receive ring"):
            generator.poll(30.0)


def test_dut_dies(testpmd: Loop, connect: Connect) -> None:
    with testpmd("macswap") as program, connect(swap) as generator:
        generator.start(Offer(rate_pps=1000.0, duration_s=600.0, frame_bytes=64))
        assert generator.poll(0.1) is None
        os.kill(program.pid, signal.SIGKILL)
        with pytest.raises(DutError, match=r"the server \(DPDK .*\) closed the connection"):
            generator.poll(60.0)


def test_many_long_frames_are_exchanged(attached: WorkerGenerator) -> None:
    """As many and as long as a functional check of the longest frames sends."""
    sent = [bytes([number]) * 1514 for number in range(256)]
    back = attached.exchange({0: sent, 1: sent}, wait_s=30.0)
    assert back == {0: [swap(frame) for frame in sent], 1: [swap(frame) for frame in sent]}


def test_worker_dies(attached: WorkerGenerator) -> None:
    attached.start(Offer(rate_pps=1000.0, duration_s=600.0, frame_bytes=64))
    assert attached.poll(0.1) is None
    os.kill(attached.pid, signal.SIGKILL)
    with pytest.raises(HostError, match=r"the memif generator on local died \(exit status -9\)"):
        attached.poll(60.0)
    with pytest.raises(HostError, match="died"):
        run_trial(attached, SLOW)


def test_unusable_transforms_and_sizes(attached: WorkerGenerator) -> None:
    for size in (63, 9725):
        with pytest.raises(InputError, match=f"frame size {size}: from 64 to 9724"):
            attached.start(Offer(1000.0, 0.1, size))
    attached._way = Crossed(lambda frame: frame[:40])
    with pytest.raises(InputError, match="transform"):
        attached.start(SLOW)


def test_not_entered(connect: Connect) -> None:
    with pytest.raises(HostError, match="`with` block"):
        connect().start(SLOW)


def worker(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pytest_vswitch.traffic.worker", "memif", *arguments],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_worker_ends_with_its_input() -> None:
    """So that a killed pytest leaves no worker behind."""
    with worker() as process:
        output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "")


def test_worker_ends_with_its_input_during_a_trial(testpmd: Loop, sockets: list[Path]) -> None:
    from pytest_vswitch.traffic import frames

    frame = frames.template(plain_flow(0, 1), 64).hex()
    with testpmd("io"), worker() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ports = [{"socket": str(path), "id": 0, "secret": ""} for path in sockets]
        print(
            json.dumps({"do": "connect", "ports": ports, "ring": 1024}),
            file=process.stdin,
            flush=True,
        )
        assert json.loads(process.stdout.readline())["event"] == "connected"
        shape = {"frame": frame, "expected": frame, "stamps": [42, 42]}
        directions = [{"tx": 0, "rx": 1, "shapes": [shape], "order": [0], "flows": 1}]
        trial = {"do": "start", "directions": directions, "rate_pps": 1e3, "duration_s": 600}
        trial["burst_frames"] = 1
        print(json.dumps(trial), file=process.stdin, flush=True)
        time.sleep(0.2)  # the trial runs, or is about to
        output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "")


def test_worker_ends_on_sigterm() -> None:
    with worker() as process:
        process.terminate()
        output, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
    assert "Traceback" not in output


@pytest.mark.parametrize(
    "line",
    ["", "nonsense", "[]", "7", "null", '"x"', "{}", '{"do": "dance"}', '{"do": "start"}',
     '{"do": "connect"}', '{"do": "connect", "ports": 7, "ring": 1024}',
     '{"do": "exchange", "frames": {"0": ["zz"]}, "wait_s": 1}'],
)  # fmt: skip
def test_worker_reports_bad_input_without_a_traceback(line: str) -> None:
    with worker() as process:
        output, _ = process.communicate(f'{line}\n{{"do": "abort"}}\n', timeout=60)
    assert process.returncode == 0
    events = [json.loads(answer) for answer in output.splitlines()]
    assert events[-1] == {"event": "aborted"}
    assert [event["event"] for event in events[:-1]] == (["failed"] if line else [])


def test_worker_on_no_cpu() -> None:
    with worker("--cpu", "4000") as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output == "memif generator: cannot run on CPU 4000: Invalid argument\n"


def test_worker_imports_little() -> None:
    """It may run beside a DUT: nothing but numpy, above all not scapy or pytest."""
    code = (
        "import sys, pytest_vswitch.traffic.worker;"
        "print(sorted({'scapy', 'pytest', '_pytest', 'pydantic', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "[]\n"
