"""The simulated generator: runs trials against the simulated DUT in virtual time.

Nothing sleeps: a trial of 60 s ends at once and reports 60 s.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_vswitch.topologies.sim import SimulatedDut
from pytest_vswitch.traffic.generator import DirectionCounts, Latency, Offer

if TYPE_CHECKING:
    from pytest_vswitch.hosts.host import Host
    from pytest_vswitch.lab.schema import Lab


@contextmanager
def attach(lab: Lab, host: Host, topology: SimulatedDut) -> Iterator[SimulatedGenerator]:
    """The generator of a lab's simulated DUT."""
    del lab, host
    yield SimulatedGenerator(topology)


@dataclass(slots=True)
class SimulatedGenerator:
    """A `Generator` attached to a `SimulatedDut`."""

    dut: SimulatedDut
    max_pps: float = float("inf")
    """The most it can offer, all directions together [frames/s]."""
    glitch_one_in: int = 0
    """One trial in so many offers 1 % less than asked, as on a busy machine; 0: none."""
    _offer: Offer | None = field(default=None, init=False)
    _counts: Sequence[DirectionCounts] = field(default=(), init=False)
    _rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._rng = random.Random(f"generator {self.dut.model.seed}")

    @property
    def description(self) -> str:
        return f"simulated generator, seed {self.dut.model.seed}"

    @property
    def simulated(self) -> bool:
        return True

    def exchange(
        self, frames: Mapping[int, Sequence[bytes]], *, wait_s: float
    ) -> Mapping[int, list[bytes]]:
        """What the DUT makes of these frames, at once; `wait_s` is not needed here."""
        del wait_s
        self.dut.check_alive()
        return self.dut.carry_frames(frames)

    def start(self, offer: Offer) -> None:
        self._offer = offer

    def poll(self, timeout_s: float) -> Sequence[DirectionCounts] | None:
        """The counts of the trial that was started: virtual time never makes one wait."""
        del timeout_s
        offer, self._offer = self._offer, None
        if offer is None:
            raise RuntimeError("poll() without start()")
        directions = len(self.dut.ports)
        intended = round(offer.rate_pps * offer.duration_s / directions)
        able = int(self.max_pps / directions * offer.duration_s) if self._limited else intended
        sent = min(intended, able)
        if self.glitch_one_in and self._rng.randrange(self.glitch_one_in) == 0:
            sent -= sent // 100
        carried = self.dut.carry([sent] * directions, offer.frame_bytes, offer.duration_s)
        median_us = self.dut.model.delay_us(sent * directions / offer.duration_s, offer.frame_bytes)
        self._counts = tuple(
            DirectionCounts(
                tx_port=port,
                rx_port=self.dut.peer(port),
                intended=intended,
                sent=sent,
                refused=fate.refused,
                received=fate.received,
                duplicated=0,
                reordered=0,
                corrupted=fate.corrupted,
                foreign=0,
                latency=_latency(fate.received, median_us),
            )
            for port, fate in enumerate(carried)
        )
        return self._counts

    def recount(self) -> Sequence[DirectionCounts]:
        """The same counts: nothing is ever under way here."""
        return self._counts

    def abort(self) -> None:
        self._offer = None

    @property
    def _limited(self) -> bool:
        return self.max_pps != float("inf")


def _latency(samples: int, median_us: float) -> Latency | None:
    """A plausible spread around the median; the factors are the model's own."""
    if not samples:
        return None
    spread = (0.6, 1.0, 1.4, 2.2, 3.5, 5.0)
    low, p50, p90, p99, p999, high = (round(median_us * factor, 3) for factor in spread)
    return Latency(samples, low, p50, p90, p99, p999, high)
