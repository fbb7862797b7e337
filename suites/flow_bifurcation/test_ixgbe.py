"""Flow bifurcation on Intel 82599 and X540: Flow Director's filters (guide, chapter 3.1)."""

from __future__ import annotations

import contextlib

import pytest

from pytest_vswitch.apps.ethtool_filters import Rule, Target, udp4
from pytest_vswitch.measure.bifurcation import FRAMES, Setup, hold

DRIVER = "ixgbe"
ONE, OTHER = "192.0.2.2", "198.51.100.2"
STRANGER = "192.0.2.3"


@pytest.mark.parametrize("queue", [0, 1])
def test_each_flow_goes_to_its_vf(split: Setup, queue: int) -> None:
    """Steps: direct UDP between two hosts to VF 0, the way back to VF 1, each to a queue. Send
    both, twice as much the one way, and between their frames UDP of other hosts, TCP of the
    same hosts, and pings.

    Verify: each flow reaches the queue that its filter names, and comes back from testpmd;
    nothing else reaches a VF; the kernel gets all the rest and nothing more, and answers.
    """
    with contextlib.ExitStack() as filters:
        filters.enter_context(split.filtering(udp4(ONE, OTHER, Target(queue, vf=0), 1)))
        filters.enter_context(split.filtering(udp4(OTHER, ONE, Target(queue, vf=1), 2)))
        seen = split.send(
            split.udp(ONE, OTHER),
            split.udp(OTHER, ONE),
            split.udp(OTHER, ONE),
            split.udp(STRANGER, OTHER),
            split.udp(ONE, STRANGER),
            split.tcp(ONE, OTHER),
            split.echoes(),
        )
    hold(
        each_flow_reaches_its_queue=({(0, queue): FRAMES, (1, queue): 2 * FRAMES}, seen.vf_queues),
        the_VFs_get_nothing_else=({0: FRAMES, 1: 2 * FRAMES}, seen.vfs),
        each_flow_comes_back_from_DPDK=({0: FRAMES, 1: 2 * FRAMES}, seen.returned),
        the_kernel_gets_all_the_rest=(4 * FRAMES, seen.kernel),
        the_kernel_answers=(FRAMES, seen.answered),
    )


def test_a_flow_without_its_filter_is_the_kernels(split: Setup) -> None:
    """Steps: send a flow before its filter is there, with it, and when it is deleted.

    Verify: DPDK gets its frames only between; the kernel's pings are answered all the time.
    """
    before = split.send(split.udp(ONE, OTHER), split.echoes())
    with split.filtering(udp4(ONE, OTHER, Target(0, vf=0), 1)):
        between = split.send(split.udp(ONE, OTHER), split.echoes())
    after = split.send(split.udp(ONE, OTHER), split.echoes())
    hold(
        without_a_filter_the_kernel_gets_all=(2 * FRAMES, before.kernel),
        with_it_DPDK_gets_the_flow=(FRAMES, between.vfs[0]),
        when_it_is_deleted_the_kernel_gets_all=(2 * FRAMES, after.kernel),
        pings_are_answered_all_the_time=(
            [FRAMES] * 3,
            [before.answered, between.answered, after.answered],
        ),
    )


WRONG = {
    "a VF that there is not": udp4(ONE, OTHER, Target(0, vf=2), 1),
    "a queue that the VF does not have": udp4(ONE, OTHER, Target(64, vf=0), 1),
    "a queue that the PF does not have": udp4(ONE, OTHER, Target(4096), 1),
    "a place beyond the table": udp4(ONE, OTHER, Target(0, vf=0), 1 << 20),
    "a VLAN masked in part": Rule(
        1,
        (
            *("flow-type", "udp4", "src-ip", ONE, "vlan", "5", "m", "0x00ff"),
            *("action", "0x100000000", "loc", "1"),
        ),
        "Direct to VF 0 queue 0",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_filter_is_refused(split: Setup, name: str) -> None:
    """Steps: put in a filter that cannot be; send the flow that it would have matched.

    Verify: the driver refuses it, although ethtool takes its words; the table does not have
    it; DPDK gets nothing.
    """
    with split.attempting(WRONG[name]) as (refusal, is_there):
        seen = split.send(split.udp(ONE, OTHER), split.echoes())
    hold(
        the_driver_refuses_it=("driver", refusal and refusal.by),
        the_table_does_not_have_it=(False, is_there),
        the_VFs_get_nothing=({0: 0, 1: 0}, seen.vfs),
    )


def test_filters_with_other_masks_are_refused(split: Setup) -> None:
    """Steps: with a filter on both addresses, put in one on the destination only.

    Verify: the driver refuses it, for an 82599 has one mask for all its filters; the first one
    still works.
    """
    other = Rule(
        2,
        ("flow-type", "udp4", "dst-ip", ONE, "action", "0x200000000", "loc", "2"),
        "Direct to VF 1 queue 0",
    )
    with (
        split.filtering(udp4(ONE, OTHER, Target(0, vf=0), 1)),
        split.attempting(other) as (refusal, is_there),
    ):
        seen = split.send(split.udp(ONE, OTHER), split.udp(OTHER, ONE))
    hold(
        the_driver_refuses_another_mask=("driver", refusal and refusal.by),
        the_table_does_not_have_it=(False, is_there),
        the_first_filter_still_works=({0: FRAMES, 1: 0}, seen.vfs),
    )
