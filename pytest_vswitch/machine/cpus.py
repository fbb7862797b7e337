"""A host's CPUs: where they sit, whom they share a core with, what keeps them busy or slow.

Files are those of the kernel's Documentation/ABI/testing/sysfs-devices-system-cpu and
admin-guide/pm/{cpufreq,cpuidle,intel_pstate}.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.machine.command_line import CommandLine
from pytest_vswitch.machine.cpulist import parse_list
from pytest_vswitch.machine.files import directories, number, text

ROOT = "/sys/devices/system/cpu"
TURBO_OFF = {f"{ROOT}/intel_pstate/no_turbo": 1, f"{ROOT}/cpufreq/boost": 0}
"""What switches turbo off: with intel_pstate, and with every other driver."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """A logical CPU."""

    number: int
    core: int
    """Of its socket."""
    socket: int
    node: int
    """NUMA node."""
    siblings: tuple[int, ...]
    """Online CPUs of the same physical core, itself among them."""
    online: bool


@dataclass(frozen=True, slots=True)
class FrequencyPolicy:
    """CPUs whose frequency is governed as one."""

    path: str
    cpus: frozenset[int]
    governor: str
    driver: str


@dataclass(frozen=True, slots=True)
class IdleState:
    """A C-state of one CPU."""

    path: str
    cpu: int
    name: str
    latency_us: int
    """Time to wake up from it [µs]."""
    enabled: bool


@dataclass(frozen=True, slots=True)
class Cpus:
    """All CPUs of a host."""

    cpus: tuple[Cpu, ...]
    """By number, those that are offline too."""
    possible: int
    """How many CPU numbers the kernel knows: the width of its masks."""
    isolated: frozenset[int]
    """By `isolcpus=`."""
    nohz_full: frozenset[int] | None
    """Without a tick while one task runs; None: this kernel always has one."""
    rcu_nocbs: frozenset[int]
    """Whose RCU callbacks run elsewhere; those of `nohz_full=` are among them."""
    smt: str
    """`on`, `off`, `forceoff`, `notsupported`, `notimplemented`; empty: an older kernel."""
    turbo: bool | None
    """None: Linux cannot tell."""
    turbo_path: str
    """The file that switches it; see `TURBO_OFF`."""
    policies: tuple[FrequencyPolicy, ...]
    idle_states: tuple[IdleState, ...]
    vendor: str
    """`GenuineIntel`, `AuthenticAMD`, ..."""

    @property
    def online(self) -> frozenset[int]:
        return frozenset(cpu.number for cpu in self.cpus if cpu.online)

    @property
    def nodes(self) -> frozenset[int]:
        return frozenset(cpu.node for cpu in self.cpus)

    def __getitem__(self, number: int) -> Cpu:
        """Raises KeyError."""
        for cpu in self.cpus:
            if cpu.number == number:
                return cpu
        raise KeyError(number)

    def on_node(self, node: int) -> frozenset[int]:
        """The online CPUs of a NUMA node."""
        return frozenset(cpu.number for cpu in self.cpus if cpu.online and cpu.node == node)

    def siblings_of(self, numbers: Iterable[int]) -> frozenset[int]:
        """The other online CPUs on the physical cores of `numbers`."""
        wanted = frozenset(numbers)
        of = (set(cpu.siblings) for cpu in self.cpus if cpu.number in wanted)
        return frozenset(set().union(*of)) - wanted


def read(host: Host) -> Cpus:
    """Read them; a host that tells nothing of its topology has one node of single CPUs."""
    general = {
        path.rpartition("/")[2]: content.strip()
        for path, content in host.read_texts(f"{ROOT}/[inop]*").items()
    }
    line = CommandLine.parse(text(host, "/proc/cmdline"))
    vendor = re.search(r"^vendor_id\s*:\s*(\S+)", text(host, "/proc/cpuinfo"), re.MULTILINE)
    without_tick = parse_list(general["nohz_full"]) if "nohz_full" in general else None
    turbo, turbo_path = _turbo(host)
    return Cpus(
        cpus=_cpus(host, general),
        possible=max(parse_list(general.get("possible", "")), default=0) + 1,
        isolated=parse_list(general.get("isolated", "")) or line.cpus("isolcpus"),
        nohz_full=without_tick,
        rcu_nocbs=line.cpus("rcu_nocbs") | (without_tick or frozenset()),
        smt=text(host, f"{ROOT}/smt/control"),
        turbo=turbo,
        turbo_path=turbo_path,
        policies=_policies(host),
        idle_states=_idle_states(host),
        vendor=vendor[1] if vendor else "",
    )


def _cpus(host: Host, general: dict[str, str]) -> tuple[Cpu, ...]:
    online = parse_list(general.get("online", ""))
    # An offline CPU keeps its link to its node, but not its topology.
    nodes = {}
    for path in host.glob(f"{ROOT}/cpu[0-9]*/node[0-9]*"):
        name, _, node = path.removeprefix(f"{ROOT}/cpu").partition("/node")
        nodes[int(name)] = int(node)
    topology = {
        int(path.removeprefix(f"{ROOT}/cpu").partition("/")[0]): files
        for path, files in directories(host.read_texts(f"{ROOT}/cpu[0-9]*/topology/*")).items()
    }
    found = []
    for cpu in sorted(parse_list(general.get("present", "")) | online):
        files = topology.get(cpu, {})
        siblings = parse_list(files.get("thread_siblings_list", "")) or frozenset((cpu,))
        found.append(
            Cpu(
                number=cpu,
                core=number(files.get("core_id", "")) or 0,
                socket=number(files.get("physical_package_id", "")) or 0,
                node=nodes.get(cpu, 0),
                siblings=tuple(sorted(siblings)),
                online=cpu in online,
            )
        )
    return tuple(found)


def _turbo(host: Host) -> tuple[bool | None, str]:
    for path, off in TURBO_OFF.items():
        state = number(text(host, path))
        if state is not None:
            return state != off, path
    return None, ""


def _policies(host: Host) -> tuple[FrequencyPolicy, ...]:
    texts = {
        **host.read_texts(f"{ROOT}/cpufreq/policy[0-9]*/scaling_[dg]*"),
        **host.read_texts(f"{ROOT}/cpufreq/policy[0-9]*/affected_cpus"),
    }
    return tuple(
        FrequencyPolicy(
            path=path,
            cpus=parse_list(files.get("affected_cpus", "")),
            governor=files.get("scaling_governor", ""),
            driver=files.get("scaling_driver", ""),
        )
        for path, files in sorted(directories(texts).items())
    )


def _idle_states(host: Host) -> tuple[IdleState, ...]:
    found = []
    for path, files in directories(
        host.read_texts(f"{ROOT}/cpu[0-9]*/cpuidle/state[0-9]*/[dln]*")
    ).items():
        cpu = int(path.removeprefix(f"{ROOT}/cpu").partition("/")[0])
        latency_us = number(files.get("latency", "")) or 0
        enabled = files.get("disable", "0") == "0"
        found.append(IdleState(path, cpu, files.get("name", ""), latency_us, enabled))
    return tuple(sorted(found, key=lambda state: (state.cpu, state.path)))
