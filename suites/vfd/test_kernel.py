"""VFd: the functions that the kernel's PF driver has, by `ip link set PF vf N ...`.

For an 82576 (igb), and for ixgbe and i40e with `driver: kernel`. Sections are those of DPDK's
"How To" guides that the same function has.
"""

from __future__ import annotations

from pytest_vswitch.measure import vf_kernel
from pytest_vswitch.measure.vf_bench import Shows

ROAD = "kernel"


def test_mac_address(shows: Shows) -> None:
    """Steps: give VF 0 another address, start its driver anew; give it the old one again.

    Verify: the driver has the new address; frames to it arrive, those to the other do not.
    """
    shows(vf_kernel.mac_address)


def test_trust(shows: Shows) -> None:
    """Steps: let the driver of VF 0 choose another address, not trusted and trusted.

    Verify: frames to that address do not arrive, or do.
    """
    shows(vf_kernel.trust)


def test_spoof_check(shows: Shows) -> None:
    """Steps: let VF 0 send by an address that it was not given, checked and unchecked.

    Verify: checked, only frames by its own address come out; unchecked, all. It received all.
    """
    shows(vf_kernel.spoof_check)


def test_vlan_spoof_check(shows: Shows) -> None:
    """Steps: let VF 0 send into a VLAN that it has, and into another, checked and unchecked.

    Verify: checked, only frames of its own VLAN come out; unchecked, those of both.
    """
    shows(vf_kernel.vlan_spoof_check)


def test_vlan_insertion(shows: Shows) -> None:
    """Steps: put VF 0 into VLAN 100 with priority 3, then into 200, then into none.

    Verify: every frame that comes out has that tag and priority, or no tag.
    """
    shows(vf_kernel.vlan_insertion)


def test_vlan_stripping(shows: Shows) -> None:
    """Steps: put VF 0 into a VLAN; send frames of it with another priority than the VLAN's.

    Verify: VF 0 receives all; their tag is not among those of the frames that come back.
    """
    shows(vf_kernel.vlan_stripping)


def test_vlan_filtering(shows: Shows) -> None:
    """Steps: put VF 0 into VLAN 100, then into none.

    Verify: it receives frames of 100, none of 200, none without a tag; then those without.
    """
    shows(vf_kernel.vlan_filter)


def test_own_vlans(shows: Shows) -> None:
    """Steps: let the driver of VF 0 ask for VLANs 100 and 200; let it give up 100.

    Verify: VF 0 receives frames of both and not of 300; then of 200 only.
    """
    shows(vf_kernel.own_vlans)


def test_between_functions(shows: Shows) -> None:
    """Steps: let VF 0 send to the address of VF 1.

    Verify: VF 1 receives every frame, and the wire none.
    """
    shows(vf_kernel.between_functions)


def test_switching(shows: Shows) -> None:
    """Steps: let VF 0 send to the address of VF 1, with the mode `veb` and with `vepa`.

    Verify: with `veb` VF 1 receives every frame, and the wire none; with `vepa` the other way.
    """
    shows(vf_kernel.switching)


def test_link_state(shows: Shows) -> None:
    """Steps: take the link of VF 0 down, and up; leave it to the wire.

    Verify: its driver says so; frames do not pass, then pass.
    """
    shows(vf_kernel.link_state)


def test_port_down(shows: Shows) -> None:
    """Steps: take the PF's interface down, and up; start the VFs' drivers anew.

    Verify: frames do not pass; then they do.
    """
    shows(vf_kernel.port_down)


def test_link_status_notification(shows: Shows) -> None:
    """Steps: take the PF's interface down, and up.

    Verify: the drivers of both VFs say so.
    """
    shows(vf_kernel.link_status)


def test_multicast_group(shows: Shows) -> None:
    """Steps: let the driver of VF 0 ask for a multicast address, and give it up.

    Verify: it receives frames to that address, or not; those to its own always.
    """
    shows(vf_kernel.multicast_group)


def test_multicast_promiscuous(shows: Shows) -> None:
    """Steps: let the driver of VF 0, which is trusted, ask for all multicast frames, and not.

    Verify: it receives frames to a multicast address, or not; those to its own always.
    """
    shows(vf_kernel.all_multicast)


def test_unicast_promiscuous(shows: Shows) -> None:
    """Steps: let the driver of VF 0, which is trusted, ask for all frames, and not.

    Verify: it receives frames to an address of nobody, or not; those to its own always.
    """
    shows(vf_kernel.promiscuous)


def test_rate_limit(shows: Shows) -> None:
    """Steps: limit VF 0 to 10 Mbit/s, offer four times that; take the limit away.

    Verify: what comes back is within 10 % above and 15 % below the limit; without it, all.
    """
    shows(vf_kernel.rate_limit)


def test_vf_statistics(shows: Shows) -> None:
    """Steps: send frames that VF 0 sends back.

    Verify: `ip -s link show` counts them, and their bytes, in both directions, once.
    """
    shows(vf_kernel.vf_statistics)


def test_own_statistics(shows: Shows) -> None:
    """Steps: send frames that VF 0 sends back.

    Verify: its driver counts them, and their bytes, in both directions, once.
    """
    shows(vf_kernel.own_statistics)


def test_own_statistics_reset(shows: Shows) -> None:
    """Steps: send; clear the statistics of VF 0; send again.

    Verify: they are 0, and count what is sent after that.
    """
    shows(vf_kernel.own_statistics_reset)
