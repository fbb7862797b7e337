"""All that is known of a host's hardware and kernel, read once."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.machine import cpus, irqs, kernel, memory, nics
from pytest_vswitch.machine.cpus import Cpus
from pytest_vswitch.machine.irqs import Irqs
from pytest_vswitch.machine.kernel import Kernel
from pytest_vswitch.machine.memory import Memory
from pytest_vswitch.machine.nics import Nic


@dataclass(frozen=True, slots=True)
class Machine:
    """A host's facts."""

    cpus: Cpus
    memory: Memory
    kernel: Kernel
    irqs: Irqs
    nics: tuple[Nic, ...]


def read(host: Host) -> Machine:
    """Read them; nothing is changed. Raises HostError."""
    return Machine(
        cpus.read(host), memory.read(host), kernel.read(host), irqs.read(host), nics.read(host)
    )
