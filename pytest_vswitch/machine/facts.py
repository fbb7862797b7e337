"""All that is known of a host's hardware and kernel, read once."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.machine import cpus, irqs, kernel, memory, nics
from pytest_vswitch.machine.cpus import Cpus
from pytest_vswitch.machine.files import text
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
    libvirt_user: str | None
    """Whom libvirt runs QEMU as; empty: its default; None: there is no libvirt."""


def read(host: Host) -> Machine:
    """Read them; nothing is changed. Raises HostError."""
    return Machine(
        cpus=cpus.read(host),
        memory=memory.read(host),
        kernel=kernel.read(host),
        irqs=irqs.read(host),
        nics=nics.read(host),
        libvirt_user=_libvirt_user(host),
    )


def _libvirt_user(host: Host) -> str | None:
    path = "/etc/libvirt/qemu.conf"
    if not host.exists(path):
        return None
    found = re.search(r'^\s*user\s*=\s*"?([^"\s]*)', text(host, path), re.MULTILINE)
    return found[1].lstrip("+") if found else ""
