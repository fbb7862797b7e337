"""The flows of a direction: distinct, right, each with its share; read back by scapy."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from pytest_vswitch.topologies.topology import plain_flow
from pytest_vswitch.traffic import flows, frames
from pytest_vswitch.traffic.pattern import Pattern


def test_a_million_are_distinct() -> None:
    numbers = np.arange(flows.MOST, dtype=np.int64)
    both = flows.low_source(numbers) << 16 | flows.source_port(numbers)
    assert len(np.unique(both)) == flows.MOST
    last = flows.low_source(numbers) & 0xFF
    assert (last.min(), last.max()) == (1, 254)  # no network, no broadcast
    assert flows.source_port(numbers).min() >= 49152


@pytest.mark.parametrize("count", [2, 3, 10, 64, 1000, 65024, 1_000_000, flows.MOST])
def test_each_flow_comes_once_before_any_comes_again(count: int) -> None:
    order = np.arange(count, dtype=np.int64) * flows.step(count) % count
    assert len(np.unique(order)) == count


@pytest.mark.parametrize("tags", [(), (100,), (100, 200)])
@pytest.mark.parametrize("number", [0, 1, 253, 254, 65023, 65024, 777_777])
def test_a_frame_of_a_flow(number: int, tags: tuple[int, ...]) -> None:
    plain = frames.template(plain_flow(0, 1), 128, tags)
    made = Ether(flows.put(plain, frames.stamp_offset(plain), number))
    host = number % 65024
    assert made[IP].src == f"198.18.{host // 254}.{1 + host % 254}"
    assert made[UDP].sport == flows.source_port(number)
    sum_sent = made[IP].chksum
    del made[IP].chksum
    assert Ether(bytes(made))[IP].chksum == sum_sent
    made[IP].src, made[UDP].sport = "198.18.0.1", 49184
    assert bytes(made) == plain  # nothing else has changed


@pytest.mark.parametrize("sizes", [(128,), (64, 594, 1518)])
def test_patterns_hold_what_put_makes(sizes: tuple[int, ...]) -> None:
    """The words that are copied into buffers, against frames built one by one."""
    count, first, run = 1000, 990, 64
    templates = [frames.template(plain_flow(0, 1), size) for size in sizes]
    stamp = frames.stamp_offset(templates[0])
    order = tuple(range(len(sizes)))
    pattern = Pattern(templates, stamp, order=order, flow_count=count, stream_id=7, run=run)
    rows = np.tile(pattern.row, (run, 1))
    lengths = np.full(run, len(templates[0]) << 32)
    pattern.all_in(rows, lengths).write(0, run, first)
    for number, (row, told) in enumerate(zip(rows, lengths.tolist(), strict=True), first):
        length = told >> 32
        template = templates[order[number % len(order)]]
        expected = bytearray(flows.put(template, stamp, number % count * flows.step(count) % count))
        expected[stamp : stamp + frames.STAMP_BYTES] = b"\x07" + bytes(17)
        assert row.tobytes()[pattern.pad :][:length] == expected
        assert length == len(template)


def test_every_flow_has_its_share() -> None:
    """Of 25 flows in 250 frames, ten each."""
    template = frames.template(plain_flow(0, 1), 64)
    pattern = Pattern([template], 42, flow_count=25, stream_id=7, run=250)
    rows = np.tile(pattern.row, (250, 1))
    pattern.flows_in(rows).write(0, 250, 0)
    seen = Counter(row.tobytes()[pattern.pad + 26 : pattern.pad + 36] for row in rows)
    assert set(seen.values()) == {10}
    assert len(seen) == 25
