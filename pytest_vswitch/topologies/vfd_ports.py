"""Who has the PF of `vfd`, and sets what its virtual functions may: testpmd, or the kernel."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from pytest_vswitch.apps import ip_link_vf
from pytest_vswitch.apps.ip_link_vf import KernelControl
from pytest_vswitch.apps.testpmd import PortInfo
from pytest_vswitch.apps.vf_control import Control, Statistics
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts import changes, knobs
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.topologies import bifurcated_port, ports
from pytest_vswitch.topologies.vfd_programs import VFS, Program

TESTPMD_DRIVERS: Final = ("ixgbe", "i40e")
"""Whose PF has functions for its VFs with DPDK."""
KERNEL_DRIVERS: Final = ("igb", *TESTPMD_DRIVERS)
"""And with the kernel."""
_RED_HAT: Final = "0x1af4"
"""Subsystem vendor of the NICs that QEMU emulates."""


class Setter(Protocol):
    """What takes the commands that set functions of VFs."""

    def set(self, command: str, *, why: str = "") -> None:
        """Raises NotSupported, DutError."""

    def vf_statistics(self, vf: int) -> Statistics:
        """As the PF sees them. Raises NotSupported, DutError."""


class Pf(Protocol):
    """The physical function."""

    road: str
    """By which commands its functions are set: `dpdk` or `kernel`."""
    emulated: bool
    """Whether it is QEMU's, which models less than the real one does."""

    @property
    def control(self) -> Setter: ...

    @property
    def driver(self) -> str: ...

    @property
    def versions(self) -> dict[str, str]: ...

    def start(self) -> None: ...
    def end(self) -> None: ...
    def check_alive(self) -> None: ...


@dataclass(slots=True)
class TestpmdPf:
    """With a testpmd on it, which forwards nothing."""

    __test__ = False

    program: Program
    road: str = "dpdk"
    emulated: bool = False

    @property
    def control(self) -> Control:
        return self.program.control

    @property
    def driver(self) -> str:
        """Raises DutError for one that has no such functions."""
        told = self.info.driver.removeprefix("net_")
        if told not in TESTPMD_DRIVERS:
            raise DutError(
                f"VFd is for ports of {' and '.join(TESTPMD_DRIVERS)}, this one has {told}"
            )
        return told

    @property
    def info(self) -> PortInfo:
        return self.control.testpmd.port_info(0)

    @property
    def versions(self) -> dict[str, str]:
        return {}

    def start(self) -> None:
        self.program.start(1)

    def end(self) -> None:
        self.program.end()

    def check_alive(self) -> None:
        self.program.check_alive()


@dataclass(slots=True)
class KernelPf:
    """With its kernel's driver, told by `ip link`."""

    control: KernelControl
    driver: str
    release: str
    """Of the kernel."""
    emulated: bool
    road: str = "kernel"

    @property
    def versions(self) -> dict[str, str]:
        return {f"kernel's {self.driver}": self.release}

    def start(self) -> None: ...
    def end(self) -> None: ...
    def check_alive(self) -> None: ...


@contextlib.contextmanager
def kernel_port(host: Host, bdf: str, driver: str) -> Iterator[tuple[KernelPf, list[str]]]:
    """The PF, up and silent, and its VFs, bound to vfio-pci. Raises HostError."""
    interface = bifurcated_port.interface(host, bdf)
    bifurcated_port.refuse_addresses(host, interface)
    flags = f"{knobs.SYS}/class/net/{interface}/flags"
    control = KernelControl(host, interface)
    with contextlib.ExitStack() as stack:
        quiet = f"{knobs.PROC}/sys/net/ipv6/conf/{interface}/disable_ipv6"
        if host.exists(quiet):  # or the kernel's own frames would be counted
            stack.enter_context(changes.rewriting(host, quiet, "1\n"))
        stack.enter_context(host.changing(Change("rewrote", flags, host.read_text(flags))))
        probes = f"{knobs.SYS}/bus/pci/devices/{bdf}/sriov_drivers_autoprobe"
        stack.enter_context(changes.rewriting(host, probes, "0\n"))
        functions = stack.enter_context(changes.virtual_functions(host, bdf, VFS))
        host.run(control.argv(ip_link_vf.port(True)), why="its VFs have a link, too")
        for number, mac in enumerate(bifurcated_port.VF_MACS):
            given = control.argv(ip_link_vf.mac_address(number, mac))
            host.run(given, why="which the VF's driver has from the start")
        ports.load(host, "vfio-pci")
        for function in functions:
            stack.enter_context(changes.binding(host, function, "vfio-pci"))
        yield KernelPf(control, driver, _release(host), is_emulated(host, bdf)), functions


def is_emulated(host: Host, bdf: str) -> bool:
    vendor = f"{knobs.SYS}/bus/pci/devices/{bdf}/subsystem_vendor"
    return host.exists(vendor) and host.read_text(vendor).strip() == _RED_HAT


def _release(host: Host) -> str:
    return host.ask(["uname", "-r"]).output.strip()
