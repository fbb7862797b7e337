"""What a lab file should say of a host: which of its ports and CPUs, and why not the others.

The choice of CPUs follows the guide (chapter 4.2.1): on the NIC's NUMA node, one to a
physical core, CPU 0 and its siblings left to Linux, isolated ones where there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.machine import cpus, kernel, memory, nics, software
from pytest_vswitch.machine.cpulist import format_list
from pytest_vswitch.machine.cpus import Cpus
from pytest_vswitch.machine.kernel import Kernel
from pytest_vswitch.machine.memory import Memory
from pytest_vswitch.machine.nics import Nic
from pytest_vswitch.machine.software import Software
from pytest_vswitch.machine.wiring import Wires

PORTS = 2
"""What a PVP needs."""

_FORWARDING = (4, 2, 1)
"""Forwarding lcores of the host, most wanted first; the guide has four."""
_GUEST = 2
"""Forwarding virtual CPUs that the guide gives the guest."""

_BIFURCATED = {"15b3": "mlx", "1414": "mana"}
"""Vendors whose DPDK drivers work beside the kernel's, and the start of those' names."""
_FOR_DPDK = ("vfio-pci", "uio_pci_generic", "igb_uio", "")
"""Drivers of a port that has no interface because DPDK has it; empty: none."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was read from one host."""

    cpus: Cpus
    memory: Memory
    kernel: Kernel
    nics: tuple[Nic, ...]
    software: Software
    uio: bool
    """Whether the kernel has uio_pci_generic."""
    kvm: bool


@dataclass(frozen=True, slots=True)
class Ports:
    """NIC ports sorted by whether they are to be used."""

    chosen: tuple[Nic, ...]
    others: Mapping[str, str]
    """Why each other is not, by BDF."""

    @property
    def node(self) -> int:
        """NUMA node of the chosen ones; -1: none, or not known."""
        return min((nic.node for nic in self.chosen), default=-1)


@dataclass(frozen=True, slots=True)
class Lcores:
    """Which CPUs do what."""

    host: tuple[int, ...]
    """For `dut.lcores`, the first for the command line; empty: leave it to `auto`."""
    generator: int | None
    why: str


@dataclass(frozen=True, slots=True)
class Discovery:
    """What was found on a lab's hosts, and what is proposed of it."""

    dut: str
    """Address, as in `dut.host`."""
    found: Found
    ports: Ports
    lcores: Lcores
    generator: str = ""
    """Address; empty: the DUT."""
    generator_found: Found | None = None
    netns: str = ""
    wires: Wires | None = None
    """None: not looked for."""
    ssh: Mapping[str, str] = field(default_factory=dict)
    """Options that both hosts were reached with."""


def look(host: Host) -> Found:
    """Read all that a lab file may depend on; nothing is changed. Raises HostError."""
    system = kernel.read(host)
    modules = f"/lib/modules/{system.release}"
    uio = host.glob(f"{modules}/kernel/drivers/uio/uio_pci_generic.ko*")
    return Found(
        cpus=cpus.read(host),
        memory=memory.read(host),
        kernel=system,
        nics=nics.read(host),
        software=software.read(host),
        uio=bool(uio) or host.exists("/sys/bus/pci/drivers/uio_pci_generic"),
        kvm=host.exists("/dev/kvm"),
    )


def propose(
    dut: str,
    found: Found,
    *,
    generator: str = "",
    beside: Found | None = None,
    netns: str = "",
    wires: Wires | None = None,
    ssh: Mapping[str, str] = MappingProxyType({}),
    ports: Sequence[str] | None = None,
) -> Discovery:
    """What a lab file should say; `beside` was found on the generator's own host, if it has one.

    `ports` are the BDFs of a lab that is there: they stay chosen.
    """
    generator_here = beside is None and not netns
    wired = wires.wired if wires else {}
    if ports is None:
        chosen = choose_ports(found.nics, wired, generator_here=generator_here)
    else:
        chosen = Ports(
            tuple(nic for nic in found.nics if nic.bdf in ports),
            {nic.bdf: unfit(nic) or "fit" for nic in found.nics if nic.bdf not in ports},
        )
    lcores = choose_lcores(found.cpus, chosen.node, generator_here=beside is None)
    return Discovery(dut, found, chosen, lcores, generator, beside, netns, wires, ssh)


def may_send(found: Sequence[Nic]) -> list[str]:
    """The interfaces from which frames may be sent to find the wiring."""
    return [nic.netdev for nic in found if nic.netdev and nic.link_up and not unfit(nic)]


def to_bring_up(found: Sequence[Nic]) -> list[str]:
    """The interfaces that are down, so that nobody knows of their links, and may be used."""
    return [nic.netdev for nic in found if nic.netdev and nic.link_up is None and not unfit(nic)]


def unfit(nic: Nic) -> str:
    """Why a port is never offered; empty: it may be."""
    if nic.management:
        return f"never touched: {nic.management}"
    if nic.vf_of:
        return f"a virtual function of {nic.vf_of}"
    if nic.vfs:
        return f"its {nic.vfs} virtual functions would go with it"
    if nic.part_of:
        return f"{nic.netdev} is part of {', '.join(nic.part_of)}"
    if nic.addresses:
        return f"{nic.netdev} is in use: it has the address {nic.addresses[0]}"
    if not nic.netdev and nic.driver not in _FOR_DPDK:
        return f"its interface is in another network namespace (driver {nic.driver})"
    return ""


def choose_ports(
    found: Sequence[Nic],
    wired: Mapping[str, str] = MappingProxyType({}),
    *,
    generator_here: bool = False,
) -> Ports:
    """The best two of the fit ports: wired, with a link, of one card, fast.

    `wired` has the generator's end of each wire that was found, by the DUT's interface.
    """
    others = {nic.bdf: reason for nic in found if (reason := unfit(nic))}
    for nic in found:
        if generator_here and nic.netdev in wired.values():
            others.setdefault(nic.bdf, "it is the generator's end of a wire")
    fit = [nic for nic in found if nic.bdf not in others]
    best = max(_pairs(fit), key=lambda pair: _rank(pair, wired), default=tuple(fit[:PORTS]))
    if wired:
        best = tuple(nic for nic in best if nic.netdev in wired)
    for nic in fit:
        if nic in best:
            continue
        if wired and nic.netdev not in wired:
            others[nic.bdf] = "fit, but no wire to the generator was found"
        elif nic.link_up is False:
            others[nic.bdf] = "fit, but it has no link"
        else:
            others[nic.bdf] = f"fit, but {PORTS} are enough"
    return Ports(tuple(sorted(best, key=lambda nic: nic.bdf)), others)


def _pairs(fit: Sequence[Nic]) -> list[tuple[Nic, ...]]:
    return [(one, other) for at, one in enumerate(fit) for other in fit[at + 1 :]]


def _rank(pair: Sequence[Nic], wired: Mapping[str, str]) -> tuple[object, ...]:
    """Greater is better. Of equals the first is taken, which has the lowest BDFs."""
    slowest = min(nic.speed_mbps or 0 for nic in pair)
    cards = {nic.bdf.rpartition(".")[0] for nic in pair}
    return (
        sum(nic.netdev in wired for nic in pair),
        sum({True: 2, None: 1, False: 0}[nic.link_up] for nic in pair),
        len({nic.speed_mbps for nic in pair}) == 1,
        len({nic.node for nic in pair}) == 1,
        slowest,
        len(cards) == 1,
    )


def driver_for(nic: Nic, found: Found) -> tuple[str, str]:
    """The driver to bind for DPDK, and why."""
    if (start := _BIFURCATED.get(nic.vendor)) and nic.driver.startswith(start):
        return "kernel", "its DPDK driver works beside the kernel's"
    if found.kernel.iommu.groups:
        return "vfio-pci", f"the IOMMU is on ({found.kernel.iommu.groups} groups)"
    if found.kernel.vfio.no_iommu:
        return "vfio-pci", "without an IOMMU, as this kernel is told to allow"
    advice = "intel_iommu=on iommu=pt (AMD: iommu=pt) at boot lets vfio-pci work safely"
    if found.uio:
        return "uio_pci_generic", f"no IOMMU is in use; {advice}"
    return "vfio-pci", f"but no IOMMU is in use: {advice}"


def choose_lcores(found: Cpus, node: int, *, generator_here: bool) -> Lcores:
    """CPUs for the host's testpmd, with enough left for the guest's and a generator's.

    `node` is that of the NIC ports; -1: not known, so the one with most isolated CPUs.
    """
    if node not in found.nodes:
        node = max(sorted(found.nodes), key=lambda n: len(found.on_node(n) & found.isolated))
    near = found.on_node(node)
    linux = {0} | found.siblings_of([0])
    cores: dict[int, int] = {}
    for cpu in sorted(near - linux, key=lambda cpu: (cpu not in found.isolated, cpu)):
        cores.setdefault(min(found[cpu].siblings), cpu)
    free = sorted(cores.values())
    quiet = [cpu for cpu in free if cpu in found.isolated]
    for polling, isolated in ((quiet, True), (free, False)):
        busy = [cpu for cpu in free if cpu not in polling]
        # Its command line waits for input: it need not be isolated, and should not be.
        main, rest = (busy[-1], polling) if busy else (polling[0] if polling else 0, polling[1:])
        for forwarding in _FORWARDING:
            guest = _GUEST if forwarding > 1 else 1
            if len(rest) >= forwarding + guest + generator_here:
                break
        else:
            continue
        generator = rest[forwarding] if generator_here else None
        left = rest[forwarding + generator_here :]
        why = (
            f"CPU {main} for the command line, {format_list(rest[:forwarding])} forward: node "
            f"{node}, one to a core, {_isolation(isolated, quiet)}, CPU 0 left to Linux; "
            f"{format_list(left)} left for the guest"
        )
        return Lcores((main, *rest[:forwarding]), generator, why)
    return Lcores(
        (),
        None,
        f"node {node} has {len(free)} core{'s' * (len(free) != 1)} besides that of CPU 0: too "
        "few for polling threads of their own, so they share",
    )


def _isolation(isolated: bool, quiet: Sequence[int]) -> str:
    if isolated:
        return "isolated"
    return f"not isolated (only {format_list(quiet)} are)" if quiet else "not isolated (none is)"
