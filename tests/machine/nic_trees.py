"""NIC ports beside those of the server, as sysfs, `ip` and `ss` tell of them."""

from __future__ import annotations

import json

from tests.machine.trees import PCI, Tree

NET = "/sys/class/net"


def add_nic(
    tree: Tree,
    bdf: str,
    netdev: str = "",
    *,
    driver: str = "ixgbe",
    node: int = 0,
    speed_mbps: int | None = 10000,
    up: bool = True,
    vendor: str = "8086",
) -> None:
    """A port of a card; without `netdev`, `driver` is one of user space. No speed: no link."""
    device = f"/sys/devices/pci0000:00/{bdf}"
    tree.put(
        device,
        vendor=f"0x{vendor}",
        device="0x1563",
        numa_node=node,
        current_link_width=4,
        max_link_width=8,
        current_link_speed="8.0 GT/s PCIe",
        max_link_speed="8.0 GT/s PCIe",
        **{"class": "0x020000"},
    )
    tree.links[f"{PCI}/devices/{bdf}"] = device
    tree.links[f"{PCI}/drivers/{driver}/{bdf}"] = device
    if netdev:
        tree.put(f"{device}/net/{netdev}", operstate="up" if up else "down", mtu=1500,
                 address="b4:96:91:00:01:00", flags="0x1003" if up else "0x1002")  # fmt: skip
        if up:  # of one that is down these two cannot be read
            tree.put(f"{device}/net/{netdev}", carrier=int(speed_mbps is not None),
                     speed=speed_mbps or -1)  # fmt: skip
        tree.links[f"{NET}/{netdev}"] = f"{device}/net/{netdev}"
        tree.links[f"{device}/net/{netdev}/device"] = device


def add_vf(tree: Tree, bdf: str, pf: str, netdev: str = "") -> None:
    """A virtual function of the port `pf`."""
    add_nic(tree, bdf, netdev, driver="ixgbevf")
    of = f"/sys/devices/pci0000:00/{pf}"
    tree.links[f"/sys/devices/pci0000:00/{bdf}/physfn"] = of
    tree.put(of, uevent=f"DRIVER=ixgbe\nPCI_SLOT_NAME={pf}", sriov_numvfs=1, sriov_totalvfs=63)


def add_virtual(tree: Tree, name: str, *members: str) -> None:
    """An interface that stands on others: a bond, bridge, team or VLAN."""
    here = f"/sys/devices/virtual/net/{name}"
    tree.put(here, operstate="up", carrier=1, mtu=1500)
    tree.links[f"{NET}/{name}"] = here
    for member in members:
        tree.links[f"{tree.links[f'{NET}/{member}']}/upper_{name}"] = here
        tree.links[f"{here}/lower_{member}"] = tree.links[f"{NET}/{member}"]


def default_route(tree: Tree, v4: object, v6: object = ()) -> None:
    """The default routes, as `ip -j route` lists them."""
    for family, routes in (("-4", v4), ("-6", v6)):
        argv = ("ip", "-j", family, "route", "show", "default", "table", "all")
        tree.answers[argv] = json.dumps(routes)


def by(netdev: str) -> list[dict[str, object]]:
    return [{"dst": "default", "gateway": "192.0.2.1", "dev": netdev, "flags": []}]


def addresses(tree: Tree, **of: str) -> None:
    """The one address of each interface."""
    tree.answers["ip", "-j", "address"] = json.dumps(
        [
            {
                "ifname": name,
                "addr_info": [
                    {"family": "inet", "local": address, "prefixlen": 24, "scope": "global"},
                    {"family": "inet6", "local": "fe80::1", "prefixlen": 64, "scope": "link"},
                ],
            }
            for name, address in of.items()
        ]
    )


def session(tree: Tree, local: str, peer: str, back: str) -> None:
    """An SSH session, as `ss` of iproute2 6.1 lists it, whose peer is reached by `back`."""
    tree.answers["ss", "-Htnp", "state", "established"] = (
        '0      0          127.0.0.1:6010      127.0.0.1:51884 users:(("sshd",pid=9,fd=4))\n'
        f'0      36     {local}:22   {peer}:51888 users:(("sshd",pid=1204,fd=4),("sshd",pid=1'
        ",fd=4))\n"
        '0      0      192.0.2.7:45678   203.0.113.9:443 users:(("curl",pid=77,fd=5))\n'
    )
    route = [{"dst": peer, "dev": back, "prefsrc": local, "flags": [], "uid": 0, "cache": []}]
    tree.answers["ip", "-j", "route", "get", peer.strip("[]").removeprefix("::ffff:")] = json.dumps(
        route
    )
