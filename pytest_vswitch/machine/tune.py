"""What of a host can be mended without a reboot: applied for a while, then put back.

What loosens the host's protection (SELinux, VFIO without interrupt remapping) is for its
owner to decide: it is told, never done.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.machine import irqs as irq_files
from pytest_vswitch.machine import kernel as kernel_files
from pytest_vswitch.machine.checks import Finding, cores, memory, ports
from pytest_vswitch.machine.cpulist import format_list, format_mask
from pytest_vswitch.machine.cpus import ROOT, TURBO_OFF
from pytest_vswitch.machine.facts import Machine
from pytest_vswitch.machine.memory import KSM, THP
from pytest_vswitch.machine.needs import Needs


@dataclass(frozen=True, slots=True)
class Step:
    """One file that is written."""

    check: str
    """The item that it mends."""
    path: str
    value: str

    def __str__(self) -> str:
        return f"echo {self.value} > {self.path}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A step that the kernel did not take."""

    step: Step
    reason: str

    def __str__(self) -> str:
        return f"{self.step}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was done, in order, and what could not be."""

    steps: tuple[Step, ...]
    refused: tuple[Refusal, ...]


def steps(machine: Machine, needs: Needs, findings: Sequence[Finding]) -> tuple[Step, ...]:
    """What mends those findings that can be mended now, in the order to do it."""
    wrong = {f.check.name for f in findings if f.state in ("advised", "required")}
    return tuple(
        Step(name, path, value)
        for name, mend in _MENDS.items()
        if name in wrong
        for path, value in mend(machine, needs)
    )


@contextlib.contextmanager
def tuned(host: Host, steps: Sequence[Step]) -> Iterator[Tuned]:
    """Carry the steps out; they are undone at the end, newest first. Raises HostError."""
    done, refused = [], []
    with contextlib.ExitStack() as stack:
        for step in steps:
            try:
                before = host.read_text(step.path)
            except OSError as error:
                refused.append(Refusal(step, error.strerror or str(error)))
                continue
            stack.enter_context(host.changing(Change("rewrote", step.path, before, step.value)))
            try:
                host.write_text(step.path, step.value)
            except OSError as error:
                refused.append(Refusal(step, error.strerror or str(error)))
            else:
                done.append(step)
        yield Tuned(tuple(done), tuple(refused))


_Write = tuple[str, str]
"""A path, and what is written there."""


def _smt(machine: Machine, needs: Needs) -> Iterator[_Write]:
    for cpu in sorted(_to_offline(machine, needs)):
        yield f"{ROOT}/cpu{cpu}/online", "0"


def _to_offline(machine: Machine, needs: Needs) -> frozenset[int]:
    """Siblings of polling CPUs that nobody uses; CPU 0 mostly cannot go."""
    return machine.cpus.siblings_of(needs.polling) - {0, *needs.cpus}


def _turbo(machine: Machine, needs: Needs) -> Iterator[_Write]:
    yield machine.cpus.turbo_path, str(TURBO_OFF[machine.cpus.turbo_path])


def _governor(machine: Machine, needs: Needs) -> Iterator[_Write]:
    for policy in machine.cpus.policies:
        if policy.cpus & {*needs.polling} and policy.governor != "performance":
            yield f"{policy.path}/scaling_governor", "performance"


def _c_states(machine: Machine, needs: Needs) -> Iterator[_Write]:
    for state in machine.cpus.idle_states:
        if state.cpu in needs.polling and state.enabled and state.latency_us > cores.DEEP_US:
            yield f"{state.path}/disable", "1"


def _irqbalance(machine: Machine, needs: Needs) -> Iterator[_Write]:
    """Frozen, not ended: whoever started it finds it as it was."""
    daemon = machine.kernel.irqbalance
    if daemon and daemon.freezer:
        yield daemon.freezer, "1"


def _irqs(machine: Machine, needs: Needs) -> Iterator[_Write]:
    # Linux would itself move those of a CPU that goes offline, and not move them back.
    leaving = {*needs.polling} | _to_offline(machine, needs)
    rest = machine.cpus.online - leaving
    if not rest:
        return
    default = (machine.irqs.default & machine.cpus.online) - leaving
    if machine.irqs.default & leaving:
        yield irq_files.DEFAULT, format_mask(default or rest, machine.cpus.possible)
    for irq in machine.irqs.irqs:
        if irq.cpus & leaving and not irq.managed:
            yield irq.path, format_list((irq.cpus & machine.cpus.online) - leaving or rest)


def _writeback(machine: Machine, needs: Needs) -> Iterator[_Write]:
    yield from _mask(machine, needs, machine.kernel.writeback, kernel_files.WRITEBACK)


def _workqueues(machine: Machine, needs: Needs) -> Iterator[_Write]:
    yield from _mask(machine, needs, machine.kernel.workqueues, kernel_files.WORKQUEUE)


def _mask(machine: Machine, needs: Needs, cpus: frozenset[int], path: str) -> Iterator[_Write]:
    rest = (cpus & machine.cpus.online) - {*needs.polling}
    rest = rest or machine.cpus.online - {*needs.polling}
    if rest:
        yield path, format_mask(rest, machine.cpus.possible)


def _nmi_watchdog(machine: Machine, needs: Needs) -> Iterator[_Write]:
    yield f"{kernel_files.SYSCTL}/nmi_watchdog", "0"


def _soft_watchdog(machine: Machine, needs: Needs) -> Iterator[_Write]:
    rest = machine.kernel.watchdogs.soft - {*needs.polling}
    if rest:
        yield f"{kernel_files.SYSCTL}/watchdog_cpumask", format_list(rest)
    else:
        yield f"{kernel_files.SYSCTL}/soft_watchdog", "0"


def _numa_balancing(machine: Machine, needs: Needs) -> Iterator[_Write]:
    yield f"{kernel_files.SYSCTL}/numa_balancing", "0"


def _machine_check(machine: Machine, needs: Needs) -> Iterator[_Write]:
    yield kernel_files.MACHINE_CHECK, "1"


def _thp(machine: Machine, needs: Needs) -> Iterator[_Write]:
    yield THP, "madvise"


def _ksm(machine: Machine, needs: Needs) -> Iterator[_Write]:
    yield KSM, "0"


def _hugepages(machine: Machine, needs: Needs) -> Iterator[_Write]:
    pool, missing = memory.pool_to_grow(machine, needs), memory.missing(machine, needs)
    if pool and missing and needs.hugepages != "none":
        yield f"{pool.path}/nr_hugepages", str(pool.total + missing)


def _mtu(machine: Machine, needs: Needs) -> Iterator[_Write]:
    for nic in ports.with_small_mtu(machine, needs):
        if not nic.management:
            path = f"/sys/class/net/{nic.netdev}/mtu"
            yield path, str(needs.frame_bytes - ports.ETHERNET_BYTES)


_MENDS: dict[str, Callable[[Machine, Needs], Iterator[_Write]]] = {
    "irqbalance": _irqbalance,
    "irq-affinity": _irqs,
    "writeback": _writeback,
    "workqueues": _workqueues,
    "nmi-watchdog": _nmi_watchdog,
    "soft-watchdog": _soft_watchdog,
    "numa-balancing": _numa_balancing,
    "corrected-errors": _machine_check,
    "thp": _thp,
    "ksm": _ksm,
    "turbo": _turbo,
    "governor": _governor,
    "c-states": _c_states,
    "hugepages": _hugepages,
    "memory-node": _hugepages,
    "nic-mtu": _mtu,
    "smt": _smt,
}
"""By item, in order: who moves interrupts stops before they are moved, and CPUs go last."""

TUNABLE = frozenset(_MENDS)
