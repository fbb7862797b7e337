"""Forwarding of a testpmd vSwitch is restarted alone, and its counters live through that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from pytest_vswitch.apps.testpmd import PortCounters, Testpmd, parse_counters
from pytest_vswitch.topologies.chain import Chain
from pytest_vswitch.topologies.vswitches import Restartable
from pytest_vswitch.topologies.vswitches.testpmd import Switch


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
        return parse_counters(self.statistics())

    def statistics(self) -> str:
        """In testpmd's form: all but these are 0."""
        zero = "RX-missed: 0 RX-errors: 0 RX-nombuf: 0 TX-packets: 0 TX-errors: 0"
        return (
            f"### NIC statistics for port 0 ###\nRX-packets: {self.received} {zero}\n\n"
            "--- Forward statistics for port 0 ---\n"
            f"RX-dropped: 0 TX-dropped: {self.dropped}\n---\n"
        )


@dataclass(slots=True)
class Program:
    """Notes what is done to it."""

    name: str
    whole: str
    done: list[str] = field(default_factory=list)

    def restart(self) -> None:
        self.done.append("restarted")

    def respawn(self) -> None:
        self.done.append("respawned")


def test_a_chain_tells_what_of_it_can_be_reset() -> None:
    """Its programs' forwarding; whole ones where all that hangs on them comes back."""
    switch, peer = Program("switch", ""), Program("peer", "peer process")
    chain = Chain(
        "it",
        cast(Any, None),
        (),
        cast(Any, switch),
        [cast(Any, peer), cast(Any, SimpleNamespace(name="guest"))],
        generator_cpu=None,
        pages=cast(Any, None),
        remarks=(),
        variant={},
    )
    assert list(chain.components) == ["switch", "peer", "peer process"]
    assert [chain.keeps_counters(one) for one in chain.components] == [True, True, False]
    for component in chain.components:
        chain.reset(component)
    assert (switch.done, peer.done) == (["restarted"], ["restarted", "respawned"])


def test_only_a_switch_that_stands_alone_is_started_again() -> None:
    alone = Switch(cast(Any, None), cast(Any, None), (), (), frozenset(), spawn=cast(Any, print))
    among = Switch(cast(Any, None), cast(Any, None), (), (), frozenset())
    assert (alone.whole, among.whole) == ("host testpmd process", "")


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
