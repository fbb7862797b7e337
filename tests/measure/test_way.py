"""Frames that take another port's way are found, though each of them comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from pytest_vswitch.measure import way
from pytest_vswitch.measure.functional import FunctionalError
from pytest_vswitch.topologies.topology import Flow, Hop, Topology, plain_flow
from pytest_vswitch.traffic.generator import Generator


@dataclass
class Chain:
    """Two ports and the counters of one hop for each; crossed, they are those of the other."""

    crossed: bool
    wires_crossed: bool = False
    counted: list[int] = field(default_factory=lambda: [0, 0])
    entered: list[int] = field(default_factory=lambda: [0, 0])
    late: int = 0
    """So many snapshots are as old as the frames."""
    told: list[int] = field(default_factory=lambda: [0] * 4)
    name: str = "chain"
    ports: Sequence[Any] = (type("Port", (), {"name": "p0"}), type("Port", (), {"name": "p1"}))

    def exchange(
        self, frames: Mapping[int, Sequence[bytes]], *, wait_s: float
    ) -> Mapping[int, Sequence[bytes]]:
        for port, sent in frames.items():
            self.counted[port ^ self.crossed] += len(sent)
            self.entered[port ^ self.wires_crossed] += len(sent)
        return {1 - port: sent for port, sent in frames.items()}

    def flow(self, port: int) -> Flow:
        return plain_flow(port, 1 - port)

    def peer(self, port: int) -> int:
        return 1 - port

    def transform(self, frame: bytes, port: int) -> bytes:
        return frame

    def snapshot(self) -> list[int]:
        if self.late and any(self.entered):
            self.late -= 1
        else:
            self.told = [*self.counted, *self.entered]
        return self.told

    def path(self, port: int, before: list[int], after: list[int]) -> list[Hop]:
        went = after[port] - before[port]
        came = after[2 + port] - before[2 + port]
        return [
            Hop(f"switch -> vhost{port}", came, came),
            Hop(f"vhost{port} -> virtio{port}", 64, went),
        ]

    def check_alive(self) -> None: ...


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(way, "SETTLE_S", 0.1)


def check(chain: Chain) -> None:
    way.check_way(cast("Topology", chain), cast("Generator", chain))


def test_each_port_has_its_own_way() -> None:
    check(Chain(crossed=False))


def test_counters_that_are_late_are_waited_for() -> None:
    chain = Chain(crossed=False, late=20)
    check(chain)
    assert chain.late == 0


@pytest.mark.usefixtures("impatient")
def test_crossed_ways_are_told_with_the_hop() -> None:
    with pytest.raises(FunctionalError) as told:
        check(Chain(crossed=True))
    for port in (0, 1):
        where = f"vhost{port} -> virtio{port}"
        assert f"of 64 frames into p{port}, 64 entered and 0 left at {where}" in str(told.value)
    assert "are the wires" not in str(told.value)


@pytest.mark.usefixtures("impatient")
def test_crossed_wires_are_told_with_the_port_where_the_frames_came_in() -> None:
    with pytest.raises(FunctionalError) as told:
        check(Chain(crossed=True, wires_crossed=True))
    assert (
        "of 64 frames into p0, 0 entered and 0 left at switch -> vhost0\n"
        "    64 entered at switch -> vhost1: are the wires of p0 and p1 crossed?\n"
        "of 64 frames into p1, 0 entered"
    ) in str(told.value)
    assert told.value.exchange is not None
    assert [len(frames) for frames in told.value.exchange.came_back.values()] == [64, 64]
