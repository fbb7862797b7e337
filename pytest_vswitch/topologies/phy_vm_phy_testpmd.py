"""Phy-VM-Phy with testpmd in the guest: what its kernel's routing is compared with."""

from __future__ import annotations

from typing import Final

from pytest_vswitch.topologies.chain import ChainWiring

CHAIN: Final = ChainWiring("phy_vm_phy_testpmd", ("guest-testpmd",))

AXES = CHAIN.axes
preflight = CHAIN.preflight
provision = CHAIN.provision
