"""The facts of a DUT that a result is kept with, read from the running system."""

from __future__ import annotations

import re
from dataclasses import replace

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.results.environment import fingerprint
from pytest_vswitch.results.record import HostFacts

UNKNOWN = "unknown"


def collect(host: Host) -> HostFacts:
    """Read them; what a system does not tell is `unknown`, never guessed."""

    def read(path: str) -> str:
        try:
            return host.read_text(path).strip()
        except OSError:
            return ""

    cpuinfo = read("/proc/cpuinfo")

    def cpu(field: str) -> str:
        found = re.search(rf"^{field}\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
        return found[1].strip() if found else ""

    memory = re.search(r"MemTotal:\s+(\d+) kB", read("/proc/meminfo"))
    release = re.search(r'^PRETTY_NAME="?([^"\n]*)', read("/etc/os-release"), re.MULTILINE)
    maximum_khz = read("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
    facts = HostFacts(
        hostname=read("/proc/sys/kernel/hostname") or UNKNOWN,
        cpu_model=cpu("model name") or UNKNOWN,
        cpu_mhz=float(maximum_khz) / 1000 if maximum_khz else float(cpu("cpu MHz") or 0),
        cpu_flags=tuple(sorted(cpu("flags").split())),
        cores=len(re.findall(r"^processor\s*:", cpuinfo, re.MULTILINE)),
        numa_nodes=max(1, len(host.glob("/sys/devices/system/node/node[0-9]*"))),
        memory_kb=int(memory[1]) if memory else 0,
        kernel=" ".join(
            filter(None, (read("/proc/sys/kernel/osrelease"), read("/proc/sys/kernel/version")))
        )
        or UNKNOWN,
        kernel_command_line=read("/proc/cmdline"),
        hugepages={
            f"{size[1]} kB": int(read(f"{path}/nr_hugepages") or 0)
            for path in host.glob("/sys/kernel/mm/hugepages/hugepages-*kB")
            if (size := re.search(r"hugepages-(\d+)kB$", path))
        },
        governor=read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or UNKNOWN,
        turbo=_turbo(
            read("/sys/devices/system/cpu/intel_pstate/no_turbo"),
            read("/sys/devices/system/cpu/cpufreq/boost"),
        ),
        microcode=cpu("microcode") or UNKNOWN,
        hypervisor=_hypervisor(cpu("flags").split(), read("/sys/class/dmi/id/sys_vendor")),
        operating_system=release[1] if release else UNKNOWN,
        fingerprint="",
    )
    return replace(facts, fingerprint=fingerprint(facts))


_EMULATED = "QEMU TCG CPU"
"""What a CPU calls itself that QEMU emulates, instruction by instruction."""


def remarks(facts: HostFacts) -> tuple[str, ...]:
    """What about the host itself makes its numbers doubtful."""
    found = []
    if facts.cpu_model.startswith(_EMULATED):
        found.append(
            f"the DUT is emulated in software ({facts.cpu_model}): no measure of speed, "
            "only of functions"
        )
    elif facts.hypervisor not in ("none", UNKNOWN):
        found.append(f"the DUT is itself a virtual machine ({facts.hypervisor})")
    if facts.turbo == "on":
        found.append("turbo is on: the CPU's frequency depends on its temperature and neighbours")
    if facts.governor not in ("performance", UNKNOWN):
        found.append(f"the CPU frequency governor is `{facts.governor}`, not `performance`")
    return tuple(found)


def _turbo(no_turbo: str, boost: str) -> str:
    if no_turbo:
        return "off" if no_turbo == "1" else "on"
    if boost:
        return "on" if boost == "1" else "off"
    return UNKNOWN


def _hypervisor(flags: list[str], vendor: str) -> str:
    if not flags:
        return UNKNOWN
    if "hypervisor" not in flags:
        return "none"
    return vendor or "of unknown make"
