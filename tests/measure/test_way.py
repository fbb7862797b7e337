"""Frames that take another port's way are found, though each of them comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from pytest_vswitch.measure.functional import FunctionalError
from pytest_vswitch.measure.way import check_way
from pytest_vswitch.topologies.topology import Flow, Hop, Topology, plain_flow
from pytest_vswitch.traffic.generator import Generator


@dataclass
class Chain:
    """Two ports and the counters of one hop for each; crossed, they are those of the other."""

    crossed: bool
    counted: list[int] = field(default_factory=lambda: [0, 0])
    name: str = "chain"
    ports: Sequence[Any] = (type("Port", (), {"name": "p0"}), type("Port", (), {"name": "p1"}))

    def exchange(
        self, frames: Mapping[int, Sequence[bytes]], *, wait_s: float
    ) -> Mapping[int, Sequence[bytes]]:
        for port, sent in frames.items():
            self.counted[port ^ self.crossed] += len(sent)
        return {1 - port: sent for port, sent in frames.items()}

    def flow(self, port: int) -> Flow:
        return plain_flow(port, 1 - port)

    def snapshot(self) -> list[int]:
        return list(self.counted)

    def path(self, port: int, before: list[int], after: list[int]) -> list[Hop]:
        went = after[port] - before[port]
        return [
            Hop(f"switch -> vhost{port}", 64, 64),
            Hop(f"vhost{port} -> virtio{port}", 64, went),
        ]

    def check_alive(self) -> None: ...


def check(chain: Chain) -> None:
    check_way(cast("Topology", chain), cast("Generator", chain))


def test_each_port_has_its_own_way() -> None:
    check(Chain(crossed=False))


def test_crossed_ways_are_told_with_the_hop() -> None:
    with pytest.raises(FunctionalError) as told:
        check(Chain(crossed=True))
    for port in (0, 1):
        where = f"vhost{port} -> virtio{port}"
        assert f"of 64 frames into p{port}, 64 entered and 0 left at {where}" in str(told.value)
