"""A live migration under traffic: what it costs, by the generator and by QEMU (guide, 1.3, 2.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from pytest_vswitch.errors import InputError
from pytest_vswitch.measure import outage
from pytest_vswitch.measure.functional import FunctionalError, check_functional
from pytest_vswitch.measure.outage import Movable, Outage
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.topologies.move import MigrationError, Move, Moved, Traveller
from pytest_vswitch.topologies.topology import MemifPort, Topology
from pytest_vswitch.traffic.generator import Generator, Silence

RATE_PPS = 2000.0
"""Of all directions: little enough for an emulated guest, a frame each millisecond [frames/s]."""


@runtime_checkable
class Migratable(Movable, Protocol):
    """A topology whose guest can be moved."""

    @property
    def macs(self) -> tuple[str, ...]:
        """Addresses of the guest's ports."""

    @property
    def traveller(self) -> Traveller: ...

    def migrate(self, move: Move, watch: Callable[[], None]) -> Moved: ...


@dataclass(frozen=True, slots=True)
class Migration:
    """One migration, by everybody's clock."""

    moved: Moved
    place: int
    """Index of the place where the guest is now: the generator's link to it."""
    outages: tuple[Outage, ...]
    """What each direction saw."""
    macs: tuple[str, ...]
    """Addresses of the guest's ports, which are to be announced."""
    trial: Trial

    @property
    def silence_ms(self) -> float:
        """The longest time that a direction had no frame [ms]."""
        return max(one.silence_ms for one in self.outages)

    @property
    def account(self) -> Mapping[str, str]:
        """For readers: what the generator saw beside what QEMU says, and where they differ."""
        statistics = self.moved.statistics
        told = {
            "no frame for": " and ".join(f"{one.silence_ms:.1f} ms" for one in self.outages),
            "frames lost": " and ".join(
                f"{one.lost} ({one.lost_ms:.0f} ms of frames)" for one in self.outages
            ),
            "frames doubled": str(sum(one.duplicated for one in self.outages)),
            "QEMU's downtime": f"{statistics.downtime_ms} ms",
            "QEMU's total time": f"{statistics.total_ms / 1e3:.1f} s, {statistics.rounds} rounds, "
            f"{statistics.transferred_bytes / 1e6:.0f} MB",
        }
        if self.moved.stopped_ms is not None:
            told["QEMU's events"] = f"{self.moved.stopped_ms:.1f} ms from STOP to RESUME"
        told["resolution"] = f"{self.outages[0].spacing_ms:g} ms between two frames"
        if self.standstill is not None:
            told["resolution"] += (
                f"; up to {self.resolution_ms:.1f} ms without one before the guest was stopped"
            )
            told["beside QEMU's downtime"] = self.agreement
        told["the guest's standstill"] = self.difference
        return told

    @property
    def standstill(self) -> Silence | None:
        """The longest silence that touches what QEMU's events say; None if none is known."""
        stopped_s, resumed_s = self.moved.stopped_s, self.moved.resumed_s
        if stopped_s is None or resumed_s is None:
            return None
        return outage.meanwhile(self.outages, stopped_s, resumed_s)

    @property
    def resolution_ms(self) -> float:
        """What the generator cannot tell from what the machine's scheduling costs [ms]."""
        spacing_ms = self.outages[0].spacing_ms
        return (
            outage.resolution_ms(self.outages, self.standstill) if self.standstill else spacing_ms
        )

    @property
    def standstill_ms(self) -> float:
        """Its length, beyond what is usual between two frames [ms]."""
        spacing_ms = self.outages[0].spacing_ms
        return max(0.0, self.standstill.length_ms - spacing_ms) if self.standstill else 0.0

    @property
    def agrees(self) -> bool:
        """Whether the generator and QEMU agree, as far as the generator can tell."""
        downtime_ms = self.moved.statistics.downtime_ms
        return abs(self.standstill_ms - downtime_ms) <= self.resolution_ms

    @property
    def agreement(self) -> str:
        excess_ms = self.standstill_ms - self.moved.statistics.downtime_ms
        return f"{excess_ms:+.1f} ms: {'they agree' if self.agrees else 'they differ'}"

    @property
    def difference(self) -> str:
        """Where a silence longer than QEMU's own came from."""
        silence, moved = self.standstill, self.moved
        if moved.stopped_s is None or moved.resumed_s is None:
            return "not known"
        if silence is None:
            return "not among the longest silences: the machine was busy with something else"
        before_ms = max(0.0, moved.stopped_s - silence.began_s) * 1e3
        after_ms = max(0.0, silence.ended_s - moved.resumed_s) * 1e3
        return (
            f"{before_ms:.1f} ms before QEMU stopped the guest, {moved.stopped_ms:.1f} ms "
            f"until it ran again, {after_ms:.1f} ms until its first frame (vhost-user handshake; "
            "emulated code is translated anew)"
        )

    def faults(self) -> list[str]:
        """What a migration must not do to its traffic, a sentence each; empty if it did not."""
        found = []
        spacing_ms = self.outages[0].spacing_ms
        still_ms = self.moved.stopped_ms
        if still_ms is not None and self.silence_ms + 2 * spacing_ms < still_ms:
            found.append(
                f"the generator saw no silence longer than {self.silence_ms:.1f} ms, though QEMU "
                f"says that the guest stood still for {still_ms:.1f} ms"
            )
        for one in self.outages:
            if one.duplicated:
                found.append(f"port {one.tx_port}: {one.duplicated} frames came back twice")
        corrupted = sum(counts.corrupted for counts in self.trial.directions)
        if corrupted:
            found.append(f"{corrupted} frames came back changed")
        seen = {seen.mac for one in self.outages for seen in one.announcements}
        there = {
            seen.mac
            for one in self.outages
            for seen in one.announcements
            if seen.link == self.place
        }
        for mac in self.macs:
            if mac not in there:
                others = f"; announced were {', '.join(sorted(seen))}" if seen - {mac} else ""
                found.append(
                    f"{mac} was not announced from where the guest is now: switches go on "
                    f"sending its frames to where it was{others}"
                )
        return found


def under_traffic(
    topology: Topology,
    generator: Generator,
    *,
    frame_bytes: int,
    rate_pps: float = RATE_PPS,
    move: Move | None = None,
) -> tuple[Migration, Trial]:
    """Move the guest to its other place while frames go both ways.

    Raises MigrationError when it stays where it was, and what `outage.during` raises.
    """
    if not isinstance(topology, Migratable):
        raise InputError(f"the topology {topology.name} has no guest that can be moved")
    travels, chosen = topology, move or Move()
    moved, trial = outage.during(
        travels,
        generator,
        lambda watch: travels.migrate(chosen, watch),
        audit=outage.moving(travels),
        rate_pps=rate_pps,
        frame_bytes=frame_bytes,
    )
    traveller, port = travels.traveller, travels.ports[0]
    flooded = isinstance(port, MemifPort) and bool(port.also)
    found = Migration(
        moved=moved,
        place=traveller.places.index(traveller.here) if flooded else 0,
        outages=outage.of(trial),
        macs=travels.macs,
        trial=trial,
    )
    return found, noted(trial, found.account)


def failing(
    topology: Topology,
    generator: Generator,
    move: Move,
    *,
    frame_bytes: int,
    rate_pps: float = RATE_PPS,
) -> tuple[str, Trial]:
    """A move that is bound to fail, under traffic: why it did, in the words of whoever knows.

    Raises FunctionalError when it succeeds, or when the source does not forward exact frames
    afterwards; and what `outage.during` raises.
    """
    if not isinstance(topology, Migratable):
        raise InputError(f"the topology {topology.name} has no guest that can be moved")
    travels = topology

    def attempt(watch: Callable[[], None]) -> str:
        try:
            travels.migrate(move, watch)
        except MigrationError as error:
            return str(error)
        raise FunctionalError("the guest was moved, though the move was bound to fail")

    def watched(event: Callable[[Callable[[], None]], str], after_s: float) -> tuple[str, Trial]:
        return outage.during(
            travels,
            generator,
            event,
            audit=outage.moving(travels),
            rate_pps=rate_pps,
            frame_bytes=frame_bytes,
            after_s=after_s,
        )

    try:
        reason, trial = watched(attempt, 1.0)
        # A busy machine may lose some of these; of exact frames, in small portions, none.
        _, afterwards = watched(lambda watch: "", 1.0)
        check_functional(topology, generator, frame_bytes)
    finally:
        travels.traveller.alone = False
    told = {
        "failed move": reason.partition("; its last output")[0],
        "frames lost": f"{trial.lost}",
        "frames lost afterwards": f"{afterwards.lost} of {afterwards.sent}",
    }
    return reason, noted(trial, told)


def noted(trial: Trial, facts: Mapping[str, str]) -> Trial:
    """The trial with facts of the event, at the first hop of its first path."""
    (first, *hops), *paths = trial.paths
    told = replace(first, facts={**first.facts, **facts})
    return replace(trial, paths=((told, *hops), *paths))
