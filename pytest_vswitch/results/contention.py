"""How much of the DUT's CPU time went elsewhere while something was measured on it."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from pytest_vswitch.hosts.host import Host


@dataclass(frozen=True, slots=True)
class Contention:
    """Shares of the time of a measurement, 0 to 1."""

    stolen: float
    """Of the CPUs' time, what the hypervisor below gave to others (`steal` in /proc/stat)."""
    waiting: float
    """Part of the time in which some program waited for a CPU (/proc/pressure/cpu)."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters of a host at one moment; what a kernel does not count is 0."""

    at_s: float
    stolen_ticks: int
    ticks: int
    waiting_us: int


def read(host: Host) -> Reading:
    """Raises OSError when the host does not tell."""
    stat = host.read_text("/proc/stat").partition("\n")[0].split()[1:9]
    ticks = [int(word) for word in stat]
    try:
        pressure = host.read_text("/proc/pressure/cpu")
    except OSError:  # a kernel without PSI
        pressure = ""
    waiting = re.search(r"^some .*total=(\d+)", pressure)
    return Reading(time.monotonic(), ticks[7], sum(ticks), int(waiting[1]) if waiting else 0)


def between(before: Reading, after: Reading) -> Contention:
    """What two readings say of the time between them."""
    elapsed_us = max(1.0, 1e6 * (after.at_s - before.at_s))
    return Contention(
        stolen=(after.stolen_ticks - before.stolen_ticks) / max(1, after.ticks - before.ticks),
        waiting=min(1.0, (after.waiting_us - before.waiting_us) / elapsed_us),
    )
