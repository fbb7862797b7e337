"""Which CPU does what in a PVP: as the guide wants it where there are enough (chapter 4.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.host import Host


@dataclass(frozen=True, slots=True)
class LcorePlan:
    """Where the polling threads run."""

    host_lcores: str
    """For EAL's `--lcores`; lcore 0 is the main one."""
    host_forwarding: int
    """Forwarding lcores of the host's testpmd."""
    vcpus: int
    """Of the guest: one for Linux, the others forward."""
    vcpu_cpus: tuple[int, ...]
    """CPU of each virtual CPU; empty: wherever Linux puts them."""
    generator_cpu: int | None
    remarks: tuple[str, ...]


def plan(
    cpus: Sequence[int], *, lcores: Sequence[int] | None, vcpus: int, generator_cpu: int | None
) -> LcorePlan:
    """Divide `cpus`; `lcores` (main lcore first) and `generator_cpu` are the lab's wishes.

    The guide wants a main lcore, four forwarding lcores, and three virtual CPUs, of which
    the first may share a CPU with the main lcore; the generator here takes one more.
    Raises InputError for fewer than two lcores.
    """
    if lcores is not None and len(lcores) < 2:
        raise InputError("dut.lcores needs at least two: the main lcore and a forwarding one")
    wanted = 4 if lcores is None else len(lcores) - 1
    for forwarding, guest_forwarding in ((wanted, max(1, vcpus - 1)), (min(wanted, 1), 1)):
        host = list(lcores[: forwarding + 1] if lcores else cpus[: forwarding + 1])
        rest = [cpu for cpu in cpus if cpu not in host and cpu != generator_cpu]
        needed = guest_forwarding + (generator_cpu is None)
        if len(host) == forwarding + 1 and len(rest) >= needed:
            guest = rest[:guest_forwarding]
            fewer = () if forwarding >= 4 or lcores else (_fewer(forwarding, len(cpus)),)
            return LcorePlan(
                host_lcores=",".join(f"{lcore}@{cpu}" for lcore, cpu in enumerate(host)),
                host_forwarding=forwarding,
                vcpus=1 + guest_forwarding,
                vcpu_cpus=(host[0], *guest),
                generator_cpu=rest[guest_forwarding] if generator_cpu is None else generator_cpu,
                remarks=fewer,
            )
    spread = ",".join(map(str, lcores or cpus))
    return LcorePlan(
        host_lcores=f"0@({spread}),1@({spread})",
        host_forwarding=1,
        vcpus=2,
        vcpu_cpus=(),
        generator_cpu=None,
        remarks=(
            f"host testpmd, guest testpmd and the traffic generator share {len(cpus)} "
            f"CPU{'s' if len(cpus) > 1 else ''}; the guide gives each polling thread its own",
        ),
    )


def _fewer(forwarding: int, cpus: int) -> str:
    return f"{forwarding} forwarding lcore on the host instead of the guide's 4: {cpus} CPUs only"


def available(host: Host) -> list[int]:
    """The CPUs that programs of this run may use."""
    found = re.search(r"Cpus_allowed_list:\s*(\S+)", host.read_text("/proc/self/status"))
    cpus: list[int] = []
    for part in found[1].split(",") if found else ["0"]:
        first, _, last = part.partition("-")
        cpus.extend(range(int(first), int(last or first) + 1))
    return cpus
