"""A host's interrupts: which CPUs each may hit, and whether it can be moved.

Files are those of the kernel's core-api/irq/irq-affinity.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.machine.cpulist import parse_list, parse_mask
from pytest_vswitch.machine.files import directories, text

ROOT = "/proc/irq"
DEFAULT = f"{ROOT}/default_smp_affinity"

_QUEUE = re.compile(r"nvme\d+q[1-9]\d*|virtio\d+-req\.\d+|(?:megasas|mpt\dsas)\d*-msix\d+")
"""Interrupts of storage queues, one to a CPU, which their drivers let the kernel manage."""


_TIMER = 0
"""Cannot be moved, and is still once the kernel has better clocks."""


@dataclass(frozen=True, slots=True)
class Irq:
    """One interrupt."""

    number: int
    name: str
    """Of the devices that raise it, e.g. `nvme0q3`."""
    cpus: frozenset[int]
    """Where it may be delivered."""
    effective: frozenset[int]
    """Where it is delivered now; empty: the kernel does not tell."""
    managed: bool
    """By the kernel: it cannot be moved. Before Linux 6.11 a guess, by its name."""

    @property
    def path(self) -> str:
        """The file that moves it; a list of CPUs."""
        return f"{ROOT}/{self.number}/smp_affinity_list"


@dataclass(frozen=True, slots=True)
class Irqs:
    """A host's interrupts that have a handler, but for the timer's."""

    irqs: tuple[Irq, ...]
    default: frozenset[int]
    """Where an interrupt that is new goes."""
    remapped: bool
    """Whether the IOMMU remaps them: what VFIO wants before it lets a guest raise one."""


def read(host: Host) -> Irqs:
    """Read them."""
    interrupts = text(host, "/proc/interrupts")
    names = {
        int(number): rest.split()[-1]
        for number, rest in re.findall(r"^\s*(\d+):(.*\S)\s*$", interrupts, re.MULTILINE)
    }
    told = _not_writable(host)
    found = []
    texts = host.read_texts(f"{ROOT}/[0-9]*/*_affinity_list")
    for path, files in directories(texts).items():
        number = int(path.rpartition("/")[2])
        if number not in names or number == _TIMER:
            continue
        name = names[number]
        fixed = number in told if told else bool(_QUEUE.fullmatch(name))
        found.append(
            Irq(
                number=number,
                name=name,
                cpus=parse_list(files.get("smp_affinity_list", "")),
                effective=parse_list(files.get("effective_affinity_list", "")),
                managed=fixed,
            )
        )
    return Irqs(
        irqs=tuple(sorted(found, key=lambda irq: irq.number)),
        default=parse_mask(text(host, DEFAULT)),
        remapped=bool(re.search(r"\b(IR-|AMD-IR\b)", interrupts)),
    )


def _not_writable(host: Host) -> frozenset[int]:
    """Interrupts whose file only reads: Linux 6.11 and later mark managed ones so."""
    argv = ["find", ROOT, "-mindepth", "2", "-maxdepth", "2", "-name", "smp_affinity_list"]
    try:
        found = host.ask([*argv, "!", "-perm", "-u=w"], why="which interrupts cannot be moved")
    except HostError:
        return frozenset()
    return frozenset(int(number) for number in re.findall(r"/irq/(\d+)/", found.output))
