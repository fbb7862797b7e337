"""Memory: hugepages, of the right size and node, and nothing that moves pages about."""

from __future__ import annotations

from pytest_vswitch.machine.checks.check import Check, Outcome
from pytest_vswitch.machine.cpulist import format_list
from pytest_vswitch.machine.facts import Machine
from pytest_vswitch.machine.memory import KSM, SIZES_KB, THP, Pool
from pytest_vswitch.machine.needs import Needs


def polling_nodes(machine: Machine, needs: Needs) -> frozenset[int]:
    """The NUMA nodes of the CPUs that poll."""
    return frozenset(cpu.node for cpu in machine.cpus.cpus if cpu.number in needs.polling)


def size_name(machine: Machine, needs: Needs) -> str:
    """The lab's page size; for `auto` the largest of which enough is free, or is to be had."""
    if needs.hugepages in SIZES_KB:
        return needs.hugepages
    there = [name for name in ("1G", "2M") if _pools(machine, name)]
    enough = [name for name in there if _free(machine, name) >= pages(needs, name)]
    return (enough or there or ["2M"])[0]


def pages(needs: Needs, size: str) -> int:
    """How many hugepages of `size` a run takes: each piece of memory has its own."""
    return sum(-(-need * 1024 // SIZES_KB[size]) for need in needs.memory_mb)


def hugepages(machine: Machine, needs: Needs) -> Outcome:
    size = size_name(machine, needs)
    needed, free = pages(needs, size), _free(machine, size)
    if needs.hugepages == "none":
        mend = "set dut.hugepages to auto, 1G or 2M in the lab"
        return Outcome("the lab asks for none", False, mend)
    if free >= needed:
        return Outcome(f"{free} of {size} free, {needed} needed", True)
    if not _pools(machine, size):
        mend = "set dut.hugepages to 2M in the lab"
        return Outcome(f"this CPU or kernel has no pages of {size}", False, mend)
    return Outcome(
        f"{free} of {size} free, {needed} needed",
        False,
        _more(machine, needs),
        _at_boot(machine, needs, size),
    )


def memory_node(machine: Machine, needs: Needs) -> Outcome:
    size, nodes = size_name(machine, needs), polling_nodes(machine, needs)
    needed, near = pages(needs, size), _free(machine, size, nodes)
    if needs.hugepages == "none" or _free(machine, size) < needed:
        return Outcome("too few hugepages on any", None)
    if near >= needed:
        return Outcome(f"{near} of {size} free on node {format_list(nodes)}", True)
    return Outcome(
        f"{near} of {size} free on node {format_list(nodes)}, {needed} needed",
        False,
        _more(machine, needs),
        _at_boot(machine, needs, size),
    )


def default_size(machine: Machine, needs: Needs) -> Outcome:
    if needs.hugepages in ("2M", "none"):
        return Outcome("the lab wants none of 1G", None)
    if not _pools(machine, "1G"):
        return Outcome("this CPU or kernel has no pages of 1G", None)
    if machine.memory.default_size_kb == SIZES_KB["1G"]:
        return Outcome("1G", True)
    found = f"{machine.memory.default_size_kb} kB"
    return Outcome(found, False, "", _at_boot(machine, needs, "1G"))


def mount(machine: Machine, needs: Needs) -> Outcome:
    if needs.hugepages == "none":
        return Outcome("the lab wants no hugepages", None)
    size = size_name(machine, needs)
    places = [m.path for m in machine.memory.mounts if m.size_kb == SIZES_KB[size]]
    if places:
        return Outcome(f"{size} at {places[0]}", True)
    place = f"/dev/hugepages{size}" if machine.memory.mounts else "/dev/hugepages"
    return Outcome(
        f"no hugetlbfs of {size} is mounted",
        False,
        f"mkdir -p {place} && mount -t hugetlbfs -o pagesize={size} none {place}",
    )


def thp(machine: Machine, needs: Needs) -> Outcome:
    if not machine.memory.thp:
        return Outcome("this kernel has none", None)
    if machine.memory.thp != "always":
        return Outcome(machine.memory.thp, True)
    argument = ("transparent_hugepage=madvise",)
    return Outcome("always", False, f"echo madvise > {THP}", argument)


def ksm(machine: Machine, needs: Needs) -> Outcome:
    if machine.memory.ksm is None:
        return Outcome("this kernel has none", None)
    if machine.memory.ksm != 1:
        return Outcome("off", True)
    return Outcome("on", False, f"echo 0 > {KSM}")


def pool_to_grow(machine: Machine, needs: Needs) -> Pool | None:
    """Where more hugepages belong: on a node of the CPUs that poll."""
    pools = _pools(machine, size_name(machine, needs))
    nodes = polling_nodes(machine, needs)
    return next((pool for pool in pools if pool.node in nodes), pools[0] if pools else None)


def missing(machine: Machine, needs: Needs) -> int:
    """Hugepages that these nodes lack."""
    size = size_name(machine, needs)
    near = _free(machine, size, polling_nodes(machine, needs))
    return max(0, pages(needs, size) - near)


def _more(machine: Machine, needs: Needs) -> str:
    pool = pool_to_grow(machine, needs)
    more = missing(machine, needs)
    return f"echo {pool.total + more} > {pool.path}/nr_hugepages" if pool else ""


def _at_boot(machine: Machine, needs: Needs, size: str) -> tuple[str, ...]:
    """Early, while memory is in one piece: later few pages of 1 GB are left in it."""
    count = str(pages(needs, size))
    nodes = polling_nodes(machine, needs)
    if len(machine.cpus.nodes) > 1 and nodes:
        # Without a node Linux spreads them evenly; it takes one since 5.16.
        per_node = machine.kernel.version >= (5, 16)
        total = int(count) * len(machine.cpus.nodes)
        count = f"{min(nodes)}:{count}" if per_node else str(total)
    return (f"default_hugepagesz={size}", f"hugepagesz={size} hugepages={count}")


def _pools(machine: Machine, size: str) -> list[Pool]:
    return [pool for pool in machine.memory.pools if pool.size_kb == SIZES_KB[size]]


def _free(machine: Machine, size: str, nodes: frozenset[int] | None = None) -> int:
    """Free pages, on some nodes or on all."""
    pools = _pools(machine, size)
    return sum(pool.free for pool in pools if nodes is None or pool.node in nodes)


CHECKS = (
    Check(
        "hugepages",
        "memory",
        "enough free hugepages for testpmd and guest",
        "required with NICs",
        "4.2.1 step 2",
        hugepages,
    ),
    Check(
        "memory-node",
        "memory",
        "these hugepages on the NUMA node of the polling CPUs",
        "required with NICs",
        "pit",
        memory_node,
    ),
    Check(
        "hugepage-size",
        "memory",
        "hugepages of 1G by default",
        "advised",
        "4.2.1 step 2",
        default_size,
    ),
    Check(
        "hugepage-mount",
        "memory",
        "a hugetlbfs of that page size",
        "advised",
        "4.2.5 (mem-path)",
        mount,
    ),
    Check(
        "thp", "memory", "transparent hugepages only where asked for", "advised", "host tuning", thp
    ),
    Check("ksm", "memory", "no merging of equal pages", "advised", "host tuning", ksm),
)
