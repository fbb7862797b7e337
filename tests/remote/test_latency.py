"""What a trial measures is the host's own affair: the way to the controller has no part in it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pytest_vswitch.hosts.open_host import OpenHost
from pytest_vswitch.topologies.topology import MemifPort
from pytest_vswitch.traffic.generator import DirectionCounts, Offer
from pytest_vswitch.traffic.memif.generator import on_sockets
from tests.machines.machine import Machine
from tests.remote.door import opened
from tests.traffic import memif_server
from tests.traffic.conftest import run_trial
from tests.traffic.crossed import Crossed

ROUND_TRIP_S = 0.05

FORWARDER = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from memif_server import Server

times = [0.0, 0.0]

def forward(port, number, frame):
    times[1] = time.monotonic()
    times[0] = times[0] or times[1]
    return [frame]

with Server([Path(sys.argv[1], f"memif{port}") for port in range(2)], forward):
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps({"span_s": times[1] - times[0]}), flush=True)
        times[:] = 0.0, 0.0
"""
"""Forwards between two ports on the host; asked, says how long the last frames took to come."""


def trials(host: OpenHost, dut: Machine, offer: Offer) -> list[tuple[float, list[DirectionCounts]]]:
    """The same trial without and with a long way to the host; seconds as seen from there."""
    place = host.scratch
    host.write_bytes(f"{place}/memif_server.py", Path(memif_server.__file__).read_bytes())
    found = []
    with host.spawn(["python3", "-c", FORWARDER, place], name="forwarder") as forwarder:
        forwarder.read_until(re.compile("ready\n"), timeout_s=60, what="start")
        ports = [MemifPort(f"memif{port}", f"{place}/memif{port}", 10e9) for port in range(2)]
        with on_sockets(host, ports, Crossed()) as generator:
            for round_trip_s in (0.0, ROUND_TRIP_S):
                dut.cable.delay(round_trip_s)
                counts = run_trial(generator, offer)
                forwarder.write("\n")
                said = forwarder.read_until(re.compile(r"\{.*\}\n"), timeout_s=60, what="times")
                found.append((json.loads(said[said.index("{") :])["span_s"], counts))
            dut.cable.heal()
    return found


@pytest.mark.parametrize("rate_pps", [200.0, 4000.0])
def test_a_trial_does_not_see_the_network(dut: Machine, rate_pps: float) -> None:
    """As many frames, and back long before the network would have them."""
    offer = Offer(rate_pps=rate_pps, duration_s=1.0, frame_bytes=64)
    with opened(dut) as host:
        near, far = trials(host, dut, offer)
    for span_s, counts in (near, far):
        for direction in counts:
            assert direction.intended == direction.sent == direction.received == rate_pps / 2
            assert direction.latency is not None
            assert direction.latency.p50_us < ROUND_TRIP_S * 1e6 / 4
        # From the first frame to the last: a trial is not shorter than was asked for.
        assert span_s > 0.9 * offer.duration_s
