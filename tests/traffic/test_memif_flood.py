"""A port that floods its frames to several memif servers, against real testpmds."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.host import Process
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.topologies.topology import MemifPort
from pytest_vswitch.traffic.generator import Offer
from pytest_vswitch.traffic.memif.generator import on_sockets
from pytest_vswitch.traffic.worker_generator import WorkerGenerator
from tests.traffic.conftest import DEADLINE_S, run_trial
from tests.traffic.crossed import Crossed

SLOW = Offer(rate_pps=2000.0, duration_s=0.5, frame_bytes=64)


@pytest.fixture
def places(host: LocalHost) -> Iterator[Sequence[Process]]:
    """Two testpmds, each forwarding between two memif servers."""
    with contextlib.ExitStack() as stack:
        programs: list[Process] = []
        for place in "ab":
            prefix = f"{Path(host.scratch).name}-{place}"
            stack.callback(shutil.rmtree, f"/var/run/dpdk/{prefix}", ignore_errors=True)
            argv = ["stdbuf", "-oL", "dpdk-testpmd", "--lcores", "0@(0,1),1@(0,1)", "-n", "1"]
            argv += ["--no-pci", "--no-huge", "--no-shconf", "-m", "128", "--file-prefix", prefix]
            for number in range(2):
                socket = f"{host.scratch}/{place}{number}"
                options = f"role=server,id=0,socket={socket},socket-abstract=no"
                argv += ["--vdev", f"net_memif{number},{options}"]
            argv += ["--", "-i", "--total-num-mbufs=8192", "--forward-mode=io", "--auto-start"]
            program = stack.enter_context(host.spawn(argv, name=f"testpmd {place}"))
            prompt = re.compile("testpmd> ")
            program.read_until(prompt, timeout_s=DEADLINE_S, what="a prompt")
            programs.append(program)
        yield programs


@pytest.fixture
def flooding(host: LocalHost, places: Sequence[Process]) -> Iterator[WorkerGenerator]:
    del places  # they run
    ports = [
        MemifPort(f"memif{n}", f"{host.scratch}/a{n}", 10e9, also=(f"{host.scratch}/b{n}",))
        for n in range(2)
    ]
    with on_sockets(host, ports, Crossed()) as generator:
        yield generator


def freeze(program: Process) -> None:
    """Stop every thread of it; the signal alone stops the others when one of them sees it."""
    program.signal(signal.SIGSTOP)
    threads = Path(f"/proc/{program.pid}/task")
    deadline = time.monotonic() + DEADLINE_S
    while any(") T " not in (thread / "stat").read_text() for thread in threads.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_every_server_gets_every_frame(flooding: WorkerGenerator) -> None:
    """Verify: what both return is received once and once doubled, in any order of frame sizes."""
    for offer in (SLOW, Offer(2000.0, 0.3, 1518), SLOW):
        for direction in run_trial(flooding, offer):
            assert direction.sent == direction.intended
            assert direction.received == direction.sent
            # It does not wait for what it has already.
            assert 0 < direction.duplicated <= direction.sent
            assert direction.refused == direction.corrupted == direction.foreign == 0
    frames = [bytes([number]) * 100 for number in range(20)]
    back = flooding.exchange({0: frames}, wait_s=10.0)
    assert sorted(set(back[1])) == frames


def test_an_exchange_ends_when_every_server_has_its_frames(
    flooding: WorkerGenerator, places: Sequence[Process]
) -> None:
    """Steps: freeze one server for a while; the other returns all frames meanwhile.

    Verify: the exchange has waited for the frozen one, whose counters can be read now.
    """
    freeze(places[1])
    thawed = threading.Event()

    def thaw() -> None:
        thawed.set()
        places[1].signal(signal.SIGCONT)

    later = threading.Timer(1.0, thaw)
    later.start()
    flooding.exchange({0: [bytes([number]) * 100 for number in range(20)]}, wait_s=DEADLINE_S)
    waited = thawed.is_set()
    later.join()
    assert waited
    places[1].write("show port stats 0\n")
    places[1].read_until(re.compile(r"RX-packets: 20 "), timeout_s=DEADLINE_S, what="20 frames")


def test_a_server_that_dies_is_left_out(
    flooding: WorkerGenerator, places: Sequence[Process]
) -> None:
    """Verify: the trial goes on with the other; only when that dies, too, it is an error."""
    flooding.start(Offer(2000.0, 60.0, 64))
    assert flooding.poll(0.3) is None
    places[1].signal(9)
    assert places[1].status(within_s=10.0) is not None
    assert flooding.poll(1.0) is None
    flooding.finish()
    counts = flooding.poll(DEADLINE_S)
    assert counts is not None
    for direction in counts:
        assert direction.received == direction.sent == direction.intended
        assert 0 < direction.duplicated < direction.received
    for direction in run_trial(flooding, SLOW):
        assert direction.received == direction.sent
        assert direction.duplicated == 0
    places[0].signal(9)
    assert places[0].status(within_s=10.0) is not None
    with pytest.raises(DutError, match="memif"):
        run_trial(flooding, SLOW)


def test_a_trial_that_is_finished_early(flooding: WorkerGenerator) -> None:
    """Verify: it ends at once, and only what was due by then is `intended`."""
    flooding.start(Offer(1000.0, 600.0, 64))
    assert flooding.poll(0.3) is None
    flooding.finish()
    counts = flooding.poll(DEADLINE_S)
    assert counts is not None
    for direction in counts:
        assert 0 < direction.intended == direction.sent == direction.received < 300_000
    flooding.finish()  # nothing is under way: nothing happens
    assert [c.received for c in run_trial(flooding, SLOW)] == [500, 500]


def test_silences_are_told(flooding: WorkerGenerator, places: Sequence[Process]) -> None:
    """Steps: freeze both servers for a while.

    Verify: the longest silence of each direction is that one, at the right time.
    """
    flooding.start(Offer(1000.0, 600.0, 64))
    assert flooding.poll(0.5) is None
    frozen_s = time.time()
    for place in places:
        freeze(place)
    assert flooding.poll(1.0) is None
    thawed_s = time.time()
    for place in places:
        place.signal(signal.SIGCONT)
    assert flooding.poll(0.5) is None
    flooding.finish()
    counts = flooding.poll(DEADLINE_S)
    assert counts is not None
    for direction in counts:
        longest = direction.silences[0]
        assert longest.length_ms > 900
        assert longest.began_s < thawed_s
        assert longest.ended_s > frozen_s
        lengths = [silence.length_ms for silence in direction.silences]
        assert lengths == sorted(lengths, reverse=True)
        assert len(lengths) <= 8
