"""What the guides for the Intel DPDK vSwitch have one check, before anything is measured.

MEMNIC or KNI, as `ovdk.ports` of the lab says. Each is asked anew of the running programs; the
routing itself is in `test_phy_vm_phy.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_vswitch.errors import DutError
from pytest_vswitch.results.certification import Wired
from pytest_vswitch.topologies.chain import Chain
from pytest_vswitch.topologies.endpoints.ovdk_guest import OvdkGuest
from pytest_vswitch.topologies.vswitches.ovdk import Switch


@pytest.fixture
def switch(phy_vm_phy: Wired) -> Switch:
    """The running vSwitch."""
    assert isinstance(phy_vm_phy.topology, Chain)
    assert isinstance(phy_vm_phy.topology.vswitch, Switch)
    return phy_vm_phy.topology.vswitch


@pytest.fixture
def guest(phy_vm_phy: Wired) -> OvdkGuest:
    """The running guest."""
    assert isinstance(phy_vm_phy.topology, Chain)
    assert isinstance(phy_vm_phy.topology.endpoints[0], OvdkGuest)
    return phy_vm_phy.topology.endpoints[0]


def test_ports_are_as_asked_for(switch: Switch) -> None:
    """Steps: `ovs-vsctl show`.

    Verify: it names every port, of the type and with the option that it was added with.
    """
    _holds(switch.check_ports)


def test_flows_are_as_added(switch: Switch) -> None:
    """Steps: `ovs-ofctl dump-flows`.

    Verify: there is a flow for each port, to its partner, and no other.
    """
    _holds(switch.check_flows)


def test_shared_memory_has_its_metadata(guest: OvdkGuest) -> None:
    """Steps: read the beginning of what the vSwitch shares with the guest.

    Verify: it is MEMNIC's or IVSHMEM's metadata; a MEMNIC region is in use by the guest.
    """
    _holds(guest.driver.check_shared)


def test_guest_found_the_metadata(guest: OvdkGuest) -> None:
    """Steps: `dmesg` in the guest.

    Verify: its driver has found the metadata, of each port for MEMNIC.
    """
    _holds(guest.driver.check_metadata)


def test_interfaces_are_up_and_running(guest: OvdkGuest) -> None:
    """Steps: `ifconfig -a` in the guest.

    Verify: both interfaces are up and running, with the MAC addresses that they were given.
    """
    _holds(guest.check_interfaces)


def test_routes_and_neighbours_are_set(guest: OvdkGuest) -> None:
    """Steps: `sysctl`, `route -n` and `arp -n` in the guest.

    Verify: it routes, reverse paths are not filtered, and gateways and their MAC addresses are
    those of the generator's side.
    """
    _holds(guest.check_routes)


def _holds(check: Callable[[], None]) -> None:
    """A check that does not hold fails the test, with its sentence."""
    __tracebackhide__ = True
    try:
        check()
    except DutError as error:
        pytest.fail(str(error), pytrace=False)
