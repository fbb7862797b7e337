"""A digest of what makes two machines comparable, and keeps through a reboot.

Left out, because they differ between two boots or two moments of one machine, or
between two machines that measure alike: the host's name, the momentary CPU
frequency, hugepages (they are set up per run; those reserved at boot stand in the
kernel command line), and the parts of the kernel command line below.
"""

from __future__ import annotations

import hashlib
import json
import re

from pytest_vswitch.results.record import HostFacts

_PER_BOOT = re.compile(
    r"(BOOT_IMAGE|initrd|root|rootflags|rootfstype|resume|resume_offset|ostree|ip|nameserver|"
    r"BOOTIF|ds|systemd\.machine_id|rd\.[^=]*(uuid|lv|luks)[^=]*|cryptdevice|crashkernel|"
    r"virtio_mmio\.device)=.*"
)
"""Where the kernel and its root were found, not how the machine then runs."""

_IDENTIFIER = re.compile(
    r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9a-fA-F]{16,}|"
    r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}"
)
"""A UUID, a digest or a MAC address: no such value tunes a machine, except CPU masks,
which the kernel also takes as lists."""


def stable_facts(host: HostFacts) -> dict[str, str]:
    """What `fingerprint` is made of, by name, so that two digests can be explained.

    Memory is rounded to GiB: the kernel keeps a little more or less of it at each boot.
    """
    return {
        "CPU model": host.cpu_model,
        "CPU flags": " ".join(sorted(set(host.cpu_flags))),
        "cores": str(host.cores),
        "NUMA nodes": str(host.numa_nodes),
        "memory": f"{round(host.memory_kb / 2**20)} GiB",
        "kernel": host.kernel,
        "kernel command line": stable_command_line(host.kernel_command_line),
        "governor": host.governor,
        "turbo": host.turbo,
        "microcode": host.microcode,
        "hypervisor": host.hypervisor,
        "operating system": host.operating_system,
    }


def fingerprint(host: HostFacts) -> str:
    """Sixteen hexadecimal digits over `stable_facts`; what `host.fingerprint` says is ignored."""
    facts = json.dumps(stable_facts(host), sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def stable_command_line(command_line: str) -> str:
    """The kernel command line without what only says where things were booted from.

    What follows `--` is for init, not for the kernel. Order is kept, it has a
    meaning (`hugepagesz=1G hugepages=4 hugepagesz=2M hugepages=512`).
    """
    words = command_line.split(" -- ")[0].split()
    return " ".join(w for w in words if not (_PER_BOOT.fullmatch(w) or _IDENTIFIER.search(w)))
