"""What a frame costs the memif generator itself, by profile: nobody else takes part.

    python benchmarks/generator_cost.py [--json] [--batch 512] [--laps 2000] [--ring 1024]
        [--queues 1]

This process plays the server: it copies what was sent into the buffers of what arrives, as
fast or slow as it likes, and only the generator's own sending and checking is timed. So the
figures hold on a busy machine, too: of all batches, the one that a quarter of them beat.
`memif_generator.py --only-profiles` is the same question asked with a DUT.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from time import perf_counter_ns

import numpy as np

from pytest_vswitch.topologies.topology import plain_flow
from pytest_vswitch.traffic import frames, imix
from pytest_vswitch.traffic.memif.port import MemifPort
from pytest_vswitch.traffic.pattern import Shape
from pytest_vswitch.traffic.profile import Profile
from pytest_vswitch.traffic.stream import Stream

MEAN_BYTES = 362
"""Of the simple IMIX."""
PROFILES = {
    "one flow, 64 bytes": Profile(sizes=(64,)),
    "million flows, 64 bytes": Profile(sizes=(64,), flows=1_000_000),
    "one flow, 362 bytes": Profile(sizes=(MEAN_BYTES,)),
    "IMIX, one flow": Profile(sizes=imix.SIMPLE),
    "IMIX, million flows": Profile(sizes=imix.SIMPLE, flows=1_000_000),
}


def stream(port: MemifPort, profile: Profile) -> Stream:
    sizes = sorted(set(profile.sizes))
    shapes = []
    for size in sizes:
        frame = frames.template(plain_flow(0, 0), size)
        place = frames.stamp_offset(frame)
        shapes.append(Shape(frame, frame, (place, place)))
    order = [sizes.index(size) for size in profile.sizes]
    return Stream(
        port, port, shapes, order=order, flows=profile.flows, stream_id=7, intended=1 << 40
    )


def hand_back(port: MemifPort) -> None:
    """As a server that forwards all that was sent, queue by queue."""
    for tx, rx in zip(port.to_server, port.from_server, strict=True):
        count, mask = tx.pending(), rx.size - 1
        slots = np.arange(tx.slot - count, tx.slot) & mask
        lengths = tx.lengths[slots] >> 32
        for length in np.unique(lengths).tolist():
            # No more than the frame: what lies behind it would only fill the caches.
            words = -(-(tx.pad + length) // 8)
            mine = slots[lengths == length]
            for begin in range(0, len(mine), 64):
                here = mine[begin : begin + 64]
                rx.rows[here, :words] = tx.rows[here, :words]
        rx.lengths[slots] = tx.lengths[slots]
        tx.tail += count
        rx.tail += count


def cost_ns(
    profile: Profile, ring_size: int, batch: int, laps: int, queues: int = 1
) -> tuple[float, float]:
    """Per frame, of sending and of checking [ns]."""
    port = MemifPort("nobody", interface_id=0, secret="", ring_size=ring_size, queues=queues)
    port.rx.reset(port.rx.size)
    for ring in port.from_server:
        ring.reset(ring_size)
    ours = stream(port, profile)
    sending, checking = [], []
    for _ in range(laps):
        began = perf_counter_ns()
        ours.send(batch)
        sending.append(perf_counter_ns() - began)
        hand_back(port)
        began = perf_counter_ns()
        ours.collect()
        checking.append(perf_counter_ns() - began)
    assert ours.received == laps * batch, "frames were lost, or not right"
    port.close()
    return _quarter(sending) / batch, _quarter(checking) / batch


def _quarter(values: list[int]) -> int:
    return sorted(values)[len(values) // 4]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    parser.add_argument("--batch", type=int, default=512, help="frames at once, a multiple of 64")
    parser.add_argument("--laps", type=int, default=2000)
    parser.add_argument("--ring", type=int, default=1024)
    parser.add_argument("--queues", type=int, default=1)
    options = parser.parse_args(arguments)
    table = {}
    print(f"ns per frame, {options.batch} at once, ring of {options.ring}: send, check, both")
    for name, profile in PROFILES.items():
        send, check = cost_ns(profile, options.ring, options.batch, options.laps, options.queues)
        table[name] = {"send_ns": send, "check_ns": check}
        ratios = "   ".join(
            f"{sum(table[base].values()) / (send + check):.2f} of the rate of {base}"
            for base in ("one flow, 64 bytes", "one flow, 362 bytes")
            if base in table and base != name
        )
        print(f"  {name:24} {send:6.1f} {check:6.1f} {send + check:6.1f}   {ratios}")
    if options.json:
        print(json.dumps({"benchmark": "generator_cost", "batch": options.batch, **table}))


if __name__ == "__main__":
    main()
