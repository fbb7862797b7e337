"""Forwarding of a testpmd vSwitch is restarted alone, and its counters live through that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from pytest_vswitch.apps.testpmd import PortCounters, Testpmd
from pytest_vswitch.topologies.vswitches import Restartable
from pytest_vswitch.topologies.vswitches.testpmd import Switch

NONE = PortCounters(**dict.fromkeys(PortCounters.__dataclass_fields__, 0))


@dataclass(slots=True)
class Console:
    """Counts as testpmd does: `start` clears what forwarding has dropped."""

    dropped: int = 0
    received: int = 0
    typed: list[str] = field(default_factory=list)

    def start(self) -> None:
        self.typed.append("start")
        self.dropped = 0

    def stop(self) -> None:
        self.typed.append("stop")
        self.dropped += 3  # until it has stopped

    def keep_waiting(self) -> None:
        self.typed.append("keep")

    def counters(self) -> Mapping[int, PortCounters]:
        return {0: replace(NONE, tx_dropped=self.dropped, rx_packets=self.received)}


def test_a_restart_forgets_no_drop() -> None:
    console = Console(dropped=4, received=100)
    switch = Switch(cast(Any, None), cast(Testpmd, console), (), ("memif0",), frozenset())
    assert isinstance(switch, Restartable)
    drops = [switch.read().ports["memif0"].tx_drops["TX-dropped"]]
    for _ in range(2):
        switch.restart()
        drops.append(switch.read().ports["memif0"].tx_drops["TX-dropped"])
    assert drops == [4, 7, 10]
    assert switch.read().ports["memif0"].rx == 100
    assert console.typed == ["stop", "keep", "start"] * 2
