"""Phy-VM-Phy: physical port - virtual machine - physical port, of the Open vSwitch guides.

The guest's kernel routes. Of the guides' transports, KNI and MEMNIC, vhost-user has taken
the place.
"""

from __future__ import annotations

from typing import Final

from pytest_vswitch.topologies.chain import ChainWiring

CHAIN: Final = ChainWiring("phy_vm_phy", ("guest-kernel",))

AXES = CHAIN.axes
preflight = CHAIN.preflight
provision = CHAIN.provision
