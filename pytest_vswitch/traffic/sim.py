"""The simulated generator: runs trials against the simulated DUT in virtual time.

Nothing sleeps: a trial of 60 s ends at once and reports 60 s.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from pytest_vswitch.errors import InputError
from pytest_vswitch.topologies.sim import SimulatedDut
from pytest_vswitch.traffic import macs
from pytest_vswitch.traffic.generator import DirectionCounts, Latency, Offer, Silence
from pytest_vswitch.traffic.latency import Histogram
from pytest_vswitch.traffic.profile import Capabilities

if TYPE_CHECKING:
    from pytest_vswitch.hosts.host import Host
    from pytest_vswitch.lab.schema import Lab


@contextmanager
def attach(lab: Lab, host: Host, topology: SimulatedDut) -> Iterator[SimulatedGenerator]:
    """The generator of a lab's simulated DUT."""
    del lab, host
    yield SimulatedGenerator(topology, histograms=True)


@dataclass(slots=True)
class SimulatedGenerator:
    """A `Generator` attached to a `SimulatedDut`."""

    dut: SimulatedDut
    max_pps: float = float("inf")
    """The most it can offer, all directions together [frames/s]."""
    glitch_one_in: int = 0
    """One trial in so many offers 1 % less than asked, as on a busy machine; 0: none."""
    histograms: bool = False
    """Whether it takes the time to tell every delay."""
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

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(mixed_sizes=True, max_flows=1_000_000, vxlan=True, max_macs=macs.MOST)

    def exchange(
        self, frames: Mapping[int, Sequence[bytes]], *, wait_s: float
    ) -> Mapping[int, list[bytes]]:
        """What the DUT makes of these frames, at once; `wait_s` is not needed here."""
        del wait_s
        self.dut.check_alive()
        return self.dut.carry_frames(frames)

    def start(self, offer: Offer) -> None:
        if lacking := self.capabilities.lacks(offer.profile):
            raise InputError(f"{self.description} {lacking}")
        self._offer = offer

    def rest(self, duration_s: float) -> None:
        """Let virtual time pass without frames."""
        self.dut.rest(duration_s)

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
        carried = self.dut.carry(
            [sent] * directions,
            offer.frame_bytes,
            offer.duration_s,
            flows=offer.profile.flows,
            encapsulated=offer.profile.vxlan is not None,
            macs=offer.profile.macs,
            to_macs=offer.profile.macs_as == "destination",
        )
        spacing_s = directions / offer.rate_pps
        load_pps = sent * directions / offer.duration_s
        shortest_us, median_us = (
            self.dut.model.delay_us(load_pps, offer.frame_bytes, share) for share in (0, 0.5)
        )
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
                latency=_latency(shortest_us, median_us, fate.received, histogram=self.histograms),
                silences=_silences(fate.silence, spacing_s),
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


def _silences(silence: tuple[float, float] | None, spacing_s: float) -> tuple[Silence, ...]:
    if silence is None:
        return ()
    began_s, length_s = silence
    return (Silence(began_s, 1e3 * (length_s + spacing_s)),)


@lru_cache(4)
def _latency(
    shortest_us: float, median_us: float, samples: int, *, histogram: bool
) -> Latency | None:
    """What is seen of frames that wait for an exponentially distributed time."""
    if not samples:
        return None
    halving_us = median_us - shortest_us
    seen = _histogram(shortest_us, halving_us, samples) if histogram else None

    def waited(share: float) -> float:
        return round(halving_us * -math.log2(1 - min(share, 1 - 1 / (samples + 1))), 3)

    def delay(share: float) -> float:
        return seen.percentile_us(100 * share) if seen else round(shortest_us + waited(share), 3)

    return Latency(
        samples=samples,
        min_us=round(shortest_us, 3),
        p50_us=delay(0.5),
        p90_us=delay(0.9),
        p99_us=delay(0.99),
        p999_us=delay(0.999),
        max_us=delay(1),
        mean_us=round(shortest_us + halving_us / math.log(2), 3),
        p9999_us=delay(0.9999),
        # The change between neighbours is distributed as their waiting is.
        ipdv_p50_us=waited(0.5),
        ipdv_p99_us=waited(0.99),
        ipdv_p999_us=waited(0.999),
        ipdv_max_us=waited(1),
        histogram=seen.encode() if seen else "",
    )


def _histogram(shortest_us: float, halving_us: float, samples: int) -> Histogram:
    """In steps as wide as the histogram's buckets; each has as many frames as expected."""
    mean_ns = 1e3 * halving_us / math.log(2)
    first_ns = low_ns = int(1e3 * shortest_us)
    histogram = Histogram()
    left = samples
    while left:
        width_ns = Histogram.width_ns(low_ns)
        high_ns = (low_ns // width_ns + 1) * width_ns
        beyond = round(samples * math.exp((first_ns - high_ns) / mean_ns))
        if beyond < left:
            histogram.add((low_ns + high_ns) // 2, left - beyond)
            left = beyond
        low_ns = high_ns
    return histogram
