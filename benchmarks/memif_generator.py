"""How fast the memif generator is: on one core, through testpmd's `io` loop on the other.

    python benchmarks/memif_generator.py [--json] [--runs 5] [--seconds 2] [--only-profiles]

First, what flows and sizes cost, in interleaved runs over the same loop: one flow of 64-byte
frames, a million flows of them, the simple IMIX (64, 594, 1518 bytes, 7:4:1), and both. As a
mix has frames of 362 bytes on the mean, one flow of 362-byte frames stands beside it. Frames
are carried by testpmd, which copies each twice: its share grows with the size, too.

Then compared, in interleaved runs over the same loop, 64-byte frames, both ports, both
directions, as frames that came back (and, for ours, were right in every byte):

- the generator, every frame stamped and checked, latency on; the same, latency off;
- testpmd's own `flowgen` (DPDK in C, checks nothing) on the generator's core;
- scapy building and dissecting every frame, over this generator's memif ring.

Then: what is lost at a tenth of the rate reached, over ten seconds. That depends on the
ring: on a machine that takes the CPU away for 8 ms now and then, one of 1,024 frames
overflows at 1 Mpps per direction after 1 ms, one of 16,384 after 16 ms. Both are shown.

What limits the generator: the price of calling numpy. Sending a batch takes some six
calls and checking one some fourteen, at 0.3 to 1 µs each, whatever its length; with
half a ring per batch, sending a frame costs 6 ns and checking it 12 ns, of which the
latency takes 1 ns. The memory hardly counts, for a ring of minimal frames is 64 KiB,
lies in the L2 cache, and is read in order. The rest is waiting for testpmd: at this
rate the loop's core is as busy as the generator's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

from pytest_vswitch.topologies.topology import plain_flow
from pytest_vswitch.traffic import frames, imix
from pytest_vswitch.traffic.engine import Direction, Engine
from pytest_vswitch.traffic.memif.port import MemifPort
from pytest_vswitch.traffic.pattern import Shape
from pytest_vswitch.traffic.profile import PLAIN, Profile

FRAME_BYTES = 64
MEAN_BYTES = 362
PROFILES = {
    "one flow": Profile(),
    "one flow, 362 bytes": Profile(sizes=(MEAN_BYTES,)),
    "million flows": Profile(flows=1_000_000),
    "IMIX": Profile(sizes=imix.SIMPLE),
    "IMIX, million flows": Profile(sizes=imix.SIMPLE, flows=1_000_000),
}
GENERATOR_CPU, LOOP_CPU = 0, 1


class Testpmd:
    """A testpmd whose two lcores share one CPU, so that only forwarding uses it."""

    def __init__(self, directory: Path, cpu: int, role: str, mode: str) -> None:
        self.directory = directory
        prefix = f"{directory.name}-{mode}"
        self._run = Path("/var/run/dpdk") / prefix
        # Line by line, or its answers would come after the next prompts.
        argv = ["stdbuf", "-oL", "dpdk-testpmd", "--lcores", f"0@{cpu},1@{cpu}", "-n", "1"]
        argv += ["--no-pci", "--no-huge", "--no-shconf", "-m", "512", "--file-prefix", prefix]
        for port in range(2):
            options = f"role={role},id=0,socket={directory}/memif{port},socket-abstract=no"
            argv += ["--vdev", f"net_memif{port},{options}"]
        argv += ["--", "-i", "--total-num-mbufs=16384", f"--forward-mode={mode}"]
        self._child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._ask("")

    def tell(self, command: str) -> str:
        """Its answer to a command, up to the next prompt."""
        assert self._child.stdin is not None
        self._child.stdin.write(command + "\n")
        self._child.stdin.flush()
        return self._ask(command)

    def received_pps(self, seconds: float) -> float:
        """Frames that its ports receive per second, by its own clock."""
        self.tell("show port stats all")
        time.sleep(seconds)
        rates = re.findall(r"Rx-pps:\s+(\d+)", self.tell("show port stats all"))
        return float(sum(map(int, rates)))

    def stop(self) -> None:
        self._child.kill()
        self._child.wait()
        shutil.rmtree(self._run, ignore_errors=True)

    def _ask(self, command: str) -> str:
        assert self._child.stdout is not None
        text = ""
        while not text.endswith("testpmd> "):
            character = self._child.stdout.read(1)
            if not character:
                sys.exit(f"testpmd ended at {command!r}:\n{text}")
            text += character
        return text


@contextmanager
def testpmd(directory: Path, cpu: int, role: str, mode: str) -> Iterator[Testpmd]:
    program = Testpmd(directory, cpu, role, mode)
    try:
        yield program
    finally:
        program.stop()


@contextmanager
def forwarding(loop: Testpmd) -> Iterator[None]:
    """Around all traffic: testpmd 22.11 may crash if a peer disconnects while it forwards."""
    loop.tell("start")
    try:
        yield
    finally:
        loop.tell("stop")


@contextmanager
def connected(loop: Testpmd, ring_size: int) -> Iterator[Engine]:
    ports = []
    try:
        for number in range(2):
            socket = str(loop.directory / f"memif{number}")
            ports.append(MemifPort(socket, interface_id=0, secret="", ring_size=ring_size))
            ports[-1].connect(10)
        with forwarding(loop):
            yield Engine(ports, spin=True, watch=lambda: None)
    finally:
        for port in ports:
            port.close()


def directions(profile: Profile = PLAIN) -> list[Direction]:
    both = []
    order = profile.sizes_or(FRAME_BYTES)
    sizes = sorted(set(order))
    for tx, rx in ((0, 1), (1, 0)):
        shapes = []
        for size in sizes:
            frame = frames.template(plain_flow(tx, rx), size)
            place = frames.stamp_offset(frame)
            shapes.append(Shape(frame, frame, (place, place)))
        both.append(Direction(tx, rx, shapes, [sizes.index(size) for size in order], profile.flows))
    return both


def ours_pps(
    loop: Testpmd,
    ring_size: int,
    seconds: float,
    *,
    timed: bool = True,
    profile: Profile = PLAIN,
) -> float:
    with connected(loop, ring_size) as engine:
        sent = directions(profile)
        counts = engine.trial(sent, rate_pps=None, duration_s=seconds, timed=timed)
    assert not any(c.corrupted or c.foreign or c.duplicated for c in counts), counts
    return sum(c.received for c in counts) / seconds


def flowgen_pps(loop: Testpmd, seconds: float) -> float:
    with (
        testpmd(loop.directory, GENERATOR_CPU, "client", "flowgen") as flowgen,
        forwarding(loop),
        forwarding(flowgen),
    ):
        time.sleep(0.5)
        return flowgen.received_pps(seconds)


def scapy_pps(loop: Testpmd, seconds: float) -> float:
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether
    from scapy.packet import Raw

    received = 0
    with connected(loop, 1024) as engine:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            queues = {
                port: [
                    bytes(
                        Ether(src=flow.src_mac, dst=flow.dst_mac)
                        / IP(src=flow.src_ip, dst=flow.dst_ip)
                        / UDP(sport=49184, dport=49184, chksum=0)
                        / Raw(number.to_bytes(18, "little"))
                    )
                    for number in range(32)
                ]
                for port, flow in enumerate((plain_flow(0, 1), plain_flow(1, 0)))
            }
            expected = {1 - port: list(map(crc32, queue)) for port, queue in queues.items()}
            back = engine.exchange(queues, 1.0, expected)
            received += sum(UDP in Ether(frame) for queue in back.values() for frame in queue)
    return received / seconds


def tenth(loop: Testpmd, ring_size: int, rate_pps: float, seconds: float) -> dict[str, float]:
    with connected(loop, ring_size) as engine:
        counts = engine.trial(directions(), rate_pps=rate_pps, duration_s=seconds)
    return {
        "ring_size": ring_size,
        "rate_pps": rate_pps,
        "duration_s": seconds,
        "intended": sum(c.intended for c in counts),
        "sent": sum(c.sent for c in counts),
        "lost": sum(c.lost for c in counts),
    }


def profiles(loop: Testpmd, runs: int, seconds: float) -> dict[str, object]:
    """Compare the profiles, print a table, return it for the JSON object."""
    table: dict[str, dict[str, object]] = {}
    for ring_size in (1024, 16384):
        pps: dict[str, list[float]] = {name: [] for name in PROFILES}
        for _ in range(runs):
            for name, profile in PROFILES.items():
                pps[name].append(ours_pps(loop, ring_size, seconds, profile=profile))
        # Pairs of one round: what else happens on the machine meets both.
        ratios = {
            name: statistics.median(a / b for a, b in zip(each, pps["one flow"], strict=True))
            for name, each in pps.items()
        }
        print(f"profiles, ring of {ring_size} [Mpps], both directions; part of one flow's rate")
        for name, each in pps.items():
            all_runs = " ".join(f"{value / 1e6:6.2f}" for value in each)
            median = statistics.median(each) / 1e6
            print(f"  {name:20} {median:6.2f}   {ratios[name]:5.2f}   runs {all_runs}")
        table[f"ring {ring_size}"] = {"runs_pps": pps, "ratio_to_one_flow": ratios}
    return {"profiles": table}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--only-profiles", action="store_true")
    parser.add_argument("--tenth-seconds", type=float, default=10.0)
    options = parser.parse_args(arguments)

    timed, untimed, longer = "latency on", "latency off", "ring of 16384"
    flowgen = "testpmd flowgen"
    runs: dict[str, list[float]] = {timed: [], untimed: [], longer: [], flowgen: []}
    with tempfile.TemporaryDirectory(prefix="vswitch-", dir="/var/tmp") as name:
        directory = Path(name)
        with testpmd(directory, LOOP_CPU, "server", "io") as loop:
            os.sched_setaffinity(0, {GENERATOR_CPU})
            compared = profiles(loop, options.runs, options.seconds)
            if options.only_profiles:
                if options.json:
                    print(json.dumps({"benchmark": "memif_generator", **compared}))
                return
            for _ in range(options.runs):
                runs[timed].append(ours_pps(loop, 1024, options.seconds, timed=True))
                runs[untimed].append(ours_pps(loop, 1024, options.seconds, timed=False))
                runs[longer].append(ours_pps(loop, 16384, options.seconds, timed=True))
                runs[flowgen].append(flowgen_pps(loop, options.seconds))
            scapy = scapy_pps(loop, options.seconds)
            medians = {name: statistics.median(values) for name, values in runs.items()}
            tenths = [
                tenth(loop, ring_size, medians[timed] / 10, options.tenth_seconds)
                for ring_size in (1024, 16384)
            ]

    print(f"{FRAME_BYTES}-byte frames through testpmd's io loop [Mpps], {os.uname().nodename}")
    for name, values in runs.items():
        each = " ".join(f"{value / 1e6:6.2f}" for value in values)
        ratio = medians[name] / medians[flowgen]
        print(f"  {name:16} {medians[name] / 1e6:6.2f}   {ratio:5.2f} of flowgen   runs {each}")
    ratio = scapy / medians[flowgen]
    print(f"  {'scapy, our ring':16} {scapy / 1e6:6.4f} {ratio:7.4f} of flowgen")
    cost = 1 - medians[timed] / medians[untimed]
    print(f"  stamping and measuring latency costs {cost:.1%} of the rate")
    for slow in tenths:
        print(
            f"  at {slow['rate_pps'] / 1e6:.2f} Mpps for {slow['duration_s']:g} s, ring of "
            f"{slow['ring_size']:.0f}: {slow['sent']:.0f} of {slow['intended']:.0f} sent, "
            f"{slow['lost']:.0f} lost"
        )
    if options.json:
        result = {
            "benchmark": "memif_generator",
            "machine": platform.platform(),
            "cpus": os.cpu_count(),
            "frame_bytes": FRAME_BYTES,
            "runs_pps": runs,
            "median_pps": {**medians, "scapy": scapy},
            "ratio_to_flowgen": medians[timed] / medians[flowgen],
            "latency_cost_ratio": cost,
            "tenth": tenths,
            **compared,
        }
        print(json.dumps(result))


if __name__ == "__main__":
    main()
