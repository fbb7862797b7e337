"""A virtio device that is plugged into a running guest and out of it, as a VF is (guide, 1.3)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pytest_vswitch.apps.guest import Guest
from pytest_vswitch.apps.migration import VF
from pytest_vswitch.apps.testpmd import Testpmd
from pytest_vswitch.errors import DeadlineError, DutError

ADDRESS: Final = "0000:01:00.0"
"""In the guest: the one device behind its one PCI Express slot."""

_UNPLUG_S = 30.0
_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class StandIn:
    """The device; a guest has it or not."""

    mac: str
    virtio: Mapping[str, str] = field(default_factory=dict)
    """Properties, as those of the guest's other ports."""

    def plug(self, guest: Guest, socket: str) -> None:
        """Give the guest the device, whose back-end listens on `socket`. Raises DutError."""
        address = {"type": "unix", "data": {"path": socket}}
        backend = {"type": "socket", "data": {"addr": address, "server": False}}
        execute = guest.machine.execute
        execute("chardev-add", id=VF, backend=backend)
        execute("netdev_add", type="vhost-user", id=VF, chardev=VF)
        execute(
            "device_add",
            driver="virtio-net-pci",
            netdev=VF,
            id=VF,
            mac=self.mac,
            bus="slot0",
            **self.virtio,
        )

    def bind(self, guest: Guest) -> None:
        """Give the device to DPDK, once the guest has found it. Raises DutError."""
        device = f"/sys/bus/pci/devices/{ADDRESS}"
        guest.run(f"until [ -e {device} ]; do usleep 20000; done", timeout_s=_UNPLUG_S)
        guest.run(
            f"[ ! -e {device}/driver ] || echo {ADDRESS} > {device}/driver/unbind; "
            f"echo uio_pci_generic > {device}/driver_override; "
            f"echo {ADDRESS} > /sys/bus/pci/drivers_probe; [ -e {device}/driver ]",
            why="`dpdk-devbind.py -b` (guide, 1.5.1)",
        )

    def unplug(self, guest: Guest) -> None:
        """Take the device away, and wait until the guest has let it go. Raises DutError."""
        execute = guest.machine.execute
        execute("device_del", id=VF)
        deadline = time.monotonic() + _UNPLUG_S
        while VF in {entry["name"] for entry in _peripherals(guest)}:
            if time.monotonic() > deadline:
                raise DeadlineError(
                    f"the guest did not let {VF} go within {_UNPLUG_S:g} s of `device_del`: "
                    "it was in use still"
                )
            time.sleep(_LOOK_S)  # the condition: the device is gone
        execute("netdev_del", id=VF)  # and its chardev with it

    def detach(self, forwarder: Testpmd) -> None:
        """Take a closed port out of testpmd (the guide's `port detach` wants one that is open)."""
        said = forwarder.command(f"device detach {ADDRESS}")
        _require("is detached" in said, forwarder, said)

    def attach(self, forwarder: Testpmd, port: int) -> None:
        """Give it to testpmd again, where it must get that port number; start it."""
        said = forwarder.command(f"port attach {ADDRESS}")
        _require(f"Port {port} is attached" in said, forwarder, said)
        forwarder.command(f"port start {port}")


def _peripherals(guest: Guest) -> list[dict[str, str]]:
    found: list[dict[str, str]] = guest.machine.execute("qom-list", path="/machine/peripheral")
    return found


def _require(done: bool, forwarder: Testpmd, said: str) -> None:
    if not done:
        raise DutError(f"{forwarder.terminal.name}, {ADDRESS}: {said.strip()}")
