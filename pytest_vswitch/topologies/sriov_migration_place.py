"""A server that a guest with a VF can be on: the VF, and a bridge between its PF and a tap device.

    wire == PF -- VF ---------------- vfio-pci:   port 1 of the guest (guide, 1.4.1, 1.4.5)
             |-- bridge -- tap ------ virtio-net: port 0 of the guest (guide, 1.4.3, 1.4.7)

The PF keeps its kernel's driver. Frames for an address that the VF has go to the VF; all others
the PF, promiscuous as a port of a bridge, takes, and the bridge gives them to the tap device.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import changes
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab.ports import NicPortSpec
from pytest_vswitch.machine import nics
from pytest_vswitch.topologies import bifurcated_port

MAC: Final = "02:00:c6:12:d9:01"
"""Of the guest: of its virtio port, its VF and its bond."""
_PARKED: Final = "02:00:c6:12:d9:f{}"
"""Of a VF that is not the guest's, by the place's number."""
_PCI: Final = "/sys/bus/pci/devices"


@dataclass(frozen=True, slots=True)
class Server:
    """A PF with one VF, and a bridge."""

    host: Host
    number: int
    """0: the source; 1: the target."""
    pf: str
    """Interface."""
    driver: str
    """Of the PF, e.g. `ixgbe`."""
    vf: str
    """PCI address."""
    tap: str
    """Interface: the back-end of the guest's virtio port."""

    @property
    def asks_by_itself(self) -> bool:
        """Whether the guest's VF gets an address by `mac_addr add`: "The mac_addr command only
        works with the Kernel PF for Niantic" (1.3.3). Others get it of the PF."""
        return self.driver == "ixgbe"

    @property
    def bridged(self) -> int:
        """Frames that the PF gave to the bridge. Raises HostError."""
        path = f"/sys/class/net/{self.pf}/statistics/rx_packets"
        try:
            return int(self.host.read_text(path))
        except (OSError, ValueError) as error:
            raise HostError(f"{self.host.name}: {self.pf} counts no frames: {error}") from None

    def give_address(self) -> None:
        """The VF is to have the guest's, where it cannot ask for that by itself."""
        if not self.asks_by_itself:
            self._set_address(MAC, "frames for the guest go to its VF")

    def take_address(self) -> None:
        """Frames for the guest go to the bridge, for its VF is going."""
        if not self.asks_by_itself:
            self._set_address(_PARKED.format(self.number), "frames for the guest go to the bridge")

    def _set_address(self, mac: str, why: str) -> None:
        self.host.run(["ip", "link", "set", "dev", self.pf, "vf", "0", "mac", mac], why=why)


@contextlib.contextmanager
def opened(host: Host, spec: NicPortSpec, name: str, number: int) -> Iterator[Server]:
    """VF and bridge, as the guide's scripts make them; undone with the block. Raises HostError.

    The guide removes the kernel's driver of VFs (1.4.1); here it is told not to take this one.
    """
    nics.refuse_management(host, spec.bdf)
    pf = bifurcated_port.interface(host, spec.bdf)
    bifurcated_port.refuse_addresses(host, pf)
    driver = host.read_link(f"{_PCI}/{spec.bdf}/driver").rpartition("/")[2]
    with contextlib.ExitStack() as stack:
        (vf,) = stack.enter_context(bifurcated_port.functions(host, spec.bdf, 1))
        if not host.exists("/sys/bus/pci/drivers/vfio-pci"):
            host.run(["modprobe", "vfio-pci"], why="QEMU gives the VF to the guest by it")
        stack.enter_context(changes.binding(host, vf, "vfio-pci"))
        bridge, tap = f"vs-br-{name}", f"vs-tap-{name}"
        stack.enter_context(_bridged(host, pf, bridge, tap))
        server = Server(host, number, pf, driver, vf, tap)
        server.take_address()
        yield server


@contextlib.contextmanager
def _bridged(host: Host, pf: str, bridge: str, tap: str) -> Iterator[None]:
    """PF and tap device as ports of a bridge that learns at once, and sends nothing itself."""
    flags = f"/sys/class/net/{pf}/flags"
    options = ["forward_delay", "0", "mcast_snooping", "0"]
    with (
        host.changing(Change("rewrote", flags, host.read_text(flags))),
        changes.interface(host, bridge, "bridge", options),
        changes.interface(host, tap, "tap"),
    ):
        for port, why in ((pf, "the PF"), (tap, "the back-end of the guest's virtio port")):
            host.run(["ip", "link", "set", "dev", port, "down"])
            host.run(
                ["ip", "link", "set", "dev", port, "master", bridge],
                why=f"{why} (guide, 1.4.3: brctl addif)",
            )
        for port in (bridge, tap):
            host.run(["sysctl", "-q", "-w", f"net.ipv6.conf.{port}.disable_ipv6=1"])
        for port in (pf, tap, bridge):
            host.run(["ip", "link", "set", "dev", port, "up"])
        yield
