"""Live migration of a virtual machine whose network is vhost-user, under traffic.

DPDK "How To" guides, chapter 2 (two back-ends), and chapter 1 (a VF that cannot be moved, and a
bonded port in the guest). The traffic generator measures the outage; QEMU tells its own.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_vswitch.fixtures import Measure, Threshold
from pytest_vswitch.results.certification import Wired
from pytest_vswitch.topologies.move import Move, cancelled, killed, too_small


def test_frames_return_exactly(live_migration: Wired, measure: Measure, frame_bytes: int) -> None:
    """Steps: send a few hundred distinct frames into each port, which floods both places.

    Verify: each comes out of the other port once, its MAC addresses swapped and every
    other byte as it was sent.
    """
    measure.functional(live_migration, frame_bytes=frame_bytes)


@pytest.mark.usefixtures("movable")
def test_migration(
    live_migration: Wired, measure: Measure, threshold: Threshold, frame_bytes: int
) -> None:
    """Steps: move the guest to the other place while frames go both ways.

    Verify: it runs there; no frame came back twice or changed; both of its addresses were
    announced from there; the generator's outage agrees with QEMU's; books balance; then every
    frame returns exactly; the outage is within the lab's threshold.
    """
    case, migration = measure.migration(live_migration, frame_bytes=frame_bytes)
    assert migration.faults() == []
    measure.functional(live_migration, frame_bytes=frame_bytes)
    threshold.check(case)


@pytest.mark.usefixtures("movable")
@pytest.mark.parametrize(
    ("why", "move"),
    [("cancelled", cancelled), ("target_dies", killed), ("target_too_small", too_small)],
    ids=["cancelled", "target_dies", "target_too_small"],
)
def test_a_failed_migration(
    live_migration: Wired, measure: Measure, frame_bytes: int, why: str, move: Callable[[], Move]
) -> None:
    """Steps: cancel a migration; kill the QEMU that waits; let it have less memory.

    Verify: the error says so; the guest forwards where it was, and loses nothing from then on.
    """
    measure.failing_migration(live_migration, move(), why, frame_bytes=frame_bytes)
    measure.functional(live_migration, frame_bytes=frame_bytes)


def test_throughput(
    live_migration: Wired, measure: Measure, threshold: Threshold, frame_bytes: int
) -> None:
    """Steps: search the no-drop and the partial drop rate where the guest is now.

    Verify: the counters of every hop reconcile in every trial; each threshold that the
    lab sets for this case is met.
    """
    case = measure.throughput(live_migration, frame_bytes=frame_bytes)
    threshold.check(case)


@pytest.mark.usefixtures("movable")
def test_bonded_migration(
    bonded_migration: Wired, measure: Measure, threshold: Threshold, frame_bytes: int
) -> None:
    """Steps: a guest forwards by a bond of virtio and VF, whose primary is the VF. Take the VF
    out of the bond and of the guest, move the guest, give it a VF again, and the bond, too.

    Verify: frames go on in every step, with `--nic sriov` by the slave that the guide names and
    at the place where the guest is; the guest is announced; then every frame returns exactly;
    the outage is within the lab's threshold.
    """
    measure.functional(bonded_migration, frame_bytes=frame_bytes)
    case, move = measure.bonded_migration(bonded_migration, frame_bytes=frame_bytes)
    assert move.faults() == []
    measure.functional(bonded_migration, frame_bytes=frame_bytes)
    threshold.check(case)
