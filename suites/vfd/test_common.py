"""VFd: the functions that ixgbe and i40e have. DPDK "How To" guides, 5.2.

Each is switched on and off by a command on the PF; frames and counters tell what it does. VF 0
sends back what it receives, by its own address; VF 1 only receives.
"""

from __future__ import annotations

from pytest_vswitch.measure import vf_functions
from pytest_vswitch.measure.vf_bench import Shows


def test_tx_loopback(shows: Shows) -> None:
    """Steps: let VF 0 send to the address of VF 1, with TX loopback and without.

    Verify: with it VF 1 receives every frame, and the wire none; without, the other way round.
    """
    shows(vf_functions.tx_loopback)


def test_mac_address(shows: Shows) -> None:
    """Steps: give VF 0 another address, start its driver anew; give it the old one again.

    Verify: the driver has the new address; frames to it arrive, those to the other do not.
    """
    shows(vf_functions.mac_address)


def test_mac_antispoofing(shows: Shows) -> None:
    """Steps: let VF 0 send by its own and by another's address, checked and unchecked.

    Verify: checked, only frames by its own address come out; unchecked, all. It received all.
    """
    shows(vf_functions.mac_antispoof)


def test_vlan_antispoofing(shows: Shows) -> None:
    """Steps: let VF 0 send into its own VLAN and into another, checked and unchecked.

    Verify: checked, only frames of its own VLAN come out; unchecked, those of both.
    """
    shows(vf_functions.vlan_antispoof)


def test_vlan_insertion(shows: Shows) -> None:
    """Steps: have VLAN 100 inserted, then 200, then none.

    Verify: every frame that comes out has that tag, or none.
    """
    shows(vf_functions.vlan_insert)


def test_vlan_stripping(shows: Shows) -> None:
    """Steps: send tagged frames, with stripping on and off.

    Verify: they come back without their tag, or with it.
    """
    shows(vf_functions.vlan_strip)


def test_vlan_filtering(shows: Shows) -> None:
    """Steps: add VLANs 100 and 200 for VF 0; remove 100.

    Verify: VF 0 receives frames of both and not of 300; then of 200 only.
    """
    shows(vf_functions.vlan_filter)
