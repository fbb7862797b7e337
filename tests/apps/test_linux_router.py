"""A Linux router: what it counts (captured from Linux 6.1), and its commands on a real kernel."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from pytest_vswitch.apps import linux_router
from pytest_vswitch.apps.linux_router import Interface, InterfaceCounters, Parameters
from pytest_vswitch.errors import DutError
from tests.hosts.machine import DEADLINE_S

CAPTURE = (Path(__file__).parent / "captures/linux-6.1-router-counters.txt").read_text()

ROUTER = Parameters(
    (
        Interface(
            device="0000:00:10.0",
            mac="52:54:00:02:d9:01",
            address="2.2.2.1/24",
            gateway="2.2.2.2",
            gateway_mac="de:ad:be:ef:ca:fd",
            routes=("5.5.0.0/16",),
            cpu=1,
        ),
        Interface(
            device="0000:00:11.0",
            mac="52:54:00:02:d9:02",
            address="3.3.3.1/24",
            gateway="3.3.3.2",
            gateway_mac="de:ad:be:ef:ca:fe",
            routes=("default",),
            cpu=1,
        ),
    )
)


# --- parsing ------------------------------------------------------------------------------


def test_counters_of_each_interface() -> None:
    """Captured after frames with TTL 1 and foreign MACs, and queues that were too short."""
    one, other = linux_router.parse_counters(CAPTURE).interfaces
    assert one == InterfaceCounters(
        rx=262307,
        tx=258077,
        rx_drops={"rx dropped": 1097, "rx frame_errors": 0, "rx otherhost": 20},
        tx_drops={"tx dropped": 0, "qdisc dropped": 0},
    )
    assert (other.rx, other.tx) == (258157, 261050)
    assert other.tx_drops == {"tx dropped": 0, "qdisc dropped": 80}


def test_the_interfaces_are_in_the_routers_order() -> None:
    swapped = CAPTURE.replace("eth0 eth1\n", "eth1 eth0\n")
    one, other = linux_router.parse_counters(CAPTURE).interfaces
    assert linux_router.parse_counters(swapped).interfaces == (other, one)


def test_what_the_ip_layer_dropped() -> None:
    dropped = linux_router.parse_counters(CAPTURE).ip_drops
    assert {word: count for word, count in dropped.items() if count} == {
        "InHdrErrors": 80,
        "InAddrErrors": 40,
        "InNoRoutes": 20,
        "IPReversePathFilter": 20,
    }


def test_only_the_root_of_several_queues_counts() -> None:
    """Steps: the queues of a port with two, as `tc -s -j qdisc` of iproute2 6.1 lists them."""
    names, links, _, *rest = CAPTURE.splitlines()
    queues = (
        '[{"kind":"mq","dev":"eth1","root":true,"drops":5},'
        '{"kind":"fq_codel","dev":"eth1","parent":":2","drops":3},'
        '{"kind":"fq_codel","dev":"eth1","parent":":1","drops":2},'
        '{"kind":"noqueue","dev":"lo","root":true}]'
    )
    counters = linux_router.parse_counters("\n".join([names, links, queues, *rest]))
    assert [port.tx_drops["qdisc dropped"] for port in counters.interfaces] == [0, 5]


@pytest.mark.parametrize(
    "output",
    ["", "eth0 eth1\n", CAPTURE.replace("eth1\n", "eth7\n"), CAPTURE.replace("stats64", "stats")],
)
def test_another_form_is_refused(output: str) -> None:
    with pytest.raises(DutError, match="the guest printed counters that lack"):
        linux_router.parse_counters(output)


# --- commands -----------------------------------------------------------------------------


def test_each_command_is_one_line_of_valid_shell_with_its_reason() -> None:
    for command, why in ROUTER.commands():
        assert "\n" not in command
        assert why
        subprocess.run(["busybox", "sh", "-n", "-c", command], check=True)


def test_msi_is_left_alone_where_it_works() -> None:
    def texts(parameters: Parameters) -> str:
        return "\n".join(command for command, _ in parameters.commands())

    assert "msi_bus" not in texts(ROUTER)
    without = texts(Parameters(ROUTER.interfaces, msi=False))
    for port in ROUTER.interfaces:
        assert f"echo 0 > /sys/bus/pci/devices/{port.device}/msi_bus" in without
    assert without.index("msi_bus") < without.index("virtio_net") < without.index("drivers_probe")


def test_a_real_kernel_takes_the_commands_and_routes() -> None:
    """Steps: in a network namespace with two interfaces, all commands but those for PCI
    devices and their drivers; ask the kernel where it would send two packets; its counters.

    Verify: each goes out by the other interface, to the MAC address of the gateway there, and
    IPv6 is off; the counters are understood.
    """
    script = ["set -e", "port0=one port1=two"]
    script += [f"/usr/bin/ip link add {name} type veth" for name in ("one", "two")]
    script += [
        command
        for command, _ in ROUTER.commands()
        if not re.search(r"/sys/bus/pci|virtio_net|/proc/irq", command)
    ]
    script += [
        "$ip route get 6.6.1.2 from 1.1.3.4 iif one",
        "$ip route get 5.5.1.2 from 6.6.3.4 iif two",
        "$ip neigh",
        "$ip -6 address",
        "cat /proc/sys/net/ipv4/conf/one/rp_filter",
        "echo counters:",
        linux_router.COUNTERS,
    ]
    done = subprocess.run(
        ["unshare", "--net", "busybox", "sh", "-c", "\n".join(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stdout
    said, _, counters = done.stdout.partition("counters:\n")
    assert "6.6.1.2 from 1.1.3.4 via 3.3.3.2 dev two" in said
    assert "5.5.1.2 from 6.6.3.4 via 2.2.2.2 dev one" in said
    assert "2.2.2.2 dev one lladdr de:ad:be:ef:ca:fd PERMANENT" in said
    assert "3.3.3.2 dev two lladdr de:ad:be:ef:ca:fe PERMANENT" in said
    assert "inet6" not in said
    assert said.rstrip().endswith("\n0")
    for port in linux_router.parse_counters(counters).interfaces:
        assert not any([*port.rx_drops.values(), *port.tx_drops.values()])


def test_a_guest_without_iproute2_is_told() -> None:
    """Verify: the command fails, and what comes after it is not run."""
    script, _ = ROUTER.commands()[0]
    nowhere = re.sub(r"/\S*/(ip|tc)\b", r"/nowhere/\1", script)
    assert subprocess.run(["busybox", "sh", "-c", script]).returncode == 0
    assert subprocess.run(["busybox", "sh", "-c", nowhere]).returncode != 0
