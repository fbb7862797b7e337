"""Which CPU does what in a chain: as the guide wants it where there are enough (chapter 4.2)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.preflight import generator_is_here
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.machine import cpulist, cpus

_GUIDE_HOST = 4
_GUIDE_ENDPOINT = {"guest": 2, "container": 1, "peer": 1}
"""Forwarding lcores that the guide gives the host, and what is behind it (4.2, 6.2, memif)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an endpoint would like to have."""

    where: Literal["guest", "container", "peer"]
    vcpus: int
    """One for its Linux or its command line, the others forward."""


@dataclass(frozen=True, slots=True)
class Lcores:
    """What an endpoint gets."""

    vcpus: int
    cpus: tuple[int, ...]
    """The host's CPU of each of them; empty: wherever Linux puts them."""


@dataclass(frozen=True, slots=True)
class LcorePlan:
    """Where the polling threads run."""

    host_cpus: tuple[int, ...]
    """Of the vSwitch: the first for its command line, the others forward. Shared: all."""
    host_forwarding: int
    """Forwarding lcores of the vSwitch."""
    endpoints: tuple[Lcores, ...]
    shared: bool
    """Whether everything shares `host_cpus`, for want of CPUs."""
    generator_cpu: int | None
    remarks: tuple[str, ...]

    @property
    def host_lcores(self) -> str:
        """For EAL's `--lcores`; lcore 0 is the main one."""
        if self.shared:
            spread = ",".join(map(str, self.host_cpus))
            return ",".join(f"{lcore}@({spread})" for lcore in range(1 + self.host_forwarding))
        return ",".join(f"{lcore}@{cpu}" for lcore, cpu in enumerate(self.host_cpus))


def plan_for(lab: Lab, host: Host, endpoints: Sequence[Wanted] | None = None) -> LcorePlan:
    """What the lab wishes, held against the CPUs of its DUT. Raises InputError.

    For one virtual machine, if no `endpoints` are given.
    """
    devices = [port.bdf for port in lab.ports if port.kind == "nic"]
    here = generator_is_here(lab)
    return plan(
        available(host, devices),
        lcores=None if lab.dut.lcores == "auto" else lab.dut.lcores,
        endpoints=[Wanted("guest", lab.guest.vcpus)] if endpoints is None else endpoints,
        generator=here,
        generator_cpu=lab.generator.cpu if here else None,
        forwarding=lab.dut.forwarding,
    )


def plan(
    usable: Sequence[int],
    *,
    lcores: Sequence[int] | None,
    endpoints: Sequence[Wanted],
    generator: bool = True,
    generator_cpu: int | None,
    forwarding: int | None = None,
) -> LcorePlan:
    """Divide the `usable` CPUs, first ones first.

    `lcores` (main lcore first), `generator_cpu` and how many are `forwarding` are the lab's
    wishes.
    The guide wants a main lcore, four forwarding lcores, and three virtual CPUs, of which
    the first may share a CPU with the main lcore; a `generator` on this host takes one more.
    Raises InputError for fewer than two lcores.
    """
    if lcores is not None and len(lcores) < 2:
        raise InputError("dut.lcores needs at least two: the main lcore and a forwarding one")
    free = [cpu for cpu in usable if cpu != generator_cpu]
    wanted = forwarding or (_GUIDE_HOST if lcores is None else len(lcores) - 1)
    liked = [max(1, endpoint.vcpus - 1) for endpoint in endpoints]
    for outer, inner in ((wanted, liked), (forwarding or 1, [1] * len(liked))):
        host = list((lcores or free)[: outer + 1])
        rest = [cpu for cpu in free if cpu not in host]
        rest.sort(key=lambda cpu: cpu == usable[0])  # Linux's: the last one to poll on
        needed = sum(inner) + (generator and generator_cpu is None)
        if len(host) == outer + 1 and len(rest) >= needed:
            remarks = list(_fewer(outer, _GUIDE_HOST, "lcore", "the host"))
            given = []
            for endpoint, inside in zip(endpoints, inner, strict=True):
                given.append(Lcores(1 + inside, (host[0], *rest[:inside])))
                rest = rest[inside:]
                remarks += _fewer(
                    inside,
                    _GUIDE_ENDPOINT[endpoint.where],
                    "virtual CPU",
                    f"the {endpoint.where}",
                )
            return LcorePlan(
                host_cpus=tuple(host),
                host_forwarding=outer,
                endpoints=tuple(given),
                shared=False,
                generator_cpu=generator_cpu
                if not generator or generator_cpu is not None
                else rest[0],
                remarks=(*dict.fromkeys(remarks), *_shared(generator_cpu, host)),
            )
    who = ["the vSwitch"]
    for where, several in Counter(endpoint.where for endpoint in endpoints).items():
        who.append(f"the {where}" if several == 1 else f"{several} {where}s")
    who += ["the traffic generator"] if generator else []
    count = f"{len(usable)} CPU{'s' if len(usable) > 1 else ''}"
    return LcorePlan(
        host_cpus=tuple(lcores or usable),
        host_forwarding=forwarding or 1,
        endpoints=tuple(Lcores(2, ()) for _ in endpoints),
        shared=True,
        generator_cpu=generator_cpu,
        remarks=(f"{listed(who)} share {count}; the guide gives each polling thread its own",),
    )


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


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
