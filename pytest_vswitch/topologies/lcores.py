"""Which CPU does what in a PVP: as the guide wants it where there are enough (chapter 4.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.preflight import generator_is_here
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.machine import cpulist, cpus

_GUIDE_HOST = 4
_GUIDE_ENDPOINT = {"guest": 2, "container": 1}
"""Forwarding lcores that the guide gives the host, and what is behind it (4.2 and 6.2)."""

Endpoint = Literal["guest", "container"]


@dataclass(frozen=True, slots=True)
class LcorePlan:
    """Where the polling threads run."""

    host_lcores: str
    """For EAL's `--lcores`; lcore 0 is the main one."""
    host_forwarding: int
    """Forwarding lcores of the host's testpmd."""
    vcpus: int
    """Of the guest: one for Linux, the others forward. Of a container: its lcores."""
    vcpu_cpus: tuple[int, ...]
    """CPU of each of them; empty: wherever Linux puts them."""
    generator_cpu: int | None
    remarks: tuple[str, ...]


def plan_for(lab: Lab, host: Host, endpoint: Endpoint = "guest") -> LcorePlan:
    """What the lab wishes, held against the CPUs of its DUT. Raises InputError."""
    devices = [port.bdf for port in lab.ports if port.kind == "nic"]
    here = generator_is_here(lab)
    return plan(
        available(host, devices),
        lcores=None if lab.dut.lcores == "auto" else lab.dut.lcores,
        endpoint=endpoint,
        vcpus=lab.guest.vcpus if endpoint == "guest" else 1 + _GUIDE_ENDPOINT[endpoint],
        generator=here,
        generator_cpu=lab.generator.cpu if here else None,
    )


def plan(
    usable: Sequence[int],
    *,
    lcores: Sequence[int] | None,
    endpoint: Endpoint = "guest",
    vcpus: int,
    generator: bool = True,
    generator_cpu: int | None,
) -> LcorePlan:
    """Divide the `usable` CPUs, first ones first.

    `lcores` (main lcore first) and `generator_cpu` are the lab's wishes.
    The guide wants a main lcore, four forwarding lcores, and three virtual CPUs, of which
    the first may share a CPU with the main lcore; a `generator` on this host takes one more.
    Raises InputError for fewer than two lcores.
    """
    if lcores is not None and len(lcores) < 2:
        raise InputError("dut.lcores needs at least two: the main lcore and a forwarding one")
    free = [cpu for cpu in usable if cpu != generator_cpu]
    wanted = _GUIDE_HOST if lcores is None else len(lcores) - 1
    for forwarding, guest_forwarding in ((wanted, max(1, vcpus - 1)), (1, 1)):
        host = list((lcores or free)[: forwarding + 1])
        rest = [cpu for cpu in free if cpu not in host]
        rest.sort(key=lambda cpu: cpu == usable[0])  # Linux's: the last one to poll on
        needed = guest_forwarding + (generator and generator_cpu is None)
        if len(host) == forwarding + 1 and len(rest) >= needed:
            return LcorePlan(
                host_lcores=",".join(f"{lcore}@{cpu}" for lcore, cpu in enumerate(host)),
                host_forwarding=forwarding,
                vcpus=1 + guest_forwarding,
                vcpu_cpus=(host[0], *rest[:guest_forwarding]),
                generator_cpu=next(iter(rest[guest_forwarding:needed]), generator_cpu),
                remarks=(
                    *_fewer(forwarding, _GUIDE_HOST, "lcore", "the host"),
                    *_fewer(
                        guest_forwarding,
                        _GUIDE_ENDPOINT[endpoint],
                        "virtual CPU",
                        f"the {endpoint}",
                    ),
                    *_shared(generator_cpu, host),
                ),
            )
    spread = ",".join(map(str, lcores or usable))
    who = f"host testpmd, {endpoint} testpmd" + (" and the traffic generator" if generator else "")
    count = f"{len(usable)} CPU{'s' if len(usable) > 1 else ''}"
    return LcorePlan(
        host_lcores=f"0@({spread}),1@({spread})",
        host_forwarding=1,
        vcpus=2,
        vcpu_cpus=(),
        generator_cpu=generator_cpu,
        remarks=(f"{who} share {count}; the guide gives each polling thread its own",),
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


def available(host: Host, devices: Sequence[str] = ()) -> list[int]:
    """The CPUs that programs of this run may use, in the order in which to use them.

    First one that Linux uses, for command lines; then isolated ones, which Linux leaves
    alone; those near the first of `devices` (PCI addresses) before others; and a second
    CPU of a core only when no whole core is left.
    """
    found = re.search(r"Cpus_allowed_list:\s*(\S+)", host.read_text("/proc/self/status"))
    known = cpus.read(host)
    # Linux takes isolated CPUs out of what it allows by itself; one may ask for them.
    usable = (cpulist.parse_list(found[1]) if found else frozenset({0})) | known.isolated
    usable = usable & known.online or usable
    near = known.on_node(_node(host, devices[0])) if devices else frozenset()

    def rank(cpu: int) -> tuple[bool, bool, int]:
        return cpu not in near, cpu not in known.isolated, cpu

    main = min(usable - known.isolated or usable, key=lambda cpu: (cpu not in near, cpu))
    cores = {cpu.number: (cpu.socket, cpu.core) for cpu in known.cpus}
    whole: list[int] = []
    siblings: list[int] = []
    taken = set()
    for cpu in (main, *sorted(usable - {main}, key=rank)):
        core = cores.get(cpu, (0, cpu))
        (siblings if core in taken else whole).append(cpu)
        taken.add(core)
    return whole + siblings


def _node(host: Host, device: str) -> int:
    """NUMA node of a PCI device; 0 where the firmware does not say."""
    try:
        return max(0, int(host.read_text(f"/sys/bus/pci/devices/{device}/numa_node")))
    except (OSError, ValueError):
        return 0
