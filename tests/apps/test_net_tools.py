"""A router told by net-tools: its commands, its counters, and what the guides have one check."""

from __future__ import annotations

import subprocess

import pytest

from pytest_vswitch.apps.linux_router import Interface
from pytest_vswitch.apps.net_tools import Router
from pytest_vswitch.errors import DutError

ONE = Interface(
    device="",
    mac="00:4b:4e:49:30:00",
    address="2.2.2.1/24",
    gateway="2.2.2.2",
    gateway_mac="de:ad:be:ef:ca:fd",
    routes=("5.5.0.0/16",),
    cpu=0,
)
OTHER = Interface(
    device="",
    mac="00:4b:4e:49:30:01",
    address="3.3.3.1/24",
    gateway="3.3.3.2",
    gateway_mac="de:ad:be:ef:ca:fe",
    routes=("default",),
    cpu=0,
)
ROUTER = Router(("vEth_port32", "vEth_port33"), (ONE, OTHER))

OLD = """\
lo        Link encap:Local Loopback
          inet addr:127.0.0.1  Mask:255.0.0.0
          UP LOOPBACK RUNNING  MTU:16436  Metric:1

vEth_port32 Link encap:Ethernet  HWaddr 00:4B:4E:49:30:00
          inet addr:2.2.2.1  Bcast:2.2.2.255  Mask:255.255.255.0
          UP BROADCAST RUNNING MULTICAST  MTU:1500  Metric:1

vEth_port33 Link encap:Ethernet  HWaddr 00:4B:4E:49:30:01
          inet addr:3.3.3.1  Bcast:3.3.3.255  Mask:255.255.255.0
          UP BROADCAST RUNNING MULTICAST  MTU:1500  Metric:1
"""
"""In the form of net-tools 1.60."""
NEW = """\
lo: flags=73<UP,LOOPBACK,RUNNING>  mtu 65536
        inet 127.0.0.1  netmask 255.0.0.0

vEth_port32: flags=4163<UP,BROADCAST,RUNNING,MULTICAST>  mtu 1500
        inet 2.2.2.1  netmask 255.255.255.0  broadcast 2.2.2.255
        ether 00:4b:4e:49:30:00  txqueuelen 1000  (Ethernet)

vEth_port33: flags=4163<UP,BROADCAST,RUNNING,MULTICAST>  mtu 1500
        ether 00:4b:4e:49:30:01  txqueuelen 1000  (Ethernet)
"""
"""In the form of net-tools 2.10."""


def test_the_guides_commands() -> None:
    commands = [command for command, _ in ROUTER.commands()]
    for line in (
        "ifconfig vEth_port32 hw ether 00:4b:4e:49:30:00",
        "ifconfig vEth_port33 3.3.3.1/24 up",
        "sysctl -w net.ipv4.ip_forward=1",
        "sysctl -w net.ipv4.conf.all.rp_filter=0",
        "sysctl -w net.ipv4.conf.vEth_port32.rp_filter=0",
        "route add default gw 3.3.3.2 vEth_port33",
        "arp -s 3.3.3.2 de:ad:be:ef:ca:fe",
    ):
        assert line in commands
    assert commands.index("ifconfig vEth_port32 hw ether 00:4b:4e:49:30:00") < commands.index(
        "ifconfig vEth_port32 2.2.2.1/24 up"
    ), "an interface that is up keeps its MAC address"


@pytest.mark.parametrize("output", [OLD, NEW], ids=["1.60", "2.10"])
def test_interfaces_that_are_up_and_running_pass(output: str) -> None:
    ROUTER.check(output)


@pytest.mark.parametrize(
    ("output", "change", "message"),
    [
        (
            OLD,
            ("vEth_port33", "eth7"),
            "has no interface vEth_port33: it has lo, vEth_port32, eth7",
        ),
        (OLD, ("UP BROADCAST", "BROADCAST"), "interface vEth_port32 is not UP"),
        (NEW, ("<UP,BROADCAST,RUNNING", "<UP,BROADCAST"), "interface vEth_port32 is not RUNNING"),
        (OLD, ("30:01", "30:02"), "vEth_port33 has the MAC address 00:4b:4e:49:30:02, not"),
        (NEW, ("        ether 00:4b:4e:49:30:01", ""), "vEth_port33 has the MAC address none"),
        ("", ("", ""), "`ifconfig -a` printed none"),
    ],
)
def test_other_interfaces_are_told(output: str, change: tuple[str, str], message: str) -> None:
    with pytest.raises(DutError, match=message):
        ROUTER.check(output.replace(*change))


def test_counters_of_this_machines_kernel_are_read() -> None:
    """The command is carried out by the real shell, in this machine's sysfs and procfs."""
    router = Router(("lo", "lo"), (ONE, OTHER))
    output = subprocess.run(
        ["sh", "-c", router.counters], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    counters = router.parse_counters(output)
    first, second = counters.interfaces
    assert (first.rx, first.tx) == (second.rx, second.tx)
    assert first.rx == int(output.splitlines()[0])
    assert counters.ip_drops["InHdrErrors"] >= 0


def test_counters_are_told_apart() -> None:
    snmp = "Ip: InHdrErrors OutNoRoutes\nIp: 5 6\n"
    counters = ROUTER.parse_counters(f"1\n2\n3\n4\n11\n12\n13\n14\n{snmp}")
    one, other = counters.interfaces
    assert (one.rx, one.rx_drops["rx dropped"], one.tx, one.tx_drops["tx dropped"]) == (1, 2, 3, 4)
    assert (other.rx, other.tx) == (11, 13)
    assert (counters.ip_drops["InHdrErrors"], counters.ip_drops["OutNoRoutes"]) == (5, 6)


def test_an_interface_without_counters_is_named() -> None:
    with pytest.raises(DutError, match="no counters of vEth_port33"):
        ROUTER.parse_counters("1\n2\n3\n4\ncat: no such file\n")


KNOBS, ROUTES, NEIGHBOURS = (check for _, check in ROUTER.checks())


def test_knobs_routes_and_neighbours_are_held_to_what_was_set() -> None:
    KNOBS("net.ipv4.ip_forward = 1\nnet.ipv4.conf.all.rp_filter = 0\n")
    with pytest.raises(DutError, match=r"net.ipv4.ip_forward = 0, not 1"):
        KNOBS("net.ipv4.ip_forward = 0\n")
    with pytest.raises(DutError, match=r"net.ipv4.conf.all.rp_filter = 2, not 0"):
        KNOBS("net.ipv4.conf.all.rp_filter = 2\n")
    table = (
        "Kernel IP routing table\n"
        "Destination     Gateway         Genmask         Flags Metric Ref    Use Iface\n"
        "0.0.0.0         3.3.3.2         0.0.0.0         UG    0      0        0 vEth_port33\n"
        "2.2.2.0         0.0.0.0         255.255.255.0   U     0      0        0 vEth_port32\n"
        "5.5.0.0         2.2.2.2         255.255.0.0     UG    0      0        0 vEth_port32\n"
    )
    ROUTES(table)
    with pytest.raises(DutError, match=r"no route 5.5.0.0/16 by 2.2.2.2 at vEth_port32"):
        ROUTES(table.replace("255.255.0.0", "255.255.255.0"))
    with pytest.raises(DutError, match=r"no route default by 3.3.3.2 at vEth_port33"):
        ROUTES(table.replace("3.3.3.2", "3.3.3.3"))
    cache = (
        "Address                  HWtype  HWaddress           Flags Mask            Iface\n"
        "3.3.3.2                  ether   de:ad:be:ef:ca:fe   CM                    vEth_port33\n"
        "2.2.2.2                  ether   DE:AD:BE:EF:CA:FD   CM                    vEth_port32\n"
    )
    NEIGHBOURS(cache)
    with pytest.raises(DutError, match=r"does not know 3.3.3.2 as de:ad:be:ef:ca:fe"):
        NEIGHBOURS(cache.replace("ca:fe", "ca:ff"))
