"""Phy-VM-Phy with testpmd in the guest: what its kernel's routing is compared with."""

from __future__ import annotations

from typing import Final

from pytest_vswitch.errors import NotHere
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.chain import ChainWiring

CHAIN: Final = ChainWiring("phy_vm_phy_testpmd", ("guest-testpmd",))

AXES = CHAIN.axes
provision = CHAIN.provision


def preflight(lab: Lab, host: Host) -> None:
    """Raise InputError for what the lab or the host lacks, NotHere behind MEMNIC and KNI."""
    if lab.dut.vswitch == "ovdk":
        raise NotHere("MEMNIC and KNI are interfaces of the guest's kernel, none for its testpmd")
    CHAIN.preflight(lab, host)
