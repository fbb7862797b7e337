"""How many MAC addresses a bridge holds, and how fast it learns them (RFC 2889 5.7 and 5.8).

RFC 2889 looks at a third port, out of which a bridge floods frames to addresses that it does not
know. With two ports it is asked like this: frames from many addresses into a port, then frames *to*
these addresses into the same port. What it has learned it keeps back, for the address is
where the frame comes from (IEEE 802.1D 7.7); what it has not comes out of the other port.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pytest_vswitch.errors import InputError
from pytest_vswitch.measure.learning import LOWEST_PER_S, PRECISION, SAFE, TRIES, bisect
from pytest_vswitch.measure.outcome import Curve, Figure, Outcome
from pytest_vswitch.measure.procedure import pause_for
from pytest_vswitch.measure.runner import Focus, TrialRunner
from pytest_vswitch.traffic.profile import PLAIN, Profile

FEW = 20
"""Addresses of each direction with which it is looked whether any are learned."""
AT_RATE = 100
"""Of each direction, with which the rate is looked for at first."""
SHORTEST_S = 0.01
"""A load that lasts less is a burst, which says nothing of a rate."""
FORGOTTEN_AFTER_S = 10.0
"""The least aging time of a bridge [s] (IEEE 802.1D, table 7-5); set it on the DUT."""
LONGEST_S = 60.0
"""No load of new addresses takes longer [s]."""
NONE_HELD = 0.9
"""A larger share (0 to 1) that is not held, of `FEW`, means that none is learned but the first:
frames to all of them come from that one."""

Interval = tuple[float | None, float | None]
"""The highest value that was good, the lowest above it that was not."""


@dataclass(frozen=True, slots=True)
class AddressLearning:
    """Addresses are those of all directions together."""

    low_per_s: float | None
    """New addresses per second that were all learned; None if no rate was slow enough."""
    high_per_s: float | None
    """That were not; None if none was tried that fast."""
    low_macs: int
    """That were all held."""
    high_macs: int | None
    """That were not; None if no more were sent."""
    tried: tuple[tuple[float, float], ...]
    """Share that was not held (0 to 1) by number of addresses."""
    procedure: Mapping[str, str]
    doubts: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        rate, held = self.low_per_s, self.low_macs
        return Outcome(
            source="RFC 2889 sections 5.7 and 5.8, asked over two ports",
            procedure=self.procedure,
            figures=(
                Figure("addresses learned per second", rate, "1/s", rate or 0.0, self.high_per_s),
                Figure("addresses held", held, "addresses", held, self.high_macs),
            ),
            curves=(
                Curve(
                    "Addresses not held",
                    *("addresses", "addresses", "not held", "ratio"),
                    tuple(sorted(self.tried)),
                    float(held),
                ),
            ),
            doubts=self.doubts,
        )


def address_learning(
    runner: Callable[[Profile], TrialRunner],
    *,
    throughput_pps: float,
    profile: Profile = PLAIN,
    forgotten_after_s: float = FORGOTTEN_AFTER_S,
    longest_s: float = LONGEST_S,
) -> AddressLearning:
    """`runner` gives trials with a profile; `profile` is all of it but the addresses.

    Between two questions the DUT is left alone for `forgotten_after_s`, its aging time. Raises
    InputError when the generator sends too few addresses.
    """
    bridge = _Bridge(runner, profile, forgotten_after_s)
    if bridge.most_macs <= AT_RATE:
        raise InputError(
            f"the generator can send {bridge.most_macs} MAC addresses; learning is measured with "
            f"more than {AT_RATE}"
        )
    at, number_pps = AT_RATE, SAFE * LOWEST_PER_S
    rate: Interval = (None, None)
    held: Interval = (None, None)
    if bridge.not_held(FEW, LOWEST_PER_S) > NONE_HELD:
        bridge.doubts["none"] = (
            "the DUT sends frames on to addresses that are where they come from: no bridge"
        )
    else:
        rate = bridge.rate(at, throughput_pps)
        number_pps = SAFE * (rate[0] or LOWEST_PER_S)
        held = bridge.number(number_pps, longest_s)
        in_time = longest_s * LOWEST_PER_S / bridge.directions
        enough = round(min(SAFE * (held[0] or 0), in_time))
        if rate[0] is not None and rate[1] is None and enough > at:
            at = enough  # faster loads of so many last long enough
            rate = bridge.rate(at, throughput_pps)
    return AddressLearning(
        low_per_s=rate[0],
        high_per_s=rate[1],
        low_macs=round(held[0] or 0) * bridge.directions,
        high_macs=None if held[1] is None else round(held[1]) * bridge.directions,
        tried=tuple(bridge.tried),
        procedure={
            "rate": f"looked for with {at * bridge.directions:,} addresses, to {PRECISION:.0%}",
            "number": f"looked for at {number_pps:,.0f} frames/s, to {PRECISION:.0%}",
            "pause for aging": f"{forgotten_after_s:g} s after each question",
        },
        doubts=tuple(bridge.doubts.values()),
    )


class _Bridge:
    """What is asked of it; numbers of addresses are those of each direction."""

    def __init__(
        self,
        runner: Callable[[Profile], TrialRunner],
        profile: Profile,
        forgotten_after_s: float,
    ) -> None:
        first = runner(profile)
        self.directions = len(first.topology.ports)
        self.most_macs = first.generator.capabilities.max_macs
        self.tried: list[tuple[float, float]] = []
        self.doubts: dict[str, str] = {}
        """By what they are about: each once."""
        self._runner = runner
        self._profile = profile
        self._pause = pause_for(first.generator)
        self._forgotten_after_s = forgotten_after_s

    def not_held(self, macs: int, rate_pps: float) -> float:
        """Share (0 to 1) of new addresses that it does not know after a frame from each."""
        focus = Focus(f"learning {macs * self.directions:,} addresses")
        duration_s = macs * self.directions / rate_pps
        new = dataclasses.replace(self._profile, macs=macs)
        learned = self._runner(new).run(rate_pps, duration_s, focus)
        if learned.sent < learned.intended:
            self.doubts["late"] = (
                "the generator came late and left addresses out, which count as not held: the DUT "
                "may do better"
            )
        back = dataclasses.replace(new, macs_as="destination")
        found = self._runner(back).run(rate_pps, duration_s, focus)
        self._pause(self._forgotten_after_s)
        return found.received / max(1, found.sent)

    def rate(self, macs: int, throughput_pps: float) -> Interval:
        """The fastest load of so many new addresses after which all are known."""
        fastest = min(throughput_pps, macs * self.directions / SHORTEST_S)
        return bisect(lambda rate_pps: not self._lacks(macs, rate_pps), LOWEST_PER_S, fastest)

    def number(self, rate_pps: float, longest_s: float) -> Interval:
        """The most addresses that are all known after a load of them at that rate."""

        def held(macs: float) -> bool:
            lacking = self._lacks(round(macs), rate_pps)
            self.tried.append((float(round(macs) * self.directions), lacking))
            return not lacking

        in_time = int(longest_s * rate_pps / self.directions)
        return bisect(held, FEW, max(FEW, min(self.most_macs, in_time)))

    def _lacks(self, macs: int, rate_pps: float) -> float:
        """The least of some tries: frames that were lost were not learned from."""
        shares: list[float] = []
        while len(shares) < TRIES and (not shares or shares[-1]):
            shares.append(self.not_held(macs, rate_pps))
        return min(shares)
