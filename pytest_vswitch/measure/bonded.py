"""The guide's chapter 1 under traffic: what each of its steps costs a bonded guest's frames."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from pytest_vswitch.errors import InputError
from pytest_vswitch.measure import outage, vf_migration
from pytest_vswitch.measure.migration import noted
from pytest_vswitch.measure.outage import Outage, Step, longest
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.measure.vf_migration import VfMove
from pytest_vswitch.topologies.bonded_migration import BondedMigration
from pytest_vswitch.topologies.move import Move, Moved
from pytest_vswitch.topologies.sriov_migration import SriovMigration
from pytest_vswitch.topologies.topology import Topology
from pytest_vswitch.traffic.generator import Generator

RATE_PPS = 1000.0
"""A frame each millisecond, in the one direction that there is [frames/s]."""

STANDBY_FRAMES = 256
"""Descriptors of a slave's ring: so many frames can wait in it while it stands by."""
FAILOVERS = 2
"""Times that another slave becomes the primary, and what waits in its ring comes out."""


@dataclass(frozen=True, slots=True)
class BondedMove:
    """A guest with a VF at its new place, with another VF."""

    moved: Moved
    steps: tuple[Step, ...]
    outage: Outage
    macs: tuple[str, ...]
    """Addresses that are to be announced."""

    def faults(self) -> list[str]:
        """What it must not do to its traffic, a sentence each; empty if it did not."""
        found = []
        most = FAILOVERS * STANDBY_FRAMES
        if self.outage.duplicated > most:
            found.append(
                f"{self.outage.duplicated} frames came back twice; those that waited in the ring "
                f"of a slave that stood by are {most} at most"
            )
        spacing_ms = self.outage.spacing_ms
        if not self.outage.announcements:
            found.append("nothing announced where the guest is now")
        still_ms = self.moved.stopped_ms or 0.0
        if self.outage.silence_ms + 2 * spacing_ms < still_ms:
            found.append(
                f"the generator saw no silence longer than {self.outage.silence_ms:.1f} ms, though "
                f"QEMU says that the guest stood still for {still_ms:.1f} ms"
            )
        return found


def under_traffic(
    topology: Topology,
    generator: Generator,
    *,
    frame_bytes: int,
    rate_pps: float = RATE_PPS,
    move: Move | None = None,
) -> tuple[BondedMove | VfMove, Trial]:
    """VF out of the bond, unplugged; guest moved; VF plugged, and in the bond again.

    Raises MigrationError when it stays where it was, and what `outage.during` raises.
    """
    if isinstance(topology, SriovMigration):
        return vf_migration.under_traffic(
            topology, generator, frame_bytes=frame_bytes, rate_pps=rate_pps
        )
    if not isinstance(topology, BondedMigration):
        raise InputError(f"the topology {topology.name} has no guest with a bonded port")
    bonded, chosen, times = topology, move or Move(), [0.0]
    names: list[str] = []

    def event(watch: Callable[[], None]) -> Moved:
        def done(name: str) -> None:
            watch()
            names.append(name)
            times.append(time.time())

        times[0] = time.time()
        bonded.remove_vf()
        done("VF out of the bond (1.3.3)")
        bonded.unplug_vf()
        done("device_del (1.3.4)")
        moved = bonded.migrate(chosen, watch)
        done("migrate (1.3.8)")
        bonded.plug_vf()
        done("device_add (1.3.10)")
        bonded.add_vf()
        done("VF in the bond (1.3.11)")
        return moved

    moved, trial = outage.during(
        bonded,
        generator,
        event,
        audit=outage.by_link(bonded),
        rate_pps=rate_pps,
        frame_bytes=frame_bytes,
    )
    (seen,) = outage.of(trial)
    silences = trial.directions[0].silences
    steps = tuple(
        Step(name, began, ended, longest(silences, began, ended))
        for name, began, ended in zip(names, times, times[1:], strict=False)
    )
    found = BondedMove(moved, steps, seen, (bonded.mac,))
    told = {step.what: f"no frame for {step.silence_ms:.0f} ms at most" for step in steps}
    told |= {
        "frames lost": f"{seen.lost} ({seen.lost_ms:.0f} ms of frames)",
        "frames doubled": f"{seen.duplicated} (they waited in the ring of a slave that stood by)",
        "QEMU's downtime": f"{moved.statistics.downtime_ms} ms",
        "QEMU's total time": f"{moved.statistics.total_ms / 1e3:.1f} s",
    }
    return found, noted(trial, told)
