"""VFd: the functions that ixgbe has. DPDK "How To" guides, 5.3."""

from __future__ import annotations

from pytest_vswitch.measure import vf_ixgbe
from pytest_vswitch.measure.vf_bench import Shows

DRIVER = "ixgbe"


def test_all_queues_drop(shows: Shows) -> None:
    """Steps: fill the ring of VF 1, which nobody polls; send to VF 0; off, then on.

    Verify: off, VF 0 receives nothing, for the port waits for VF 1; on, it receives all.
    """
    shows(vf_ixgbe.all_queues_drop)


def test_vf_packet_drop(shows: Shows) -> None:
    """Steps: as for all queues, which are off, with VF 1's own setting.

    Verify: as for all queues.
    """
    shows(vf_ixgbe.split_drop)


def test_rate_limit(shows: Shows) -> None:
    """Steps: limit the queue of VF 0 to 10 Mbit/s, offer four times that; take the limit away.

    Verify: what comes back is within 10 % above and 15 % below the limit; without it, all.
    """
    shows(vf_ixgbe.rate_limit)


def test_rx_enabling(shows: Shows) -> None:
    """Steps: switch receiving off for VF 0, then on.

    Verify: off, VF 0 receives nothing, and VF 1 all that is sent to it; on, VF 0 receives.
    """
    shows(vf_ixgbe.rx_enabling)


def test_tx_enabling(shows: Shows) -> None:
    """Steps: switch sending off for VF 0, then on.

    Verify: off, it receives, and nothing comes out; on, all comes out.
    """
    shows(vf_ixgbe.tx_enabling)


def test_rx_mode_aupe(shows: Shows) -> None:
    """Steps: accept untagged frames, and not.

    Verify: VF 0 receives them, or not; tagged frames of its VLAN always.
    """
    shows(vf_ixgbe.rx_mode_untagged)


def test_rx_mode_rope(shows: Shows) -> None:
    """Steps: enter an address into the hash table; accept what matches it, and not.

    Verify: VF 0 receives frames to that address, or not; frames to its own always.
    """
    shows(vf_ixgbe.rx_mode_hashed)


def test_rx_mode_bam(shows: Shows) -> None:
    """Steps: accept broadcasts, and not.

    Verify: VF 0 receives them, or not; frames to its own address always.
    """
    shows(vf_ixgbe.rx_mode_broadcast)


def test_rx_mode_mpe(shows: Shows) -> None:
    """Steps: accept all multicast frames, and not.

    Verify: VF 0 receives them, or not; frames to its own address always.
    """
    shows(vf_ixgbe.rx_mode_multicast)
