"""The guide's chapter 1 with a real VF, under traffic: what it says is to be seen, step by step.

Every expectation has a name, and fails by it: `asserted` lists those that were held.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pytest_vswitch.errors import DutError
from pytest_vswitch.measure import outage
from pytest_vswitch.measure.migration import noted
from pytest_vswitch.measure.outage import Outage, Step, longest
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.topologies.move import Moved
from pytest_vswitch.topologies.sriov_migration import VF, VIRTIO, Look, SriovMigration
from pytest_vswitch.topologies.sriov_migration_move import Stop
from pytest_vswitch.traffic.generator import DirectionCounts, Generator

RATE_PPS: Final = 1000.0
"""A frame each millisecond, in the one direction that there is [frames/s]."""
DWELL_S = 0.5
"""How long frames are counted between two steps [s]."""
AFTER_S = 2.0
"""Traffic after the last step [s]."""
STANDBY_FRAMES: Final = 256
"""Descriptors of a slave's ring: so many frames can wait in it while it stands by."""
CHANGES: Final = 4
"""Times that a slave gets frames which stood by before: VF out, VF in, virtio out and in."""
STRAY_SHARE: Final = 0.1
"""Of what is sent in that time: fewer may be broadcasts of others, and are no traffic."""


class EffectMissing(AssertionError):
    """A step was taken, and what the guide says of it is not to be seen: the DUT fails."""

    def __init__(self, assertion: str, message: str) -> None:
        super().__init__(f"{assertion}: {message}")
        self.assertion = assertion


@dataclass(frozen=True, slots=True)
class VfMove:
    """A guest with a VF of its new place, and what its traffic saw of the way there."""

    moved: Moved
    steps: tuple[Step, ...]
    outage: Outage
    counts: DirectionCounts
    mac: str
    """The address that is to be announced."""
    asserted: list[str]

    def faults(self) -> list[str]:
        """What is not to be seen of the whole of it, a sentence each; empty if all is."""
        # A generator that tells no silences (TRex) tells no announcements either.
        announced = {one.mac for one in self.outage.announcements}
        most = CHANGES * STANDBY_FRAMES
        still_ms, silence_ms = self.moved.stopped_ms or 0.0, self.outage.silence_ms
        held = (
            (
                "the guest is announced where it is now",
                self.mac in announced or not self.counts.silences,
                f"{self.mac} was not; {', '.join(sorted(announced)) or 'nothing'} was",
            ),
            (
                "no frame is doubled but those that stood by",
                self.outage.duplicated <= most,
                f"{self.outage.duplicated} came back twice; {most} can have waited in rings",
            ),
            (
                "no frame is changed",
                not self.counts.corrupted,
                f"{self.counts.corrupted} came back with a wrong byte",
            ),
            (
                "the silence is as long as QEMU's standstill at least",
                silence_ms + 2 * self.outage.spacing_ms >= still_ms or not self.counts.silences,
                f"none was longer than {silence_ms:.1f} ms, and QEMU stopped the guest for "
                f"{still_ms:.1f} ms",
            ),
        )
        self.asserted.extend(assertion for assertion, _, _ in held)
        return [f"{assertion}: {otherwise}" for assertion, fact, otherwise in held if not fact]


@dataclass(slots=True)
class _Expectations:
    asserted: list[str] = field(default_factory=list)

    def that(self, assertion: str, fact: bool, otherwise: str) -> None:
        self.asserted.append(assertion)
        if not fact:
            raise EffectMissing(assertion, otherwise)


@dataclass(slots=True)
class Chapter:
    """The steps of chapter 1, and what is to be seen after each."""

    topology: SriovMigration
    watch: Callable[[], None]
    """To be called every few milliseconds."""
    expect: _Expectations = field(default_factory=_Expectations)
    times: list[tuple[str, float, float]] = field(default_factory=list)
    """What, from when to when [s, Unix time]."""
    few: float = 0.0
    """So many frames between two steps are no traffic."""
    floods: bool = False
    """Whether the switch sends frames to both servers, as the guide's does (1.2)."""
    began: Stop = field(init=False)
    """Where the guest was: the source, or, on its way back, the target."""

    def __post_init__(self) -> None:
        self.began = self.topology.here

    def carry_out(self) -> None:
        """Raises EffectMissing, MigrationError, DutError."""
        topology = self.topology
        self._forwards_by_vf("at first")
        self._step("VF out of the bond (1.3.3)", topology.remove_vf)
        self._forwards_by_virtio("without the VF")
        self._step("device_del (1.3.4)", topology.unplug_vf)
        self._state("the bond is left alone by device_del", VIRTIO, (VIRTIO,))
        self._step("migrate (1.3.8)", topology.migrate)
        self._has_moved()
        self._forwards_by_virtio("at the target")
        self._step("device_add (1.3.10)", topology.plug_vf)
        self._step("VF in the bond (1.3.11)", topology.add_vf)
        macs = topology.vf_addresses()
        self.expect.that(
            "the new VF has the guest's address",
            topology.mac in macs,
            f"it has {', '.join(macs)}, not {topology.mac}",
        )
        self._forwards_by_vf("at the target")
        self._step("virtio out of the bond (1.3.11)", topology.retire_virtio)
        self._alone()
        self._step("virtio in the bond", topology.return_virtio)
        self._forwards_by_vf("at the end")

    # --- what the guide says is to be seen ---

    def _forwards_by_vf(self, when: str) -> None:
        """ "Primary is now P1. There are 2 active slaves." "VF traffic is seen at P1 and P2." """
        self._state(f"the VF is the primary, both slaves are active, {when}", VF, (VIRTIO, VF))
        virtio, vf, bond, here, there = self._counted()
        self.floods = self.floods or there > self.few
        self.expect.that(
            f"frames go by the VF {when}",
            vf > self.few and not virtio,
            f"{vf} came by the VF, {virtio} by virtio, {bond} by the bond, {here} to the bridge",
        )

    def _forwards_by_virtio(self, when: str) -> None:
        """ "Primary is now P0. There is 1 active slave." And frames go on, by the bridge."""
        self._state(f"virtio is the primary and only slave {when}", VIRTIO, (VIRTIO,))
        virtio, _, bond, here, there = self._counted()
        if self._is_moved:
            self.expect.that(
                "the switch sends frames to the new place",
                here > self.few,
                f"{here} came to the PF there, {there} to that of the {self.began.name}: it goes "
                "on sending them to where the guest was",
            )
            self.expect.that(
                "the switch sends none to the old place",
                self.floods or there <= self.few,
                f"{there} came to the PF of the {self.began.name}, beside {here} to the new one",
            )
        else:
            self.floods = self.floods or there > self.few
            self.expect.that(
                "the VF has given the guest's address up",
                here > self.few,
                f"{here} frames came to the bridge: the VF has them still",
            )
        self.expect.that(
            f"the bond forwards by virtio {when}",
            virtio > self.few and bond > self.few,
            f"of {here} frames at the bridge {virtio} came by virtio, {bond} by the bond",
        )

    def _has_moved(self) -> None:
        """ "VM status: paused (inmigrate)", "paused (postmigrate)", "running"."""
        told = self.topology.move.told
        for assertion, said, wanted in (
            ("QEMU waits at the target (1.3.7)", told.waiting, "inmigrate"),
            ("the source has let the guest go (1.3.8)", told.left, "postmigrate"),
            ("the guest runs at the target (1.3.10)", told.arrived, "running"),
        ):
            self.expect.that(assertion, said == wanted, f"QEMU says `{said}`, not `{wanted}`")

    def _alone(self) -> None:
        """ "VF traffic is seen at P1 (VF) and P2 (Bonded device)", without virtio."""
        self._state("the VF is the only slave", VF, (VF,))
        _, vf, bond, _, _ = self._counted()
        self.expect.that(
            "frames go by the VF alone",
            vf > self.few and bond > self.few,
            f"{vf} came by the VF, {bond} by the bond",
        )

    # --- how ---

    @property
    def _is_moved(self) -> bool:
        return self.topology.here is not self.began

    def _step(self, what: str, act: Callable[[], None]) -> None:
        began_s = time.time()
        act()
        self.watch()
        self.times.append((what, began_s, time.time()))

    def _look(self) -> Look:
        look = self.topology.look()
        if look is None:
            raise DutError(f"{self.topology.forwarder.terminal.name} tells nothing of its bond")
        return look

    def _state(self, assertion: str, primary: int, slaves: Sequence[int]) -> None:
        state = self._look().state
        wanted = (primary, sorted(slaves), sorted(slaves))
        saw = (state.primary, sorted(state.slaves), sorted(state.active))
        self.expect.that(
            assertion,
            saw == wanted,
            f"its primary is {state.primary}, slaves are {state.slaves}, active {state.active}",
        )

    def _counted(self) -> tuple[int, int, int, int, int]:
        """Frames in a while: by virtio, VF, bond; at the PF where the guest is, and the other."""
        before = self._look()
        deadline = time.monotonic() + DWELL_S
        while time.monotonic() < deadline:
            self.watch()
            time.sleep(0.02)  # the condition: the time is over
        after = self._look()
        virtio, vf, bond = (b - a for a, b in zip(before.received, after.received, strict=True))
        pfs = [b - a for a, b in zip(before.at_pf, after.at_pf, strict=True)]
        here, there = pfs if self.topology.here is self.topology.stops[0] else reversed(pfs)
        return virtio, vf, bond, here, there


def under_traffic(
    topology: SriovMigration,
    generator: Generator,
    *,
    frame_bytes: int,
    rate_pps: float = RATE_PPS,
) -> tuple[VfMove, Trial]:
    """VF out of the bond, unplugged; guest moved; a VF plugged, and in the bond again.

    Raises EffectMissing for what the guide says and is not to be seen, MigrationError when the
    guest stays where it was, and what `outage.during` raises.
    """
    chapters: list[Chapter] = []

    def event(watch: Callable[[], None]) -> None:
        chapters.append(Chapter(topology, watch, few=STRAY_SHARE * rate_pps * DWELL_S))
        chapters[0].carry_out()

    _, trial = outage.during(
        topology,
        generator,
        event,
        audit=outage.by_generator(topology),
        rate_pps=rate_pps,
        frame_bytes=frame_bytes,
        after_s=AFTER_S,
    )
    (chapter,), moved = chapters, topology.move.moved
    assert moved is not None  # it has succeeded
    (seen,) = outage.of(trial)
    silences = trial.directions[0].silences
    steps = tuple(
        Step(what, began_s, ended_s, longest(silences, began_s, ended_s))
        for what, began_s, ended_s in chapter.times
    )
    found = VfMove(moved, steps, seen, trial.directions[0], topology.mac, chapter.expect.asserted)
    told = {step.what: f"no frame for {step.silence_ms:.0f} ms at most" for step in steps}
    told |= {
        "switch": "sends to both servers" if chapter.floods else "has learned where the guest is",
        "frames lost": f"{seen.lost} ({seen.lost_ms:.0f} ms of frames)",
        "frames doubled": f"{seen.duplicated} (they waited in the ring of a slave that stood by)",
        "QEMU's downtime": f"{moved.statistics.downtime_ms} ms",
        "QEMU's total time": f"{moved.statistics.total_ms / 1e3:.1f} s",
    }
    return found, noted(trial, told)
