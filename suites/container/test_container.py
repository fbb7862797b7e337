"""Container networking over virtio-user: physical port, container, physical port.

DPDK "How To" guides, chapter 6. The vSwitch forwards on the host, testpmd (`macswap`) in a
container; frames go through both virtio-user ports of the container, in both directions
at once.
"""

from __future__ import annotations

import pytest

from pytest_vswitch.fixtures import Measure, Threshold
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.measure.way import check_way
from pytest_vswitch.results.certification import Wired
from pytest_vswitch.results.run import Run
from pytest_vswitch.topologies.container import breaches, scattered


def test_frames_return_exactly(container: Wired, measure: Measure, frame_bytes: int) -> None:
    """Steps: send a few hundred distinct frames into each port.

    Verify: each comes out of the other port once, its MAC addresses swapped and every
    other byte as it was sent.
    """
    measure.functional(container, frame_bytes=frame_bytes)


def test_frames_take_the_way_of_their_port(container: Wired) -> None:
    """Steps: send frames into one port, then into the other.

    Verify: each hop of that port's path counts them: no socket is mounted for another.
    """
    check_way(container.topology, container.generator)


def test_it_may_do_what_it_was_given_and_no_more(container: Wired) -> None:
    """Steps: a program in the container reads its user, CPUs, capabilities and hugepages.

    Verify: they are those that it was started with.
    """
    assert breaches(container.topology) == []


def test_throughput(
    container: Wired, measure: Measure, threshold: Threshold, frame_bytes: int
) -> None:
    """Steps: search the no-drop and the partial drop rate, both directions at once.

    Verify: the counters of every hop reconcile in every trial; each threshold that the
    lab sets for this case is met.
    """
    case = measure.throughput(container, frame_bytes=frame_bytes)
    threshold.check(case)


def test_memory_in_too_many_pieces_is_refused(lab: Lab, vswitch_run: Run) -> None:
    """Steps: start the container without `--single-file-segments` (guide, 6.3).

    Verify: with pages of 2 MB it is refused, with the limit of vhost-user as the reason.
    """
    if lab.dut.host == "sim":
        pytest.skip("a simulation shares no memory")
    vswitch_run.unwire()
    said = scattered(lab, vswitch_run.host)
    if said is None:
        pytest.skip("the DUT has no free pages of 2 MB: what it has is few enough")
    assert "vhost-user carries 8" in said
