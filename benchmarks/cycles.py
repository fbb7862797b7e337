"""What it costs testpmd to record the cycles of its cores.

    python -m benchmarks.cycles [--rounds 6] [--round 1.0] [--json]

A testpmd forwards between two ports that make frames of nothing (`net_null`), in turn with and
without `record-core-cycles`, in bursts of 32 frames and of one: two clock readings a burst. What
counts is CPU time of its forwarding thread over its frames, so other programs of the machine do
little harm. Wants dpdk-testpmd; no root, no hugepages.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from pytest_vswitch.apps.testpmd import Testpmd, parse_counters
from pytest_vswitch.hosts.host import Process
from pytest_vswitch.hosts.opening import open_address

ARGV = (
    *("stdbuf", "-oL", "dpdk-testpmd", "--lcores", "0@0,1@1", "-n", "1"),
    *("--file-prefix", "cycles-benchmark", "--no-huge", "-m", "128", "--no-pci"),
    *("--vdev", "net_null0", "--vdev", "net_null1"),
    *("--", "-i", "--total-num-mbufs=4096", "--forward-mode=io", "--nb-cores=1"),
)
BURSTS = (32, 1)


def cpu_ns(process: Process) -> int:
    """CPU time of the forwarding thread until now."""
    for task in Path(f"/proc/{_testpmd(process.pid)}/task").iterdir():
        if "worker" in (task / "comm").read_text():  # `lcore-worker-1`, later `dpdk-worker1`
            return int((task / "schedstat").read_text().split()[0])
    raise SystemExit("testpmd has no forwarding thread")


def _testpmd(pid: int) -> int:
    """The process itself, or its child that is testpmd."""
    while not Path(f"/proc/{pid}/comm").read_text().startswith("dpdk-testpmd"):
        pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    return pid


def per_frame_ns(process: Process, testpmd: Testpmd, recording: str, round_s: float) -> float:
    testpmd.command(f"set record-core-cycles {recording}")
    testpmd.start()
    began, before = cpu_ns(process), _frames(testpmd)
    # The frames of a time are what is measured here, and no fact is waited for.
    time.sleep(round_s)
    used, passed = cpu_ns(process) - began, _frames(testpmd) - before
    testpmd.stop()
    return used / passed


def _frames(testpmd: Testpmd) -> int:
    return sum(port.rx_packets for port in parse_counters(testpmd.statistics()).values())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--round", type=float, default=1.0, help="[s]")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = []
    with open_address("local") as host, host.spawn(ARGV, name="testpmd", stop_with="quit\n") as run:
        testpmd = Testpmd(run)
        for burst in BURSTS:
            testpmd.command(f"set burst {burst}")
            found: dict[str, list[float]] = {"off": [], "on": []}
            for number in range(2 * arguments.rounds):
                recording = ("off", "on", "on", "off")[number % 4]
                found[recording].append(per_frame_ns(run, testpmd, recording, arguments.round))
            off, on = (statistics.median(found[name]) for name in ("off", "on"))
            rows.append({"burst": burst, "off_ns": off, "on_ns": on, "cost_ns": on - off})
            print(f"bursts of {burst:2}: {off:6.2f} ns a frame without, {on:6.2f} ns with")
    if arguments.json:
        print(json.dumps(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
