"""What else the kernel may do on a CPU that polls, and how it lets user space at devices."""

from __future__ import annotations

from pytest_vswitch.machine import irqs as irq_files
from pytest_vswitch.machine import kernel as files
from pytest_vswitch.machine.checks.check import Check, Outcome
from pytest_vswitch.machine.checks.cores import CROWDED
from pytest_vswitch.machine.cpulist import format_list, format_mask
from pytest_vswitch.machine.facts import Machine
from pytest_vswitch.machine.irqs import Irq
from pytest_vswitch.machine.needs import Needs

SHOWN = 4
"""Interrupts that a message names; the others are counted."""


def movable(machine: Machine, needs: Needs) -> list[Irq]:
    """Interrupts that may hit a polling CPU and can be kept from it."""
    polling = {*needs.polling}
    return [irq for irq in machine.irqs.irqs if irq.cpus & polling and not irq.managed]


def irq_affinity(machine: Machine, needs: Needs) -> Outcome:
    polling = {*needs.polling}
    hitting = movable(machine, needs)
    by_default = machine.irqs.default & polling
    if not hitting and not by_default:
        return Outcome("no interrupt on polling CPUs that could be elsewhere", True)
    found = []
    if hitting:
        names = [f"{irq.number} ({irq.name})" if irq.name else str(irq.number) for irq in hitting]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        found.append(f"may hit polling CPUs: IRQ {', '.join(names[:SHOWN])}{more}")
    if by_default:
        found.append(f"new ones may hit CPUs {format_list(by_default)}")
    rest = machine.cpus.online - polling
    paths = [irq.path for irq in hitting]
    mends = [f"echo {format_list(rest)} | tee {' '.join(paths)}"] if paths and rest else []
    if by_default and rest:
        mends.append(f"echo {format_mask(rest, machine.cpus.possible)} > {irq_files.DEFAULT}")
    boot = (f"irqaffinity={format_list(rest)}",) if rest else ()
    return Outcome("; ".join(found), False, "; ".join(mends) or CROWDED, boot)


def managed_irqs(machine: Machine, needs: Needs) -> Outcome:
    """The kernel picks one CPU of each one's mask; with `managed_irq` not an isolated one."""
    polling = {*needs.polling}
    elsewhere = machine.cpus.online - machine.cpus.isolated - polling
    wrong = [
        irq
        for irq in machine.irqs.irqs
        if irq.managed and irq.effective & polling and irq.cpus & elsewhere
    ]
    if not wrong:
        return Outcome("none that the kernel could deliver elsewhere", True)
    names = ", ".join(f"{irq.number} ({irq.name})" for irq in wrong[:SHOWN])
    more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    cpus = format_list(machine.cpus.isolated | polling)
    boot = (f"isolcpus=managed_irq,domain,{cpus}",) if machine.kernel.version >= (5, 6) else ()
    return Outcome(f"on polling CPUs: IRQ {names}{more}", False, "", boot)


def irqbalance(machine: Machine, needs: Needs) -> Outcome:
    daemon = machine.kernel.irqbalance
    if daemon is None or daemon.frozen:
        return Outcome("frozen" if daemon else "does not run", True)
    return Outcome(f"runs (pid {daemon.pid})", False, "systemctl disable --now irqbalance")


def writeback(machine: Machine, needs: Needs) -> Outcome:
    if not machine.kernel.writeback:
        return Outcome("this kernel does not tell", None)
    return _mask(machine, needs, machine.kernel.writeback, files.WRITEBACK)


def workqueues(machine: Machine, needs: Needs) -> Outcome:
    if not machine.kernel.workqueues:
        return Outcome("this kernel does not tell", None)
    return _mask(machine, needs, machine.kernel.workqueues, files.WORKQUEUE)


def _mask(machine: Machine, needs: Needs, cpus: frozenset[int], path: str) -> Outcome:
    if not cpus & {*needs.polling}:
        return Outcome(f"CPUs {format_list(cpus)}", True)
    rest = (cpus & machine.cpus.online) - {*needs.polling}
    mend = f"echo {format_mask(rest, machine.cpus.possible)} > {path}" if rest else CROWDED
    return Outcome(f"CPUs {format_list(cpus)}", False, mend)


def nmi_watchdog(machine: Machine, needs: Needs) -> Outcome:
    if not machine.kernel.watchdogs.nmi:
        return Outcome("off", True)
    mend = f"echo 0 > {files.SYSCTL}/nmi_watchdog"
    return Outcome("on", False, mend, ("nmi_watchdog=0",))


def soft_watchdog(machine: Machine, needs: Needs) -> Outcome:
    watched = machine.kernel.watchdogs.soft & {*needs.polling}
    if not watched:
        return Outcome("on no polling CPU", True)
    rest = machine.kernel.watchdogs.soft - {*needs.polling}
    mend = f"echo {format_list(rest)} > {files.SYSCTL}/watchdog_cpumask"
    return Outcome(
        f"on CPUs {format_list(watched)}",
        False,
        mend if rest else f"echo 0 > {files.SYSCTL}/soft_watchdog",
    )


def numa_balancing(machine: Machine, needs: Needs) -> Outcome:
    if not machine.kernel.numa_balancing:
        return Outcome("off", True)
    mend = f"echo 0 > {files.SYSCTL}/numa_balancing"
    return Outcome("on", False, mend, ("numa_balancing=disable",))


def machine_check(machine: Machine, needs: Needs) -> Outcome:
    ignored = machine.kernel.ignore_corrected_errors
    if ignored is None:
        return Outcome("this machine reports none", None)
    if ignored:
        return Outcome("not polled for", True)
    return Outcome("polled for", False, f"echo 1 > {files.MACHINE_CHECK}", ("mce=ignore_ce",))


def selinux(machine: Machine, needs: Needs) -> Outcome:
    if machine.kernel.selinux != "enforcing":
        return Outcome(machine.kernel.selinux, True)
    mend = "setenforce 0; SELINUX=permissive in /etc/selinux/config"
    return Outcome("enforcing", False, mend)


def iommu(machine: Machine, needs: Needs) -> Outcome:
    if not _by_vfio(needs):
        return Outcome("no port is bound to vfio-pci", None)
    if machine.kernel.iommu.groups:
        return Outcome(f"{machine.kernel.iommu.groups} groups of devices", True)
    if machine.kernel.vfio.no_iommu:
        return Outcome("none; VFIO is told to do without", True)
    return Outcome("none", False, "enable VT-d or AMD-Vi in the BIOS", _iommu_arguments(machine))


def passthrough(machine: Machine, needs: Needs) -> Outcome:
    kinds = machine.kernel.iommu.kinds
    if not needs.ports or not kinds:
        return Outcome("no IOMMU, or no port that it stands before", None)
    if kinds == {"identity"}:
        return Outcome("passed through", True)
    return Outcome(f"domains {', '.join(sorted(kinds))}", False, "", _iommu_arguments(machine))


def vfio(machine: Machine, needs: Needs) -> Outcome:
    if not _by_vfio(needs):
        return Outcome("no port is bound to vfio-pci", None)
    if machine.kernel.vfio.driver:
        return Outcome("vfio-pci is loaded", True)
    return Outcome("vfio-pci is not loaded", False, "modprobe vfio-pci")


def interrupt_remapping(machine: Machine, needs: Needs) -> Outcome:
    if not _by_vfio(needs) or not machine.kernel.iommu.groups:
        return Outcome("no IOMMU, or no port that is bound to vfio-pci", None)
    if machine.irqs.remapped:
        return Outcome("on", True)
    if machine.kernel.vfio.unsafe_interrupts:
        return Outcome("off; VFIO is told to do without", True)
    return Outcome(
        "off: VFIO will refuse the ports",
        False,
        f"enable interrupt remapping (x2APIC) in the BIOS, or: echo Y > {files.UNSAFE_INTERRUPTS}",
    )


def _by_vfio(needs: Needs) -> bool:
    return any(port.driver == "vfio-pci" for port in needs.ports)


def _iommu_arguments(machine: Machine) -> tuple[str, ...]:
    # AMD's is on unless it is switched off.
    intel = ("intel_iommu=on",) if machine.cpus.vendor == "GenuineIntel" else ()
    return (*intel, "iommu=pt")


CHECKS = (
    Check(
        "irq-affinity",
        "kernel",
        "interrupts kept from polling CPUs",
        "advised",
        "4.2.1 step 6",
        irq_affinity,
    ),
    Check(
        "managed-irqs",
        "kernel",
        "interrupts that the kernel places kept from polling CPUs",
        "advised",
        "4.2.1 step 6",
        managed_irqs,
    ),
    Check(
        "irqbalance", "kernel", "nobody moves interrupts back", "advised", "host tuning", irqbalance
    ),
    Check(
        "writeback",
        "kernel",
        "dirty pages written back by other CPUs",
        "advised",
        "4.2.1 step 5",
        writeback,
    ),
    Check(
        "workqueues",
        "kernel",
        "deferred work of the kernel on other CPUs",
        "advised",
        "4.2.1 step 5",
        workqueues,
    ),
    Check("nmi-watchdog", "kernel", "off", "advised", "4.2.1 step 4", nmi_watchdog),
    Check(
        "soft-watchdog", "kernel", "not on polling CPUs", "advised", "host tuning", soft_watchdog
    ),
    Check("numa-balancing", "kernel", "off", "advised", "host tuning", numa_balancing),
    Check(
        "corrected-errors",
        "kernel",
        "corrected memory errors not polled for",
        "advised",
        "4.2.1 step 2 (mce=ignore_ce)",
        machine_check,
    ),
    Check("selinux", "kernel", "permissive or disabled", "advised", "4.2.5", selinux),
    Check("iommu", "kernel", "on, for vfio-pci", "required with NICs", "4.2.4, 4.3.1", iommu),
    Check(
        "iommu-passthrough",
        "kernel",
        "not in the way of the kernel's own drivers",
        "advised",
        "4.3.1 (iommu=pt)",
        passthrough,
    ),
    Check("vfio", "kernel", "vfio-pci loaded", "required with NICs", "4.2.4 step 1", vfio),
    Check(
        "irq-remapping",
        "kernel",
        "interrupts of VFIO's devices remapped",
        "required with NICs",
        "4.2.4 step 1",
        interrupt_remapping,
    ),
)
