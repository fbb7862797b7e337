"""What was found on a lab's hosts, as lines of a comment."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from pytest_vswitch.machine.cpulist import format_list
from pytest_vswitch.machine.cpus import Cpus
from pytest_vswitch.machine.discovery import Discovery, Found, unfit
from pytest_vswitch.machine.nics import Nic
from pytest_vswitch.machine.wiring import Wires

BEGIN = "# --- found by `vswitch lab init`; its --update writes these lines anew ---"
END = "# --- end of what was found ---"

_WIDTH = 96


def found(discovery: Discovery, before: str = "") -> Iterator[str]:
    """The lines, with `BEGIN` and `END`; the wires are those of `before` if none were sought."""
    yield BEGIN
    yield from _host(f"DUT {discovery.dut}", discovery.found)
    yield "#   NIC ports:"
    for nic in discovery.found.nics:
        reason = discovery.ports.others.get(nic.bdf)
        state = f"not chosen: {reason}" if reason else "chosen"
        yield from wrapped(f"{nic.bdf} {described(nic)}; {state}", bullet="    ")
    if not discovery.found.nics:
        yield "#     none"
    if discovery.wires:
        yield from _wires(discovery.wires)
    elif kept := _WIRES.search(before):
        yield kept[0].rstrip()
    if discovery.generator_found:
        yield from _host(f"generator {discovery.generator}", discovery.generator_found)
        yield "#   NIC ports:"
        for nic in discovery.generator_found.nics:
            state = "; ".join(filter(None, (described(nic), unfit(nic))))
            yield from wrapped(f"{nic.bdf} {state}", bullet="    ")
    yield END


_WIRES = re.compile(r"#   wires:\n(?:#     .*\n)+")


def _wires(wires: Wires) -> Iterator[str]:
    yield "#   wires:"
    for name, other in wires.wired.items():
        yield from wrapped(f"{name} to the generator's {other}", bullet="    ")
    for name, why in wires.doubtful.items():
        yield from wrapped(f"{name}: not found: {why}", bullet="    ")
    if not (wires.wired or wires.doubtful):
        yield "#     none: no port has a link and may send"


def _host(name: str, found: Found) -> Iterator[str]:
    programs = found.software
    versions = {
        "DPDK": programs.dpdk,
        "QEMU": programs.qemu,
        "Open vSwitch": programs.ovs,
        "VPP": programs.vpp,
        "TRex": programs.trex,
        "Python": programs.python,
        "numpy": programs.numpy,
    }
    there = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    absent = ", ".join(name for name, version in versions.items() if not version)
    yield f"# {plain(name)}: {plain(programs.distribution)}, kernel {plain(programs.kernel)}"
    yield from wrapped(f"{there}{f'; not there: {absent}' if absent else ''}", bullet="  ")
    for node in sorted(found.cpus.nodes):
        yield from wrapped(_node(found.cpus, node), bullet="  ")
    isolated = format_list(found.cpus.isolated) or "none"
    tickless = format_list(found.cpus.nohz_full or ()) or "none"
    yield from wrapped(f"isolated CPUs: {isolated}; without a tick: {tickless}", bullet="  ")
    pools = [
        f"node {pool.node}: {pool.total} of {_size(pool.size_kb)}"
        for pool in found.memory.pools
        if pool.total
    ]
    yield from wrapped(f"hugepages: {'; '.join(pools) or 'none'}", bullet="  ")
    groups = found.kernel.iommu.groups
    yield f"#   IOMMU: {f'{groups} groups' if groups else 'not in use'}; " + (
        "KVM: /dev/kvm" if found.kvm else "no KVM"
    )


def _node(cpus: Cpus, node: int) -> str:
    near = cpus.on_node(node)
    cores = sorted({cpus[cpu].siblings for cpu in near})
    shared = " ".join("/".join(map(str, core)) for core in cores if len(core) > 1)
    return f"node {node}: CPUs {format_list(near)}; siblings: {shared or 'none'}"


def on_node(nic: Nic) -> str:
    return f"node {nic.node}" if nic.node >= 0 else "node not told by the BIOS"


def described(nic: Nic) -> str:
    """One line about a NIC port."""
    link = {True: "link up", False: "no link", None: "link not known"}[nic.link_up]
    speed = f" at {gbps(nic)} Gbit/s" if nic.speed_mbps else ""
    lanes = ""
    if nic.pcie_width and nic.pcie_gts:
        lanes = f", PCIe {nic.pcie_gts:g} GT/s x{nic.pcie_width} of x{nic.pcie_width_max}"
    firmware = f", firmware {nic.firmware}" if nic.firmware else ""
    name = f"{nic.netdev} " if nic.netdev else ""
    what = f"{name}({nic.vendor}:{nic.device}, {nic.driver or 'no driver'})"
    return f"{what}: {on_node(nic)}, {link}{speed}{lanes}{firmware}"


def _size(kb: int) -> str:
    return f"{kb >> 20}G" if kb >> 20 else f"{kb >> 10}M"


def gbps(nic: Nic) -> str:
    return f"{(nic.speed_mbps or 0) / 1000:g}"


def plain(text: str) -> str:
    """What a host says must not end a comment."""
    return " ".join(re.sub(r"[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff]", " ", text).split())


def wrapped(text: str, *, indent: int = 0, bullet: str = "") -> list[str]:
    start = f"{' ' * indent}# {bullet}"
    return textwrap.wrap(
        plain(text),
        _WIDTH,
        initial_indent=start,
        subsequent_indent=start + ("  " if bullet else ""),
        break_long_words=False,
        break_on_hyphens=False,
    )
