"""The guest with a VF and a virtio port: QEMU's words, DPDK's drivers, ports of its testpmd."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from pytest_vswitch.apps import guest_image, qemu
from pytest_vswitch.apps.guest import Guest
from pytest_vswitch.apps.migration import VF
from pytest_vswitch.apps.qmp_console import Machine
from pytest_vswitch.apps.testpmd import Testpmd, parse_port_info
from pytest_vswitch.errors import DutError
from pytest_vswitch.topologies.sriov_migration_place import MAC, Server
from pytest_vswitch.topologies.standin import ADDRESS

DRIVERS: Final = (*guest_image.DRIVERS, "net_ixgbe", "net_iavf", "net_e1000")
"""Of DPDK, for VFs of 82599 and X540, of X710 and E810, of 82576."""
VF_DRIVER: Final = "igb_uio"
"""As in the guide: VFs have no interrupt line, which uio_pci_generic wants, and kernels as Debian
builds them let vfio-pci take nothing without an IOMMU."""
MODULES: Final = (*guest_image.DPDK_MODULES, VF_DRIVER)
VIRTIO_ADDRESS: Final = "0000:00:10.0"
_SLOT, _PCIE_SLOT = 0x10, 0x18
_GUEST_S = 30.0


def argv(parameters: qemu.Parameters, program: str, directory: str, server: Server) -> list[str]:
    """The guide's command line (1.4.2): a tap device, and a VF that can be unplugged."""
    tap = f"tap,id=net0,ifname={server.tap},script=no,downscript=no"
    virtio = {"netdev": "net0", "id": "ua-port0", "mac": MAC, "addr": hex(_SLOT)}
    words = ",".join(f"{key}={value}" for key, value in {**virtio, **parameters.virtio}.items())
    return [
        *parameters.argv(program, directory),
        *("-netdev", tap, "-device", f"virtio-net-pci,{words}"),
        *("-device", f"pcie-root-port,id=slot0,chassis=1,addr={_PCIE_SLOT:#x}"),
        *("-device", f"vfio-pci,host={server.vf},id={VF},bus=slot0"),
    ]


def plug(machine: Machine, server: Server) -> None:
    """`device_add` (1.3.10), of vfio-pci: today's QEMU has no pci-assign. Raises DutError."""
    machine.tell(
        "device_add",
        "a VF of where the guest is now (guide, 1.3.10)",
        driver="vfio-pci",
        host=server.vf,
        id=VF,
        bus="slot0",
    )


def bind(guest: Guest, address: str, driver: str) -> None:
    """Give a device to DPDK, once the guest has found it (1.5.1). Raises DutError."""
    device = f"/sys/bus/pci/devices/{address}"
    guest.run(f"until [ -e {device} ]; do usleep 20000; done", timeout_s=_GUEST_S)
    guest.run(
        f"[ ! -e {device}/driver ] || echo {address} > {device}/driver/unbind; "
        f"echo {driver} > {device}/driver_override; "
        f"echo {address} > /sys/bus/pci/drivers_probe; [ -e {device}/driver ]",
        why=f"`dpdk-devbind.py -b {driver} {address}` (guide, 1.5.1)",
    )


def bind_vf(guest: Guest) -> None:
    bind(guest, ADDRESS, VF_DRIVER)


def check_gone(guest: Guest) -> None:
    """Raise DutError unless the guest has let its VF go."""
    guest.run(
        f"until [ ! -e /sys/bus/pci/devices/{ADDRESS} ]; do usleep 20000; done",
        timeout_s=_GUEST_S,
        why="the VF has left the guest",
    )


# --- ports of its testpmd -----------------------------------------------------------------


def attach(forwarder: Testpmd, address: str, port: int) -> None:
    """It must get that number. Raises DutError."""
    said = forwarder.command(f"port attach {address}", why="(guide, 1.3.11)")
    _require(f"Port {port} is attached" in said, forwarder, said)
    forwarder.command(f"port start {port}")


def detach(forwarder: Testpmd, address: str, port: int) -> None:
    """Stop, close and detach a port that is no slave (1.3.3, 1.3.11). Raises DutError."""
    for command in (f"port stop {port}", f"port close {port}"):
        forwarder.command(command)
    said = forwarder.command(f"device detach {address}", why="`port detach`, of a closed port")
    _require("is detached" in said, forwarder, said)


def ask_for_address(forwarder: Testpmd, port: int) -> None:
    """`mac_addr add` (1.3.3). Raises DutError when PF or driver refuse."""
    _silent(forwarder, f"mac_addr add port {port} vf 0 {MAC}", "the PF is asked to let it in")


def drop_address(forwarder: Testpmd, port: int) -> None:
    """`mac_addr remove`. Raises DutError."""
    _silent(forwarder, f"mac_addr remove {port} {MAC}", "frames for it go to the bridge")


def addresses(forwarder: Testpmd, port: int) -> tuple[str, ...]:
    """All that a port takes frames for, lower case; none from a planned console."""
    told = forwarder.command(f"show port {port} macs") + forwarder.command(f"show port info {port}")
    listed = re.findall(r"^\s+((?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2})\s*$", told, re.MULTILINE)
    own = [parse_port_info(told).mac] if told else []
    return tuple(mac.lower() for mac in [*own, *listed])


def received(forwarder: Testpmd, ports: Sequence[int]) -> tuple[int, ...]:
    """Frames, by port, as `show port stats all` tells them; none from a planned console."""
    told = forwarder.command("show port stats all")
    if not told:
        return ()
    pattern = r"NIC statistics for port (\d+) .*?RX-packets:\s+(\d+)"
    counts = {int(port): int(count) for port, count in re.findall(pattern, told, re.DOTALL)}
    return tuple(counts.get(port, 0) for port in ports)


def _silent(forwarder: Testpmd, command: str, why: str) -> None:
    said = forwarder.command(command, why=why)
    if said.strip():
        raise DutError(f"{forwarder.terminal.name} refused `{command}`: {said.strip()}")


def _require(done: bool, forwarder: Testpmd, said: str) -> None:
    if said and not done:  # a planned console says nothing
        raise DutError(f"{forwarder.terminal.name}: {said.strip()}")
