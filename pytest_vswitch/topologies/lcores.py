"""Which CPU does what in a PVP: as the guide wants it where there are enough (chapter 4.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.host import Host

_GUIDE_HOST, _GUIDE_GUEST = 4, 2
"""Forwarding lcores that the guide gives the host and the guest."""


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
    free = [cpu for cpu in cpus if cpu != generator_cpu]
    wanted = _GUIDE_HOST if lcores is None else len(lcores) - 1
    for forwarding, guest_forwarding in ((wanted, max(1, vcpus - 1)), (1, 1)):
        host = list((lcores or free)[: forwarding + 1])
        rest = [cpu for cpu in free if cpu not in host]
        needed = guest_forwarding + (generator_cpu is None)
        if len(host) == forwarding + 1 and len(rest) >= needed:
            return LcorePlan(
                host_lcores=",".join(f"{lcore}@{cpu}" for lcore, cpu in enumerate(host)),
                host_forwarding=forwarding,
                vcpus=1 + guest_forwarding,
                vcpu_cpus=(host[0], *rest[:guest_forwarding]),
                generator_cpu=rest[guest_forwarding] if generator_cpu is None else generator_cpu,
                remarks=(
                    *_fewer(forwarding, _GUIDE_HOST, "lcore", "the host"),
                    *_fewer(guest_forwarding, _GUIDE_GUEST, "virtual CPU", "the guest"),
                    *_shared(generator_cpu, host),
                ),
            )
    spread = ",".join(map(str, lcores or cpus))
    return LcorePlan(
        host_lcores=f"0@({spread}),1@({spread})",
        host_forwarding=1,
        vcpus=2,
        vcpu_cpus=(),
        generator_cpu=generator_cpu,
        remarks=(
            f"host testpmd, guest testpmd and the traffic generator share {len(cpus)} "
            f"CPU{'s' if len(cpus) > 1 else ''}; the guide gives each polling thread its own",
        ),
    )


def _fewer(there: int, wanted: int, what: str, where: str) -> tuple[str, ...]:
    if there >= wanted:
        return ()
    plural = "s" if there > 1 else ""
    return (f"{there} forwarding {what}{plural} in {where} instead of the guide's {wanted}",)


def _shared(generator_cpu: int | None, host: Sequence[int]) -> tuple[str, ...]:
    if generator_cpu not in host:
        return ()
    return (f"the traffic generator shares CPU {generator_cpu} with the host's testpmd",)


def available(host: Host) -> list[int]:
    """The CPUs that programs of this run may use."""
    found = re.search(r"Cpus_allowed_list:\s*(\S+)", host.read_text("/proc/self/status"))
    cpus: list[int] = []
    for part in found[1].split(",") if found else ["0"]:
        first, _, last = part.partition("-")
        cpus.extend(range(int(first), int(last or first) + 1))
    return cpus
