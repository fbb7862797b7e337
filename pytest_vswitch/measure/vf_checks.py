"""Every check of VFd, by the section of the guide and the drivers that it is for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pytest_vswitch.measure import vf_functions, vf_i40e, vf_ixgbe, vf_kernel
from pytest_vswitch.measure.vf_bench import Bench


@dataclass(frozen=True, slots=True)
class Check:
    """One function of chapter 5."""

    section: str
    name: str
    run: Callable[[Bench], None]
    """Raises EffectMissing, NotSupported, DutError."""
    drivers: tuple[str, ...]


_BOTH: Final = ("ixgbe", "i40e")
_IXGBE: Final = ("ixgbe",)
_I40E: Final = ("i40e",)

CHECKS: Final = (
    Check("5.2.1", "TX loopback", vf_functions.tx_loopback, _BOTH),
    Check("5.2.2", "VF MAC address", vf_functions.mac_address, _BOTH),
    Check("5.2.3", "MAC anti-spoofing", vf_functions.mac_antispoof, _BOTH),
    Check("5.2.4", "VLAN anti-spoofing", vf_functions.vlan_antispoof, _BOTH),
    Check("5.2.5", "VLAN insertion", vf_functions.vlan_insert, _BOTH),
    Check("5.2.6", "VLAN stripping", vf_functions.vlan_strip, _BOTH),
    Check("5.2.7", "VLAN filtering", vf_functions.vlan_filter, _BOTH),
    Check("5.3.1", "all queues drop", vf_ixgbe.all_queues_drop, _IXGBE),
    Check("5.3.2", "VF packet drop", vf_ixgbe.split_drop, _IXGBE),
    Check("5.3.3", "VF rate limit", vf_ixgbe.rate_limit, _IXGBE),
    Check("5.3.4", "VF RX enabling", vf_ixgbe.rx_enabling, _IXGBE),
    Check("5.3.5", "VF TX enabling", vf_ixgbe.tx_enabling, _IXGBE),
    Check("5.3.6", "RX mode AUPE", vf_ixgbe.rx_mode_untagged, _IXGBE),
    Check("5.3.6", "RX mode ROPE", vf_ixgbe.rx_mode_hashed, _IXGBE),
    Check("5.3.6", "RX mode BAM", vf_ixgbe.rx_mode_broadcast, _IXGBE),
    Check("5.3.6", "RX mode MPE", vf_ixgbe.rx_mode_multicast, _IXGBE),
    Check("5.4.1", "VF statistics", vf_i40e.vf_statistics, _I40E),
    Check("5.4.2", "VF statistics reset", vf_i40e.vf_statistics_reset, _I40E),
    Check("5.4.3", "link status notification", vf_i40e.link_status, _I40E),
    Check("5.4.4", "broadcast", vf_i40e.broadcast, _I40E),
    Check("5.4.5", "multicast promiscuous", vf_i40e.all_multicast, _I40E),
    Check("5.4.6", "unicast promiscuous", vf_i40e.promiscuous, _I40E),
    Check("5.4.7", "VF max bandwidth", vf_i40e.max_bandwidth, _I40E),
    Check("5.4.8", "TC bandwidth allocation", vf_i40e.tc_min_bandwidth, _I40E),
    Check("5.4.9", "TC max bandwidth", vf_i40e.tc_max_bandwidth, _I40E),
    Check("5.4.10", "TC strict priority", vf_i40e.tc_strict_priority, _I40E),
)

_ALL: Final = ("igb", *_BOTH)

KERNEL_CHECKS: Final = (
    Check("5.2.2", "VF MAC address", vf_kernel.mac_address, _ALL),
    Check("5.2.2", "trust", vf_kernel.trust, _ALL),
    Check("5.2.3", "spoof check", vf_kernel.spoof_check, _ALL),
    Check("5.2.4", "VLAN spoof check", vf_kernel.vlan_spoof_check, _ALL),
    Check("5.2.5", "VLAN insertion", vf_kernel.vlan_insertion, _ALL),
    Check("5.2.6", "VLAN stripping", vf_kernel.vlan_stripping, _ALL),
    Check("5.2.7", "VLAN filtering", vf_kernel.vlan_filter, _ALL),
    Check("5.2.7", "VLANs that a VF asks for", vf_kernel.own_vlans, _ALL),
    Check("5.2.1", "between VFs", vf_kernel.between_functions, _ALL),
    Check("5.2.1", "switching", vf_kernel.switching, _BOTH),
    Check("5.4.3", "VF link state", vf_kernel.link_state, _BOTH),
    Check("5.4.3", "port down", vf_kernel.port_down, _ALL),
    Check("5.4.3", "link status notification", vf_kernel.link_status, _ALL),
    Check("5.4.5", "multicast group", vf_kernel.multicast_group, _ALL),
    Check("5.4.5", "multicast promiscuous", vf_kernel.all_multicast, _ALL),
    Check("5.4.6", "unicast promiscuous", vf_kernel.promiscuous, _BOTH),
    Check("5.3.3", "VF rate limit", vf_kernel.rate_limit, _ALL),
    Check("5.4.1", "VF statistics", vf_kernel.vf_statistics, _I40E),
    Check("5.4.1", "a VF's own statistics", vf_kernel.own_statistics, _ALL),
    Check("5.4.2", "a VF's own statistics reset", vf_kernel.own_statistics_reset, _ALL),
)
"""Those that the kernel's driver of the PF has, by `ip link`."""
