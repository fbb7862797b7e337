"""Fabricated but realistic records: a PVP run over memif, QEMU under TCG, two ports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_vswitch.measure.goals import Goal, GoalResult
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.results.environment import fingerprint
from pytest_vswitch.results.record import (
    SCHEMA_VERSION,
    Case,
    HostFacts,
    Measurement,
    Record,
    Run,
    ThresholdCheck,
    Verdict,
)
from pytest_vswitch.results.template import render
from pytest_vswitch.topologies.topology import Facts, Hop, Node
from pytest_vswitch.traffic.generator import DirectionCounts, Latency

NDR = Goal("NDR", 0.0)
PDR = Goal("PDR", 0.005)

RUN = Run(
    id="20261121-024500-1234",
    started="2026-11-21T02:45:00Z",
    command=("pytest", "suites/pvp", "--dut", "local", "--quick"),
    tool_version="0.1.0",
    simulated=False,
)

_HOST = HostFacts(
    hostname="bench-7",
    cpu_model="Intel(R) Xeon(R) Gold 6338N CPU @ 2.20GHz",
    cpu_mhz=2194.843,
    cpu_flags=("fpu", "sse4_2", "avx2", "avx512f", "aes"),
    cores=2,
    numa_nodes=1,
    memory_kb=8_123_456,
    kernel="6.1.0-18-amd64",
    kernel_command_line="BOOT_IMAGE=/boot/vmlinuz root=UUID=0b1e isolcpus=2-7 quiet",
    hugepages={"2048 kB": 0, "1048576 kB": 0},
    governor="n/a",
    turbo="n/a",
    microcode="0xd0003b9",
    hypervisor="kvm",
    operating_system="Debian GNU/Linux 12 (bookworm)",
    fingerprint="",
)
HOST = replace(_HOST, fingerprint=fingerprint(_HOST))

REMARKS = (
    "3 polling lcores share 2 cores: they take turns, so rates are far below those of a lab.",
    "QEMU runs without KVM (TCG): the guest's code is translated, about ten times slower.",
    "No hugepages: memory is in 4 kB pages.",
)

FACTS = Facts(
    versions={
        "host dpdk": "DPDK 22.11.5",
        "guest dpdk": "DPDK 22.11.5",
        "qemu": "QEMU 7.2.11 (Debian 1:7.2+dfsg-7+deb12u7)",
        "guest kernel": "6.1.0-18-amd64",
    },
    virtio_features="",
    nic="net_memif (shared memory)",
    accelerator="tcg",
    memory="no hugepages",
    remarks=REMARKS,
    commands=(
        (
            "host testpmd",
            ("dpdk-testpmd", "-l", "0,1", "--vdev", "net_memif0,role=server,id=0", "--", "-i"),
        ),
        ("qemu", ("qemu-system-x86_64", "-accel", "tcg", "-append", "console=ttyS0 quiet")),
    ),
)

NODES = (
    Node("traffic generator", "generator", ("port 0", "port 1")),
    Node("host testpmd", "host", ("memif0", "memif1", "vhost0", "vhost1")),
    Node("guest testpmd", "guest", ("virtio0", "virtio1")),
)


def trial(
    number: int,
    load_pps: float,
    *,
    capacity_pps: float = 37_216.0,
    frame_bytes: int = 64,
    duration_s: float = 1.0,
    latency: bool = True,
) -> Trial:
    """One trial of a DUT that loses, in the guest, all that is beyond its capacity."""
    directions, paths = [], []
    for tx in (0, 1):
        rx = 1 - tx
        sent = round(load_pps * duration_s / 2)
        lost = max(0, sent - round(capacity_pps * duration_s / 2))
        refused, late = lost // 3, 1 if lost else 0
        entered = sent - refused
        inside = entered - (lost - refused - late)
        received = inside - late
        spread = 1 + 3 * load_pps / capacity_pps + tx / 10
        directions.append(
            DirectionCounts(
                tx, rx, sent, sent, refused, received, 0, 0, 0, 0,
                Latency(1000, 21.4, 31.0 * spread, 55.5 * spread, 140.2 * spread,
                        910.0 * spread, 4_100.0 * spread) if latency else None,
            )
        )  # fmt: skip
        paths.append(
            (
                Hop(f"generator -> memif{tx}", sent, entered, {"ring full": refused}),
                Hop(f"host testpmd: memif{tx} -> vhost{tx}", entered, entered, {"TX-dropped": 0}),
                Hop(
                    f"guest testpmd: virtio{tx} -> virtio{rx}",
                    entered,
                    inside,
                    {"TX-dropped": entered - inside},
                ),
                Hop(f"host testpmd: vhost{rx} -> memif{rx}", inside, received, {"RX-missed": late}),
                Hop(f"memif{rx} -> generator", received, received),
            )
        )
    return Trial(
        number, frame_bytes, load_pps, duration_s, 0.21, tuple(directions), tuple(paths)
    )  # fmt: skip


def measurement(
    repeat: int = 1, *, capacity_pps: float = 37_216.0, frame_bytes: int = 64, latency: bool = True
) -> Measurement:
    """A search from line rate down to an interval around the capacity."""
    loads = [29_761_904.8, 61_000.0, *(capacity_pps * f for f in (1.012, 0.994, 1.003, 0.994))]
    durations = [1.0, 1.0, 1.0, 1.0, 1.0, 10.0]
    trials = tuple(
        trial(
            number,
            load,
            capacity_pps=capacity_pps,
            frame_bytes=frame_bytes,
            duration_s=duration,
            latency=latency,
        )
        for number, (load, duration) in enumerate(zip(loads, durations, strict=True), 1)
    )
    results = (
        GoalResult(NDR, capacity_pps * 0.994, capacity_pps * 1.003, "dut"),
        GoalResult(PDR, capacity_pps * 1.003, capacity_pps * 1.012, "dut"),
    )
    return Measurement(repeat, "mlrsearch", results, trials, elapsed_s=61.5)


def not_found(repeat: int = 1) -> Measurement:
    """A search in which every load lost frames."""
    trials = tuple(trial(n, load, capacity_pps=50.0) for n, load in enumerate((9e3, 1e3), 1))
    results = tuple(GoalResult(goal, None, 1e3, "lowest load") for goal in (NDR, PDR))
    return Measurement(repeat, "binary", results, trials)


def case(
    *,
    frame_bytes: int = 64,
    measurements: Sequence[Measurement] | None = None,
    checks: Sequence[ThresholdCheck] = (),
    verdict: Verdict = "measured",
    error: str = "",
    simulated: bool = False,
    facts: Facts = FACTS,
) -> Case:
    """A PVP case with its template filled in."""
    done = (measurement(frame_bytes=frame_bytes),) if measurements is None else measurements
    whole = Case(
        id=f"pvp:frame_bytes={frame_bytes}",
        suite="pvp",
        topology="pvp",
        parameters={"frame_bytes": frame_bytes},
        goals=(NDR, PDR),
        ports=("memif0", "memif1"),
        line_rate_pps=2 * 10e9 / ((frame_bytes + 20) * 8),
        traffic_generator="pytest-vswitch memif 0.1.0",
        simulated=simulated,
        facts=facts,
        nodes=NODES,
        measurements=tuple(done),
        checks=tuple(checks),
        verdict=verdict,
        error=error,
    )
    return replace(whole, template=render(whole, HOST))


def record(*cases: Case, finished: bool = True, simulated: bool = False) -> Record:
    """A run of these cases; of one that was measured, without any."""
    return Record(
        schema_version=SCHEMA_VERSION,
        run=replace(RUN, simulated=simulated),
        lab={"name": "local", "dut": {"host": "localhost"}},
        host=HOST,
        cases=cases or (case(),),
        finished=finished,
    )
