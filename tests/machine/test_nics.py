from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_vswitch.errors import HostError
from pytest_vswitch.machine import management, nics
from pytest_vswitch.machine.discovery import unfit
from tests.machine.conftest import Emulate
from tests.machine.emulated import EmulatedHost
from tests.machine.nic_trees import (
    add_nic,
    add_vf,
    add_virtual,
    addresses,
    by,
    default_route,
    session,
)
from tests.machine.trees import NICS, Tree, server

ENO1, ENO2 = "0000:03:00.0", "0000:03:00.1"


def tree() -> Tree:
    """The server, with two ports on its board."""
    made = server()
    for rest in ("/sys/devices/system", "/proc/irq"):
        made.drop(rest)
    add_nic(made, ENO1, "eno1")
    add_nic(made, ENO2, "eno2")
    return made


def untouchable(host: EmulatedHost) -> dict[str, str]:
    return {nic.bdf: nic.management for nic in nics.read(host) if nic.management}


def test_a_port_is_read_as_the_kernel_tells_it(emulate: Emulate) -> None:
    port = nics.read(emulate(tree()))[2]
    assert port == nics.Nic(
        bdf=NICS[0],
        vendor="8086",
        device="159b",
        driver="ice",
        netdev="ens1f0",
        mac="b4:96:91:00:00:00",
        node=1,
        link_up=True,
        speed_mbps=25000,
        pcie_width=8,
        pcie_width_max=8,
        pcie_gts=16.0,
        pcie_gts_max=16.0,
        mtu=1500,
        firmware="4.40 0x8001c967 1.3534.0",
        driver_version="6.1.0-18-amd64",
        total_vfs=64,
        vfs=0,
        vf_of="",
        pause_rx=False,
        pause_tx=False,
        addresses=(),
        part_of=(),
        management="",
    )


def test_what_the_kernel_does_not_tell_is_not_known(emulate: Emulate) -> None:
    made = tree()
    add_nic(made, "0000:05:00.0", driver="vfio-pci", node=-1)
    add_nic(made, "0000:05:00.1", "down0", up=False)
    add_nic(made, "0000:05:00.2", "dark0", speed_mbps=None)
    made.put("/sys/devices/pci0000:00/0000:06:00.0", **{"class": "0x010802"})  # NVMe
    made.links["/sys/bus/pci/devices/0000:06:00.0"] = "/sys/devices/pci0000:00/0000:06:00.0"
    found = {nic.bdf: nic for nic in nics.read(emulate(made))}
    assert "0000:06:00.0" not in found
    bound, down, dark = (found[f"0000:05:00.{function}"] for function in range(3))
    assert (bound.driver, bound.netdev, bound.node) == ("vfio-pci", "", -1)
    assert (bound.link_up, bound.speed_mbps, bound.pause_rx) == (None, None, None)
    assert (bound.firmware, bound.mtu, bound.pcie_gts) == ("", None, 8.0)
    assert (down.link_up, down.speed_mbps) == (None, None)
    assert (dark.link_up, dark.speed_mbps, dark.pause_tx) == (False, None, None)


def test_without_ethtool_all_else_is_read(emulate: Emulate) -> None:
    host = emulate(tree())
    host.answers = {argv: said for argv, said in host.answers.items() if argv[0] != "ethtool"}
    assert [(nic.firmware, nic.speed_mbps) for nic in nics.read(host)[2:]] == [("", 25000)] * 2


def _bond(made: Tree) -> None:
    add_virtual(made, "bond0", "eno1", "eno2")
    default_route(made, by("bond0"))


def _bridge(made: Tree) -> None:
    add_virtual(made, "br0", "eno2")
    default_route(made, by("br0"))


def _vlan_over_bond(made: Tree) -> None:
    add_virtual(made, "bond0", "eno1")
    add_virtual(made, "bond0.7", "bond0")
    add_virtual(made, "br7", "bond0.7")
    default_route(made, by("br7"))


def _v6_only(made: Tree) -> None:
    default_route(made, [], by("eno2"))


def _several_hops(made: Tree) -> None:
    hops = [{"gateway": "10.0.0.1", "dev": name, "weight": 1} for name in ("eno1", "eno2")]
    default_route(made, [{"dst": "default", "flags": [], "nexthops": hops}])


def _session_by_another(made: Tree) -> None:
    default_route(made, by("eno1"))
    addresses(made, eno1="192.0.2.7", eno2="10.0.0.5")
    session(made, "10.0.0.5", "10.0.0.9", "eno2")


def _session_back_by_another(made: Tree) -> None:
    """It came in by eno1's address, and the way back leads through eno2."""
    default_route(made, by("eno1"))
    addresses(made, eno1="192.0.2.7", eno2="10.0.0.5")
    session(made, "[::ffff:192.0.2.7]", "[::ffff:10.0.0.9]", "eno2")


def _session_by_link_local(made: Tree) -> None:
    default_route(made, by("eno1"))
    addresses(made, eno1="192.0.2.7")
    session(made, "[fe80::2]%eno2", "[fe80::9]", "")


def _own_session(made: Tree) -> None:
    """Who is not root is not told whose a connection is."""
    default_route(made, by("eno1"))
    addresses(made, eno1="192.0.2.7", eno2="10.0.0.5")
    session(made, "10.0.0.5", "10.0.0.9", "eno2")
    made.answers["ss", "-Htnp", "state", "established"] = "0 0 10.0.0.5:22 10.0.0.9:51888\n"
    made.answers["printenv", "SSH_CONNECTION"] = "10.0.0.9 51888 10.0.0.5 22\n"


def _virtual_function(made: Tree) -> None:
    add_vf(made, "0000:03:10.1", ENO2, "eno2v0")
    default_route(made, by("eno2v0"))


def _open_vswitch(made: Tree) -> None:
    add_virtual(made, "ovs-system", "eno2")
    add_virtual(made, "br-ex")
    default_route(made, by("br-ex"))


def _tunnel(made: Tree) -> None:
    """The way to the tunnel's other end is not told; it leads by an interface with an address."""
    add_virtual(made, "wg0")
    default_route(made, by("wg0"), [{"type": "unreachable", "dst": "default", "dev": "lo"}])
    addresses(made, lo="127.0.0.1", wg0="10.9.0.1", eno2="192.0.2.7")


ROUTE = "carries the default route"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda made: None, {ENO1: f"eno1 {ROUTE}"}),
        (_bond, {b: f"{n} carries bond0, which {ROUTE}"
                 for b, n in ((ENO1, "eno1"), (ENO2, "eno2"))}),
        (_bridge, {ENO2: f"eno2 carries br0, which {ROUTE}"}),
        (_vlan_over_bond, {ENO1: f"eno1 carries bond0, which {ROUTE}"}),
        (_v6_only, {ENO2: f"eno2 {ROUTE}"}),
        (_several_hops, {ENO1: f"eno1 {ROUTE}", ENO2: f"eno2 {ROUTE}"}),
        (_session_by_another, {
            ENO1: f"eno1 {ROUTE}", ENO2: "eno2 carries the SSH session from 10.0.0.9"}),
        (_session_back_by_another, {
            ENO1: f"eno1 {ROUTE}", ENO2: "eno2 carries the SSH session from 10.0.0.9"}),
        (_session_by_link_local, {
            ENO1: f"eno1 {ROUTE}", ENO2: "eno2 carries the SSH session from fe80::9"}),
        (_own_session, {
            ENO1: f"eno1 {ROUTE}", ENO2: "eno2 carries the SSH session from 10.0.0.9"}),
        (_virtual_function, {
            "0000:03:10.1": f"eno2v0 {ROUTE}",
            ENO2: f"of its virtual function 0000:03:10.1, eno2v0 {ROUTE}"}),
        (_tunnel, {ENO2: f"eno2 carries wg0, which {ROUTE}"}),
        (_open_vswitch, {
            ENO2: f"eno2 carries br-ex, which {ROUTE}"}),
    ],
)  # fmt: skip
def test_a_management_port_is_never_offered_nor_unbound(
    change: Callable[[Tree], None], expected: dict[str, str], emulate: Emulate
) -> None:
    made = tree()
    change(made)
    host = emulate(made)
    assert untouchable(host) == expected
    for nic in nics.read(host):
        if nic.bdf in expected:
            assert unfit(nic) == f"never touched: {expected[nic.bdf]}"
            with pytest.raises(HostError) as caught:
                nics.refuse_management(host, nic.bdf)
            assert str(caught.value) == (
                f"emulated: NIC port {nic.bdf} is left alone: {expected[nic.bdf]}"
            )
        else:
            nics.refuse_management(host, nic.bdf)


@pytest.mark.parametrize("program", ["ip", "ss"])
def test_who_cannot_find_out_touches_nothing(program: str, emulate: Emulate) -> None:
    host = emulate(tree())
    host.answers = {argv: said for argv, said in host.answers.items() if argv[0] != program}
    for ask in (lambda: nics.read(host), lambda: nics.refuse_management(host, ENO2)):
        with pytest.raises(HostError, match=program):
            ask()


def test_an_ip_without_json_is_told(emulate: Emulate) -> None:
    host = emulate(tree())
    host.answers = {a: "BusyBox v1.36\n" if a[0] == "ip" else s for a, s in host.answers.items()}
    with pytest.raises(HostError, match="did not answer in JSON: is it iproute2"):
        management.reasons(host)


def test_virtual_functions_and_ports_in_use_are_not_offered(emulate: Emulate) -> None:
    made = tree()
    add_vf(made, "0000:03:10.1", ENO2, "eno2v0")
    add_nic(made, "0000:05:00.0", "storage0")
    add_nic(made, "0000:05:00.1", "member0")
    add_nic(made, "0000:05:00.2", driver="vfio-pci")
    add_nic(made, "0000:05:00.3", driver="ixgbe")
    add_virtual(made, "br1", "member0")
    addresses(made, storage0="10.7.0.1")
    found = {nic.bdf: unfit(nic) for nic in nics.read(emulate(made))}
    assert found == {
        NICS[0]: "",
        NICS[1]: "",
        ENO1: f"never touched: eno1 {ROUTE}",
        ENO2: "its 1 virtual functions would go with it",
        "0000:03:10.1": f"a virtual function of {ENO2}",
        "0000:05:00.0": "storage0 is in use: it has the address 10.7.0.1",
        "0000:05:00.1": "member0 is part of br1",
        "0000:05:00.2": "",
        "0000:05:00.3": "its interface is in another network namespace (driver ixgbe)",
    }
