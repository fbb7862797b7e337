"""A Linux kernel that routes between two virtio ports: commands for its shell, what it counts.

Texts were captured from Linux 6.1 with iproute2 6.1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_vswitch.errors import DutError

# --- parameters ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Interface:
    """A port of the router, and what lies behind it."""

    device: str
    """PCI address in the guest, e.g. `0000:00:10.0`."""
    mac: str
    address: str
    """Its IPv4 address with the length of its network's prefix, e.g. `2.2.2.1/24`."""
    gateway: str
    """IPv4 address, in its network, of who takes the frames that leave here."""
    gateway_mac: str
    routes: Sequence[str]
    """What is reached through the gateway: `default`, or a network such as `5.5.0.0/16`."""
    cpu: int
    """The guest's CPU that takes its interrupts, and so forwards what it receives."""
    mtu: int = 1500
    """[bytes]"""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a router is made with."""

    interfaces: tuple[Interface, Interface]
    msi: bool = True
    """Whether the ports may interrupt by MSI-X."""

    def commands(self) -> list[tuple[str, str]]:
        """(command, why), each one line for the guest's shell, in order.

        The shell keeps the names of its interfaces in `port0` and `port1`, the programs in
        `ip` and `tc`.
        """
        both = self.interfaces
        return [
            (
                " && ".join(_found(*program) for program in _PROGRAMS),
                "iproute2's own programs: a shell of busybox runs its applets first",
            ),
            (
                "for conf in /proc/sys/net/ipv6/conf/*/disable_ipv6; "
                "do [ ! -e $conf ] || echo 1 > $conf; done",
                "no IPv6: the guest sends no frames of its own",
            ),
            (
                " && ".join(_released(port.device, self.msi) for port in both),
                "its ports are for the kernel's driver, not for DPDK",
            ),
            (
                "modprobe virtio_net 2>/dev/null || "
                "for module in /modules/net/*.ko; do [ ! -e $module ] || insmod $module; done",
                "the kernel's driver, in place of the guide's own (insmod)",
            ),
            (
                " && ".join(
                    f"echo {port.device} > /sys/bus/pci/drivers_probe && "
                    f"port{number}=$(ls {_sysfs(port.device)}/virtio*/net)"
                    for number, port in enumerate(both)
                ),
                "the ports become interfaces",
            ),
            (
                _batch(
                    line
                    for number, port in enumerate(both)
                    for line in (
                        f"addr add {port.address} dev $port{number}",
                        f"link set $port{number} mtu {port.mtu} up",
                    )
                ),
                "an address for each (guide: ifconfig)",
            ),
            (
                "echo 1 > /proc/sys/net/ipv4/ip_forward",
                "it routes (guide: sysctl net.ipv4.ip_forward=1)",
            ),
            (
                "for name in all $port0 $port1; "
                "do echo 0 > /proc/sys/net/ipv4/conf/$name/rp_filter; done",
                "sources need no route back (guide: sysctl rp_filter=0)",
            ),
            (
                "for name in icmp_msgs_per_sec icmp_msgs_burst; "
                "do [ ! -e /proc/sys/net/ipv4/$name ] || echo 0 > /proc/sys/net/ipv4/$name; done",
                "what it drops it counts, and sends no ICMP of its own for it",
            ),
            (
                _batch(
                    f"route add {route} via {port.gateway} dev $port{number}"
                    for number, port in enumerate(both)
                    for route in port.routes
                ),
                "the gateways (guide: route add default gw)",
            ),
            (
                _batch(
                    f"neigh replace {port.gateway} lladdr {port.gateway_mac} nud permanent "
                    f"dev $port{number}"
                    for number, port in enumerate(both)
                ),
                "their MAC addresses, of the generator's ports (guide: arp -s)",
            ),
            (
                " && ".join(_interrupts(port.device, port.cpu) for port in both),
                "a CPU that forwards takes the interrupts, not the one for Linux",
            ),
        ]


_PROGRAMS = (
    ("ip", ("/usr/bin/ip", "/usr/sbin/ip", "/sbin/ip")),
    ("tc", ("/usr/sbin/tc", "/usr/bin/tc", "/sbin/tc")),
)
"""Where a guest may have them. `/bin/ip` is a link to busybox in the built-in one."""


def _found(name: str, paths: Sequence[str]) -> str:
    return f"for {name} in {' '.join(paths)}; do [ ! -x ${name} ] || break; done && [ -x ${name} ]"


def _batch(lines: Iterable[str]) -> str:
    """Commands of one `ip`, which takes an emulated guest longer to start than to carry out."""
    quoted = " ".join(f'"{line}"' for line in lines)
    return f"printf '%s\\n' {quoted} | $ip -batch -"


def _sysfs(device: str) -> str:
    return f"/sys/bus/pci/devices/{device}"


def _released(device: str, msi: bool) -> str:
    """Taken from the driver that it has, if any, and free for any that knows it."""
    at = _sysfs(device)
    unbound = f"{{ [ ! -e {at}/driver ] || echo {device} > {at}/driver/unbind; }}"
    return f"{unbound} && echo > {at}/driver_override" + (
        "" if msi else f" && echo 0 > {at}/msi_bus"
    )


def _interrupts(device: str, cpu: int) -> str:
    name = f"$(ls {_sysfs(device)} | grep virtio)"
    return (
        f"for irq in $(grep -w {name} /proc/interrupts | cut -d: -f1); "
        f"do echo {cpu} > /proc/irq/$irq/smp_affinity_list; done"
    )


# --- facts --------------------------------------------------------------------------------

COUNTERS = (
    "echo $port0 $port1; $ip -s -s -j link; $tc -s -j qdisc; cat /proc/net/snmp /proc/net/netstat"
)
"""One line for the guest's shell, whose output `parse_counters` takes."""

_RX_DROPS = ("dropped", "frame_errors", "otherhost")
"""Of what `rx packets` counts: a full backlog or no memory, a bad virtio header, a foreign MAC."""

_IP_DROPS = {
    "Ip": (
        "InHdrErrors",
        "InAddrErrors",
        "InUnknownProtos",
        "InDiscards",
        "InDelivers",
        "OutDiscards",
        "OutNoRoutes",
        "FragFails",
    ),
    "IpExt": ("InNoRoutes", "InTruncatedPkts"),
    "TcpExt": ("IPReversePathFilter",),
}
"""What becomes of an IPv4 packet that is not forwarded (RFC 4293; of Linux: IpExt, TcpExt)."""


@dataclass(frozen=True, slots=True)
class InterfaceCounters:
    """Of one interface, since it was made [frames]."""

    rx: int
    """Taken from the port; what was dropped afterwards is among them."""
    tx: int
    rx_drops: Mapping[str, int] = field(default_factory=dict)
    """Received and not routed, by the words of `ip -s -s link`."""
    tx_drops: Mapping[str, int] = field(default_factory=dict)
    """Routed and not sent: by the driver (`ip -s link`), by its queue (`tc -s qdisc`)."""


@dataclass(frozen=True, slots=True)
class RouterCounters:
    """Of the router, at one moment."""

    interfaces: tuple[InterfaceCounters, InterfaceCounters]
    ip_drops: Mapping[str, int]
    """By the words of /proc/net/snmp and netstat; of both interfaces together [frames]."""


def parse_counters(output: str) -> RouterCounters:
    """From what `COUNTERS` prints. Raises DutError when it is not of that form."""
    try:
        names, links, queues, *tables = output.strip().splitlines()
        by_name = {link["ifname"]: link["stats64"] for link in json.loads(links)}
        dropped = dict.fromkeys(by_name, 0)
        for queue in json.loads(queues):
            if queue.get("root"):  # which counts what its children drop, too
                dropped[queue["dev"]] += queue.get("drops", 0)
        one, other = (_interface(by_name[name], dropped[name]) for name in names.split())
        counted = {
            f"{head.split(':')[0]} {word}": int(number)
            for head, values in zip(tables[::2], tables[1::2], strict=True)
            for word, number in zip(head.split()[1:], values.split()[1:], strict=True)
        }
    except (KeyError, ValueError) as error:
        raise DutError(f"the guest printed counters that lack {error}:\n{output}") from None
    return RouterCounters(
        (one, other),
        {
            word: counted.get(f"{table} {word}", 0)
            for table, words in _IP_DROPS.items()
            for word in words
        },
    )


def _interface(statistics: Mapping[str, Any], queue_drops: int) -> InterfaceCounters:
    received, sent = statistics["rx"], statistics["tx"]
    return InterfaceCounters(
        rx=int(received["packets"]),
        tx=int(sent["packets"]),
        # It does not name what is 0, or what the kernel does not count.
        rx_drops={f"rx {word}": int(received.get(word, 0)) for word in _RX_DROPS},
        tx_drops={"tx dropped": int(sent["dropped"]), "qdisc dropped": queue_drops},
    )
