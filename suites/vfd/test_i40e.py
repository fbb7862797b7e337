"""VFd: the functions that i40e has. DPDK "How To" guides, 5.4."""

from __future__ import annotations

from pytest_vswitch.measure import vf_i40e
from pytest_vswitch.measure.vf_bench import Shows

DRIVER = "i40e"


def test_vf_statistics(shows: Shows) -> None:
    """Steps: send frames that VF 0 sends back.

    Verify: the PF counts them, and their bytes, in both directions, once.
    """
    shows(vf_i40e.vf_statistics)


def test_vf_statistics_reset(shows: Shows) -> None:
    """Steps: send; clear the statistics of VF 0; send again.

    Verify: they are 0, and count what is sent after that.
    """
    shows(vf_i40e.vf_statistics_reset)


def test_link_status_notification(shows: Shows) -> None:
    """Steps: take the PF's link down, and up.

    Verify: the drivers of both VFs say so; then frames pass again.
    """
    shows(vf_i40e.link_status)


def test_broadcast(shows: Shows) -> None:
    """Steps: switch receiving of broadcasts on for VF 0, and off.

    Verify: it receives them, or not; frames to its own address always.
    """
    shows(vf_i40e.broadcast)


def test_multicast_promiscuous(shows: Shows) -> None:
    """Steps: switch multicast promiscuous mode on for VF 0, and off.

    Verify: it receives frames to a multicast address, or not; those to its own always.
    """
    shows(vf_i40e.all_multicast)


def test_unicast_promiscuous(shows: Shows) -> None:
    """Steps: switch unicast promiscuous mode on for VF 0, and off.

    Verify: it receives frames to an address of nobody, or not; those to its own always.
    """
    shows(vf_i40e.promiscuous)


def test_max_bandwidth(shows: Shows) -> None:
    """Steps: limit VF 0 to 2000 Mbit/s, offer twice that; take the limit away.

    Verify: what comes back is within 10 % above and 15 % below the limit; without it, all.
    """
    shows(vf_i40e.max_bandwidth)


def test_tc_bandwidth_allocation(shows: Shows) -> None:
    """Steps: let VF 0, limited to 2000 Mbit/s, send all it can in four traffic classes, with
    20, 20, 20 and 40 % for them, then with 25 % each.

    Verify: each class sends its share, within 5 % of all.
    """
    shows(vf_i40e.tc_min_bandwidth)


def test_tc_max_bandwidth(shows: Shows) -> None:
    """Steps: let VF 0 send all it can in four classes; limit class 0; take the limit away.

    Verify: class 0 sends what it may, and the others share the rest; without limit, all alike.
    """
    shows(vf_i40e.tc_max_bandwidth)


def test_tc_strict_priority(shows: Shows) -> None:
    """Steps: let VF 0 send all it can in four classes; give class 2 strict priority, and none.

    Verify: class 2 has the link to itself; then its part.
    """
    shows(vf_i40e.tc_strict_priority)
