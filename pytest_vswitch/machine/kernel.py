"""A host's kernel: how it was started, and what of it may disturb a core that polls.

Files are those of the kernel's admin-guide/{kernel-parameters,sysctl/kernel,selinux},
core-api/workqueue and driver-api/vfio.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.machine.command_line import CommandLine
from pytest_vswitch.machine.cpulist import parse_list, parse_mask
from pytest_vswitch.machine.files import number, text

SYSCTL = "/proc/sys/kernel"
WORKQUEUE = "/sys/devices/virtual/workqueue/cpumask"
WRITEBACK = "/sys/devices/virtual/workqueue/writeback/cpumask"
SELINUX = "/sys/fs/selinux/enforce"
MACHINE_CHECK = "/sys/devices/system/machinecheck/machinecheck0/ignore_ce"
UNSAFE_INTERRUPTS = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
NO_IOMMU = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"


@dataclass(frozen=True, slots=True)
class Iommu:
    """What stands between devices and memory."""

    groups: int
    """Groups of devices; 0: no IOMMU is in use."""
    kinds: frozenset[str]
    """Their domains: `identity` (passed through), `DMA`, `DMA-FQ`, ...; empty: an older kernel."""


@dataclass(frozen=True, slots=True)
class Vfio:
    """How user space drives devices."""

    driver: bool
    """Whether vfio-pci is there to be bound to."""
    unsafe_interrupts: bool
    """A device is let through although its interrupts are not remapped."""
    no_iommu: bool
    """A device is let through although there is no IOMMU."""


@dataclass(frozen=True, slots=True)
class Watchdogs:
    """What looks whether CPUs are stuck."""

    nmi: bool
    """Interrupts every CPU by a performance counter."""
    soft: frozenset[int]
    """CPUs on which a thread must run now and then."""


@dataclass(frozen=True, slots=True)
class Irqbalance:
    """The daemon that spreads interrupts over CPUs."""

    pid: int
    freezer: str
    """The file that freezes it; empty: there is none for it alone."""
    frozen: bool


@dataclass(frozen=True, slots=True)
class Kernel:
    """The kernel that runs."""

    release: str
    command_line: CommandLine
    iommu: Iommu
    vfio: Vfio
    selinux: str
    """`enforcing`, `permissive` or `disabled`."""
    numa_balancing: bool
    """Pages are moved towards the CPU that uses them."""
    watchdogs: Watchdogs
    irqbalance: Irqbalance | None
    """None: it does not run."""
    workqueues: frozenset[int]
    """CPUs that may do deferred work of the kernel."""
    writeback: frozenset[int]
    """CPUs that may write back dirty pages; empty: not told."""
    ignore_corrected_errors: bool | None
    """Corrected memory errors are not polled for; None: this machine reports none."""
    firmware_complaints: tuple[str, ...]
    """Lines of the kernel's log in which a driver finds fault with a NIC's firmware."""

    @property
    def version(self) -> tuple[int, int]:
        """E.g. (6, 1)."""
        found = re.match(r"(\d+)\.(\d+)", self.release)
        return (int(found[1]), int(found[2])) if found else (0, 0)


def read(host: Host) -> Kernel:
    """Read it."""
    sysctl = {
        path.rpartition("/")[2]: content.strip()
        for pattern in ("*watchdog*", "numa_balancing", "osrelease")
        for path, content in host.read_texts(f"{SYSCTL}/{pattern}").items()
    }
    enforce, ignore = number(text(host, SELINUX)), number(text(host, MACHINE_CHECK))
    soft = sysctl.get("soft_watchdog", sysctl.get("watchdog", "0")) == "1"
    return Kernel(
        release=sysctl.get("osrelease", ""),
        command_line=CommandLine.parse(text(host, "/proc/cmdline")),
        iommu=_iommu(host),
        vfio=_vfio(host),
        selinux={None: "disabled", 0: "permissive"}.get(enforce, "enforcing"),
        numa_balancing=sysctl.get("numa_balancing", "0") != "0",
        watchdogs=Watchdogs(
            nmi=sysctl.get("nmi_watchdog", "0") == "1",
            soft=parse_list(sysctl.get("watchdog_cpumask", "")) if soft else frozenset(),
        ),
        irqbalance=_irqbalance(host),
        workqueues=parse_mask(text(host, WORKQUEUE)),
        writeback=parse_mask(text(host, WRITEBACK)),
        ignore_corrected_errors=None if ignore is None else ignore == 1,
        firmware_complaints=_firmware_complaints(host),
    )


def _iommu(host: Host) -> Iommu:
    kinds = host.read_texts("/sys/kernel/iommu_groups/[0-9]*/type").values()
    groups = len(host.glob("/sys/kernel/iommu_groups/[0-9]*"))
    return Iommu(groups, frozenset(kind.strip() for kind in kinds))


def _vfio(host: Host) -> Vfio:
    return Vfio(
        driver=host.exists("/sys/bus/pci/drivers/vfio-pci"),
        unsafe_interrupts=text(host, UNSAFE_INTERRUPTS) == "Y",
        no_iommu=text(host, NO_IOMMU) == "Y",
    )


def _irqbalance(host: Host) -> Irqbalance | None:
    for path, name in host.read_texts("/proc/[0-9]*/comm").items():
        if name.strip() == "irqbalance":
            freezer = _freezer(host, path.removesuffix("comm"))
            return Irqbalance(int(path.split("/")[2]), freezer, text(host, freezer) == "1")
    return None


def _freezer(host: Host, process: str) -> str:
    """`cgroup.freeze` of a service's own control group (version 2); empty: it has none."""
    group = re.search(r"^0::(/\S*irqbalance\S*)$", text(host, f"{process}cgroup"), re.MULTILINE)
    mounted = re.search(r"^\S+ (\S+) cgroup2 ", text(host, "/proc/mounts"), re.MULTILINE)
    path = f"{mounted[1]}{group[1]}/cgroup.freeze" if group and mounted else ""
    return path if path and host.exists(path) else ""


def _firmware_complaints(host: Host) -> tuple[str, ...]:
    """As i40e, ixgbe and ice word them; who may not read the log sees none."""
    try:
        log = host.ask(["dmesg"], check=False, why="what drivers say of NIC firmware").output
    except HostError:
        return ()
    lines = re.findall(r"\S+ [0-9a-f]{4}:\S+: .*(?:newer|older) version of the NVM.*", log)
    return tuple(dict.fromkeys(line.strip() for line in lines))
