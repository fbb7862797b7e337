"""A Linux kernel that routes, told so by net-tools: for guests as old as the guides' own.

`ifconfig`, `route` and `arp` in the words of the guides for MEMNIC and KNI; `apps.linux_router`
does the same with iproute2. Counters are those of sysfs, which kernels of that age have, too.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_vswitch.apps import linux_router
from pytest_vswitch.apps.linux_router import Interface, RouterCounters
from pytest_vswitch.errors import DutError

_STATISTICS = ("rx_packets", "rx_dropped", "tx_packets", "tx_dropped")
_BLOCK = re.compile(r"^(\S+?):?\s+(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
_MAC = re.compile(r"(?:HWaddr|ether) ([0-9a-fA-F:]{17})")
_FLAGS = re.compile(r"flags=\d+<(\S*)>|^ +((?:[A-Z]+ +)+)MTU:", re.MULTILINE)
"""As net-tools 2 prints them, and net-tools 1.60."""


@dataclass(frozen=True, slots=True)
class Router:
    """Two interfaces of a guest, and what lies behind each."""

    names: tuple[str, str]
    interfaces: tuple[Interface, Interface]

    def commands(self) -> list[tuple[str, str]]:
        """(command, why), each one line for the guest's shell, in order."""
        both = list(zip(self.names, self.interfaces, strict=True))
        return [
            *(
                (f"ifconfig {name} hw ether {port.mac}", f"the MAC address of {name}")
                for name, port in both
            ),
            *((f"ifconfig {name} {port.address} up", f"{name} is up") for name, port in both),
            ("sysctl -w net.ipv4.ip_forward=1", "it routes"),
            *(
                (f"sysctl -w net.ipv4.conf.{name}.rp_filter=0", "sources need no route back")
                for name in ("all", *self.names)
            ),
            *(
                (f"route add {_target(route)} gw {port.gateway} {name}", "the gateways")
                for name, port in both
                for route in port.routes
            ),
            *(
                (f"arp -s {port.gateway} {port.gateway_mac}", "of the generator's ports")
                for _, port in both
            ),
        ]

    @property
    def counters(self) -> str:
        """One line for the guest's shell, whose output `parse_counters` takes."""
        files = [
            f"/sys/class/net/{name}/statistics/{word}"
            for name in self.names
            for word in _STATISTICS
        ]
        return f"cat {' '.join(files)} /proc/net/snmp /proc/net/netstat"

    def parse_counters(self, output: str) -> RouterCounters:
        """Raises DutError."""
        lines = output.strip().splitlines()
        count = len(_STATISTICS)
        links = []
        for index, name in enumerate(self.names):
            numbers = lines[count * index :][:count]
            if len(numbers) < count or not all(map(str.isdecimal, numbers)):
                raise DutError(f"the guest has no counters of {name}:\n{output}")
            rx, rx_dropped, tx, tx_dropped = map(int, numbers)
            received, sent = (
                {"packets": packets, "dropped": dropped}
                for packets, dropped in ((rx, rx_dropped), (tx, tx_dropped))
            )
            links.append({"ifname": name, "stats64": {"rx": received, "tx": sent}})
        tables = lines[2 * count :]
        return linux_router.parse_counters(
            "\n".join([" ".join(self.names), json.dumps(links), "[]", *tables])
        )

    def check(self, output: str) -> None:
        """Hold `ifconfig -a` against them, as the guides do at last. Raises DutError."""
        blocks = dict(_BLOCK.findall(output))
        for name, port in zip(self.names, self.interfaces, strict=True):
            if name not in blocks:
                raise DutError(f"the guest has no interface {name}: {_listed(list(blocks))}")
            flags = _FLAGS.search(blocks[name])
            words = set(re.split(r"[, ]+", (flags[1] or flags[2]).strip())) if flags else set()
            for flag in ("UP", "RUNNING"):
                if flag not in words:
                    raise DutError(f"the guest's interface {name} is not {flag}")
            mac = _MAC.search(blocks[name])
            if mac is None or mac[1].lower() != port.mac:
                seen = mac[1].lower() if mac else "none"
                raise DutError(
                    f"the guest's interface {name} has the MAC address {seen}, not {port.mac}: its "
                    "driver must let it be set, for MEMNIC by the patch of the release"
                )

    def checks(self) -> list[tuple[str, Callable[[str], None]]]:
        """(command, what takes its output and raises DutError)."""
        knobs = ["net.ipv4.ip_forward"]
        knobs += [f"net.ipv4.conf.{name}.rp_filter" for name in ("all", *self.names)]
        return [
            (f"sysctl {' '.join(knobs)}", self._check_knobs),
            ("route -n", self._check_routes),
            ("arp -n", self._check_neighbours),
        ]

    def _check_knobs(self, output: str) -> None:
        for line in output.strip().splitlines():
            name, _, value = (word.strip() for word in line.partition("="))
            wanted = "1" if name == "net.ipv4.ip_forward" else "0"
            if value != wanted:
                raise DutError(f"the guest has {name} = {value}, not {wanted}")

    def _check_routes(self, output: str) -> None:
        rows = [line.split() for line in output.splitlines()]
        there = {(row[0], row[2], row[1], row[7]) for row in rows if len(row) == 8}
        for name, port in zip(self.names, self.interfaces, strict=True):
            for route in port.routes:
                network = ipaddress.ip_network("0.0.0.0/0" if route == "default" else route)
                target = (str(network.network_address), str(network.netmask))
                if (*target, port.gateway, name) not in there:
                    raise DutError(f"the guest has no route {route} by {port.gateway} at {name}")

    def _check_neighbours(self, output: str) -> None:
        rows = [line.split() for line in output.splitlines()]
        macs = {row[0]: (row[2].lower(), row[-1]) for row in rows if len(row) >= 5}
        for name, port in zip(self.names, self.interfaces, strict=True):
            if macs.get(port.gateway) != (port.gateway_mac, name):
                raise DutError(
                    f"the guest does not know {port.gateway} as {port.gateway_mac} at {name}"
                )


def _target(route: str) -> str:
    return route if route == "default" else f"-net {route}"


def _listed(names: Sequence[str]) -> str:
    return f"it has {', '.join(names)}" if names else "`ifconfig -a` printed none"
