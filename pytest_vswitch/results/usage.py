"""What a host has used of its CPUs and memory: what a frame's cost is made of."""

from __future__ import annotations

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.machine import memory
from pytest_vswitch.measure.cost import Usage

USER_HZ = 100
"""Ticks per second of /proc/stat, the same on all of Linux's usual architectures."""
_IDLE = (3, 4)
"""Columns `idle` and `iowait` of /proc/stat."""


def read(host: Host) -> Usage:
    """Raises OSError when the host does not tell."""
    lines = host.read_text("/proc/stat").splitlines()
    # The last two columns, of guests, are part of `user` and `nice` already.
    ticks = [int(word) for word in lines[0].split()[1:9]]
    cpus = sum(line.startswith("cpu") for line in lines) - 1
    busy = sum(count for column, count in enumerate(ticks) if column not in _IDLE)
    ram = memory.read(host)
    return Usage(
        busy_s=busy / USER_HZ,
        resolution_s=cpus / USER_HZ,
        memory_kb=1024 * (sum(node.total_mb for node in ram.nodes) - ram.available_mb),
    )
