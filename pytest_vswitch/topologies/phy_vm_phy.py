"""Phy-VM-Phy: physical port - virtual machine - physical port, of the Open vSwitch guides.

The guest's kernel routes. Of the guides' transports, KNI and MEMNIC, vhost-user has taken
the place; with an Intel DPDK vSwitch (`--vswitch ovdk`) it is they.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Final

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.chain import Chain, ChainWiring
from pytest_vswitch.topologies.vswitches import KNI, MEMNIC

CHAIN: Final = ChainWiring("phy_vm_phy", ("guest-kernel",))
OVDK: Final[Mapping[str, ChainWiring]] = {
    "memnic": ChainWiring("phy_vm_phy", ("guest-memnic",), MEMNIC),
    "kni": ChainWiring("phy_vm_phy", ("guest-kni",), KNI),
}
"""By `ovdk.ports` of the lab."""

AXES = CHAIN.axes


def chain(lab: Lab) -> ChainWiring:
    """The wiring that fits the lab's vSwitch."""
    if lab.dut.vswitch != "ovdk":
        return CHAIN
    return OVDK[lab.ovdk.ports if lab.ovdk else "memnic"]


def preflight(lab: Lab, host: Host) -> None:
    """Raise InputError for what the lab or the host lacks; nothing is changed."""
    chain(lab).preflight(lab, host)


def provision(lab: Lab, host: Host) -> AbstractContextManager[Chain]:
    """See `ChainWiring.provision`."""
    return chain(lab).provision(lab, host)
