"""What an event in the DUT costs its traffic: how long no frame came, what was lost or doubled.

RFC 6201 section 4 defines such a reset time by lost frames (`lost_ms` here) and by the times
between which none arrives (`silence_ms`). The two differ: frames that wait in a ring while the
DUT stands still are late, and not lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.measure import books, culprit
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.topologies.topology import Hop, Topology
from pytest_vswitch.traffic.generator import (
    Announcement,
    DirectionCounts,
    Generator,
    Offer,
    Silence,
)

T = TypeVar("T")

LONGEST_S = 600.0
"""A trial around an event ends with the event, and by itself after so long [s]."""
_LEAD_S = 0.5
"""Traffic before the event [s]."""
_SETTLE_S = 5.0
_ANSWER_S = 30.0


@runtime_checkable
class EndingGenerator(Generator, Protocol):
    """A generator whose trial ends when it is told to."""

    def finish(self) -> None:
        """Send no more; `poll` tells what became of the trial, `intended` is what was due."""


Audit = Callable[[Sequence[DirectionCounts], object, object], Sequence[books.Path]]
"""Counts of all directions and two snapshots -> the paths whose books must balance: first one
of each direction, then whatever else must."""


class Movable(Topology, Protocol):
    """A topology that a guest moves in, and announces itself."""

    def road(self, tx_port: int, before: object, after: object, *, announced: int) -> Sequence[Hop]:
        """As `path`, less the frames by which the guest announced itself."""


@dataclass(frozen=True, slots=True)
class Outage:
    """What the traffic of one direction saw of an event."""

    tx_port: int
    spacing_ms: float
    """Time between two frames [ms]: nothing shorter can be told."""
    silence: Silence | None
    """The longest time without a frame; None when fewer than two frames came."""
    silences: tuple[Silence, ...]
    """The longest ones, the longest first."""
    lost: int
    """Frames that never came back."""
    duplicated: int
    reordered: int
    announcements: tuple[Announcement, ...]
    """What came to `tx_port`'s own side of the wire from the new place."""

    @property
    def silence_ms(self) -> float:
        """How long no frame came, beyond what is usual between two [ms]."""
        return max(0.0, self.silence.length_ms - self.spacing_ms) if self.silence else 0.0

    @property
    def lost_ms(self) -> float:
        """The time that the lost frames stand for [ms]."""
        return self.lost * self.spacing_ms


@dataclass(frozen=True, slots=True)
class Step:
    """One step of several, and the longest silence while it was carried out."""

    what: str
    began_s: float
    """Unix time [s]."""
    ended_s: float
    silence_ms: float
    """The longest time without a frame that touches it, if it is among the longest of all [ms]."""


def of(trial: Trial) -> tuple[Outage, ...]:
    """One of each direction."""
    spacing_ms = 1e3 * len(trial.directions) / trial.intended_pps
    return tuple(
        Outage(
            tx_port=counts.tx_port,
            spacing_ms=spacing_ms,
            silence=counts.silences[0] if counts.silences else None,
            silences=tuple(counts.silences),
            lost=counts.lost,
            duplicated=counts.duplicated,
            reordered=counts.reordered,
            announcements=counts.announcements,
        )
        for counts in trial.directions
    )


def longest(silences: Sequence[Silence], began_s: float, ended_s: float) -> float:
    """The longest of them that touches that time [ms]; 0 if none does."""
    touching = (one for one in silences if one.began_s < ended_s and one.ended_s > began_s)
    return max((one.length_ms for one in touching), default=0.0)


def meanwhile(outages: Sequence[Outage], began_s: float, ended_s: float) -> Silence | None:
    """The longest silence of any direction that touches that time; None if none does."""
    touching = (
        silence
        for one in outages
        for silence in one.silences
        if silence.began_s <= ended_s and silence.ended_s >= began_s
    )
    return max(touching, key=lambda silence: silence.length_ms, default=None)


def resolution_ms(outages: Sequence[Outage], event: Silence) -> float:
    """What cannot be told from it: so long no frame came before it began, either [ms]."""
    earlier = (
        silence.length_ms
        for one in outages
        for silence in one.silences
        if silence.ended_s <= event.began_s
    )
    return max(outages[0].spacing_ms, *earlier, 0.0)


def moving(topology: Movable) -> Audit:
    """The books of a guest that moves: one path of each direction."""

    def paths(
        counts: Sequence[DirectionCounts], before: object, after: object
    ) -> Sequence[books.Path]:
        ports = topology.ports
        return [
            books.full_path(
                one,
                topology.road(one.tx_port, before, after, announced=len(one.announcements)),
                ports[one.tx_port].name,
                ports[one.rx_port].name,
            )
            for one in counts
        ]

    return paths


class Linked(Topology, Protocol):
    """A topology of several links, each with books of its own."""

    def links(self, before: object, after: object) -> Sequence[tuple[Hop, Hop]]:
        """Of each link, what happened at its near end on the way in and on the way out."""


def by_link(topology: Linked) -> Audit:
    """The books of frames that take any of several links, or more than one, back and forth.

    Every link got each frame; and all that came out of any is what the generator saw.
    """

    def paths(
        counts: Sequence[DirectionCounts], before: object, after: object
    ) -> Sequence[books.Path]:
        links = topology.links(before, after)
        left = sum(outwards.left for _, outwards in links)
        accepted = sum(one.sent - one.refused for one in counts)
        arrived = sum(one.received + one.duplicated + one.corrupted + one.foreign for one in counts)
        names = [port.name for port in topology.ports]
        return [
            *(_through(one, names[one.tx_port], names[one.rx_port]) for one in counts),
            *((Hop("generator -> link", accepted, accepted), inwards) for inwards, _ in links),
            *((outwards,) for _, outwards in links),
            (Hop("links -> generator", left, arrived),),
        ]

    return paths


def by_generator(topology: Topology) -> Audit:
    """The books of frames of which some hop's counters are lost: what the generator knows."""

    def paths(
        counts: Sequence[DirectionCounts], before: object, after: object
    ) -> Sequence[books.Path]:
        del before, after
        names = [port.name for port in topology.ports]
        return [_through(one, names[one.tx_port], names[one.rx_port], "inside") for one in counts]

    return paths


def _through(
    counts: DirectionCounts, enter: str, leave: str, by: str = "by any link"
) -> books.Path:
    """What the generator knows of a direction: each frame once, by whichever link it came."""
    accepted = counts.sent - counts.refused
    missing = accepted - counts.received
    return (
        Hop(f"generator -> {enter}", counts.sent, accepted, {"ring full": counts.refused}),
        Hop(f"{enter} -> {leave}, {by}", accepted, counts.received, {"missing": missing}),
        Hop(f"{leave} -> generator", counts.received, counts.received),
    )


def during(
    topology: Topology,
    generator: Generator,
    event: Callable[[Callable[[], None]], T],
    *,
    audit: Audit,
    rate_pps: float,
    frame_bytes: int,
    after_s: float = 2.0,
    patient: bool = False,
) -> tuple[T, Trial]:
    """Send `rate_pps` in total while `event` happens, and for `after_s` more.

    `event` is given what it must call every few milliseconds: that raises DutError or
    HostError when a program is gone. What `event` raises ends the trial without a result.
    `patient`: see `generator.Offer`. Raises BooksError when the counters do not reconcile
    afterwards.
    """
    if not isinstance(generator, EndingGenerator):
        raise InputError(f"{generator.description} cannot end a trial when an event has ended")
    before = topology.snapshot()
    began = time.monotonic()
    looked = began

    def watch() -> None:
        nonlocal looked
        if time.monotonic() - looked < 0.2:
            return
        looked = time.monotonic()
        with culprit.named(topology):
            if generator.poll(0.001) is not None:
                raise HostError(f"{generator.description} ended its trial before the event did")
        topology.check_alive()

    def keep_on(duration_s: float) -> None:
        deadline = time.monotonic() + duration_s
        while time.monotonic() < deadline:
            watch()
            time.sleep(0.02)  # the condition: the time is over

    try:
        generator.start(Offer(rate_pps, LONGEST_S, frame_bytes, patient=patient))
        keep_on(_LEAD_S)
        with culprit.named(topology):
            happened = event(watch)
        keep_on(after_s)
        generator.finish()
        with culprit.named(topology):
            counts = generator.poll(_ANSWER_S)
        topology.check_alive()
        if counts is None:
            raise HostError(f"{generator.description} did not end its trial within {_ANSWER_S:g} s")
        counts, paths = _settled(topology, generator, audit, before, counts)
    except BaseException:
        generator.abort()
        raise
    elapsed_s = time.monotonic() - began
    return happened, Trial(
        number=1,
        frame_bytes=frame_bytes,
        intended_pps=rate_pps,
        duration_s=elapsed_s,
        overhead_s=0.0,
        directions=tuple(counts),
        paths=paths[: len(counts)],
    )


def _settled(
    topology: Topology,
    generator: Generator,
    audit: Audit,
    before: object,
    counts: Sequence[DirectionCounts],
) -> tuple[Sequence[DirectionCounts], tuple[books.Path, ...]]:
    """Counts and paths, once no frame is in flight and the books balance."""
    deadline = time.monotonic() + _SETTLE_S
    while True:
        with culprit.named(topology):
            after = topology.snapshot()
        paths = tuple(audit(counts, before, after))
        if books.balanced(paths):
            return counts, paths
        if time.monotonic() > deadline:
            topology.check_alive()
            books.check(paths)
        time.sleep(0.02)  # the condition: the books balance
        with culprit.named(topology):
            counts = generator.recount()
