"""A host's NIC ports, those bound to a user space driver too, and which must not be touched.

Files are those of the kernel's Documentation/ABI/testing/sysfs-bus-pci and sysfs-class-net.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.machine import management
from pytest_vswitch.machine.files import directories, number

PCI = "/sys/bus/pci/devices"
NET = "/sys/class/net"

_ETHERNET = "0x0200"
"""PCI class of Ethernet controllers; wireless and InfiniBand ones are of others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """A port of a network card: one PCI function.

    Without a network interface (`netdev` is empty) the kernel tells nothing of its link.
    """

    bdf: str
    """PCI address, e.g. 0000:11:00.0."""
    vendor: str
    """PCI vendor, e.g. `8086`."""
    device: str
    """PCI device, e.g. `1572`."""
    driver: str
    """That it is bound to; empty: none."""
    netdev: str
    """Its network interface; empty: none, e.g. bound to vfio-pci."""
    mac: str
    """Empty without an interface."""
    node: int
    """NUMA node; -1: the BIOS does not tell."""
    link_up: bool | None
    """None: not known, e.g. as its interface is down."""
    speed_mbps: int | None
    """Of the link [Mbit/s]; None: not known, or no link."""
    pcie_width: int | None
    """Lanes in use; None: not PCIe."""
    pcie_width_max: int | None
    """Lanes that the card has."""
    pcie_gts: float | None
    """Speed of a lane [GT/s]."""
    pcie_gts_max: float | None
    mtu: int | None
    firmware: str
    """As the driver tells it; empty: not known."""
    driver_version: str
    """Of a driver from outside the kernel; the kernel's release of one within."""
    total_vfs: int
    """SR-IOV virtual functions that it can have."""
    vfs: int
    """That it has now."""
    vf_of: str
    """BDF of the physical function, if this is a virtual one."""
    pause_rx: bool | None
    """Whether received pause frames stop it; None: not known."""
    pause_tx: bool | None
    """Whether it sends pause frames; None: not known."""
    addresses: tuple[str, ...]
    """IP addresses of its interface, except link-local ones."""
    part_of: tuple[str, ...]
    """Interfaces that stand on its own: bonds, bridges, VLANs."""
    management: str
    """Why it must never be touched, e.g. `eno1 carries the default route`; empty: it may be."""


def read(host: Host) -> tuple[Nic, ...]:
    """All NIC ports, by BDF. Raises HostError when it cannot tell which carry management."""
    functions = _functions(host)
    interfaces = directories(host.read_texts(f"{NET}/*/*"))
    of_bdf = _interfaces_of(host)
    drivers = {
        path.rpartition("/")[2]: path.split("/")[5]
        for path in host.glob("/sys/bus/pci/drivers/*/*:*:*.*")
    }
    physical = {
        path.split("/")[5]: found[1]
        for path, uevent in host.read_texts(f"{PCI}/*/physfn/uevent").items()
        if (found := re.search(r"^PCI_SLOT_NAME=(\S+)", uevent, re.MULTILINE))
    }
    above = _above(host)
    addresses = _addresses(host)
    untouchable = _untouchable(management.reasons(host), of_bdf, physical)
    with_ethtool = host.which("ethtool") is not None
    nics = []
    for bdf, files in sorted(functions.items()):
        names = of_bdf.get(bdf, [])
        name = names[0] if names else ""
        net = interfaces.get(f"{NET}/{name}", {})
        of_driver: Mapping[str, str] = {}
        pause: Mapping[str, str] = {}
        if name and with_ethtool and bdf not in physical:
            of_driver = _fields(host, "-i", name, "firmware and driver version")
            pause = _fields(host, "-a", name, "whether pause frames are on")
        # Of an interface that is down, `carrier` cannot be read.
        link_up = {"1": True, "0": False}.get(net.get("carrier", ""))
        speed = number(net.get("speed", "")) or 0
        nics.append(
            Nic(
                bdf=bdf,
                vendor=files.get("vendor", "").removeprefix("0x"),
                device=files.get("device", "").removeprefix("0x"),
                driver=drivers.get(bdf, ""),
                netdev=name,
                mac=net.get("address", ""),
                node=_or(number(files.get("numa_node", "")), -1),
                link_up=link_up,
                speed_mbps=speed if link_up and speed > 0 else None,
                pcie_width=number(files.get("current_link_width", "")) or None,
                pcie_width_max=number(files.get("max_link_width", "")) or None,
                pcie_gts=_gts(files.get("current_link_speed", "")),
                pcie_gts_max=_gts(files.get("max_link_speed", "")),
                mtu=number(net.get("mtu", "")),
                firmware=_told(of_driver, "firmware-version"),
                driver_version=_told(of_driver, "version"),
                total_vfs=number(files.get("sriov_totalvfs", "")) or 0,
                vfs=number(files.get("sriov_numvfs", "")) or 0,
                vf_of=physical.get(bdf, ""),
                pause_rx=_on(pause, "RX"),
                pause_tx=_on(pause, "TX"),
                addresses=tuple(a for each in names for a in addresses.get(each, ())),
                part_of=tuple(sorted({a for each in names for a in above.get(each, ())})),
                management=untouchable.get(bdf, ""),
            )
        )
    return tuple(nics)


def refuse_management(host: Host, bdf: str) -> None:
    """Raise HostError, with the reason, when the NIC port must not be unbound or changed.

    Ask right before each change: routes and sessions come and go.
    """
    of_bdf = _interfaces_of(host)
    physical = {
        path.split("/")[5]: host.read_link(path).rpartition("/")[2]
        for path in host.glob(f"{PCI}/*/physfn")
    }
    if reason := _untouchable(management.reasons(host), of_bdf, physical).get(bdf):
        raise HostError(f"{host.name}: NIC port {bdf} is left alone: {reason}")


def _functions(host: Host) -> dict[str, dict[str, str]]:
    """The files of each Ethernet controller. Only those that are safe to read are read."""
    functions = {
        path.split("/")[5]: {"class": text.strip()}
        for path, text in host.read_texts(f"{PCI}/*/class").items()
        if text.startswith(_ETHERNET)
    }
    for pattern in ("vendor", "device", "numa_node", "*_link_*", "sriov_*vfs"):
        for path, text in host.read_texts(f"{PCI}/*/{pattern}").items():
            _, bdf, name = path.rsplit("/", 2)
            if bdf in functions:
                functions[bdf][name] = text.strip()
    return functions


def _interfaces_of(host: Host) -> dict[str, list[str]]:
    """Network interfaces by BDF; a port may have several, e.g. representors of its VFs."""
    found: dict[str, list[str]] = {}
    for pattern in (f"{PCI}/*/net/*", f"{PCI}/*/virtio*/net/*"):
        for path in host.glob(pattern):
            found.setdefault(path.split("/")[5], []).append(path.rpartition("/")[2])
    return {bdf: sorted(names) for bdf, names in found.items()}


def _above(host: Host) -> dict[str, list[str]]:
    above: dict[str, list[str]] = {}
    for path in host.glob(f"{NET}/*/upper_*"):
        name, _, upper = path.removeprefix(f"{NET}/").partition("/upper_")
        above.setdefault(name, []).append(upper)
    return above


def _addresses(host: Host) -> dict[str, list[str]]:
    why = "which interfaces are in use"
    return {
        link["ifname"]: [
            address["local"]
            for address in link.get("addr_info", [])
            if address.get("scope") != "link" and "local" in address
        ]
        for link in management.ask_json(host, ["ip", "-j", "address"], why)
    }


def _untouchable(
    reasons: Mapping[str, str], of_bdf: Mapping[str, list[str]], physical: Mapping[str, str]
) -> dict[str, str]:
    """Reasons by BDF; a physical function takes its virtual ones down with it."""
    found: dict[str, str] = {}
    for bdf, names in of_bdf.items():
        for name in names:
            if name in reasons:
                found.setdefault(bdf, f"{name} {reasons[name]}")
    for vf, pf in physical.items():
        if vf in found:
            found.setdefault(pf, f"of its virtual function {vf}, {found[vf]}")
    return found


def _fields(host: Host, option: str, name: str, why: str) -> dict[str, str]:
    """The `key: value` lines of an ethtool command; none where the driver lacks it."""
    done = host.ask(["ethtool", option, name], check=False, why=why)
    pairs = (line.partition(":") for line in done.output.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs} if not done.status else {}


def _told(fields: Mapping[str, str], key: str) -> str:
    value = fields.get(key, "")
    return "" if value == "N/A" else value


def _on(fields: Mapping[str, str], key: str) -> bool | None:
    return {"on": True, "off": False}.get(fields.get(key, ""))


def _gts(text: str) -> float | None:
    found = re.match(r"([\d.]+) GT/s", text)
    return float(found[1]) if found else None


def _or(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value
