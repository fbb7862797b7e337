"""The guest, before it boots: what its kernel will be told."""

from __future__ import annotations

from pytest_vswitch.machine.checks.check import Check, Outcome
from pytest_vswitch.machine.command_line import CommandLine
from pytest_vswitch.machine.cpulist import format_list
from pytest_vswitch.machine.facts import Machine
from pytest_vswitch.machine.needs import Needs

NONE = Outcome("there is no guest", None)


def isolated(machine: Machine, needs: Needs) -> Outcome:
    return _cpus(needs, "isolcpus")


def rcu_nocbs(machine: Machine, needs: Needs) -> Outcome:
    return _cpus(needs, "rcu_nocbs")


def interrupts(machine: Machine, needs: Needs) -> Outcome:
    if not needs.vcpus:
        return NONE
    cpus = CommandLine.parse(needs.guest_command_line).cpus("irqaffinity")
    if cpus and not cpus & set(range(1, needs.vcpus)):
        return Outcome(f"on virtual CPU {format_list(cpus)}", True)
    if needs.vcpus == 1:
        return Outcome("there is one virtual CPU", True)
    return Outcome(
        "may hit forwarding CPUs", False, "add to the guest's kernel command line: irqaffinity=0"
    )


def libvirt_user(machine: Machine, needs: Needs) -> Outcome:
    user = machine.libvirt_user
    if user is None:
        return Outcome("there is no libvirt", None)
    if user in ("root", "0"):
        return Outcome("root", True)
    return Outcome(
        user or "libvirt's default", False, 'set user = "root" in /etc/libvirt/qemu.conf'
    )


def nmi_watchdog(machine: Machine, needs: Needs) -> Outcome:
    if not needs.vcpus:
        return NONE
    if CommandLine.parse(needs.guest_command_line).values("nmi_watchdog")[-1:] == ("0",):
        return Outcome("off", True)
    return Outcome("on", False, "add to the guest's kernel command line: nmi_watchdog=0")


def hugepages(machine: Machine, needs: Needs) -> Outcome:
    """Our own guest's init reserves them, 2 MB each, before testpmd starts."""
    if not needs.vcpus:
        return NONE
    line = CommandLine.parse(needs.guest_command_line)
    counts = [*line.values("hugepages"), *line.values("vswitch.hugepages")]
    if any(count.isdigit() and int(count) for count in counts):
        return Outcome("reserved", True)
    arguments = "default_hugepagesz=1G hugepagesz=1G hugepages=1"
    return Outcome("none", False, f"add to the guest's kernel command line: {arguments}")


def forwarding(machine: Machine, needs: Needs) -> Outcome:
    if not needs.vcpus:
        return NONE
    if needs.vcpus > 1:
        return Outcome(f"{needs.vcpus}: one for Linux, {needs.vcpus - 1} to forward", True)
    return Outcome("1: it forwards, and runs Linux", False, "set guest.vcpus to 3 in the lab")


def _cpus(needs: Needs, name: str) -> Outcome:
    if not needs.vcpus:
        return NONE
    polling = set(range(1, needs.vcpus))
    missing = polling - CommandLine.parse(needs.guest_command_line).cpus(name)
    if not missing:
        return Outcome(f"virtual CPUs {format_list(polling)}" if polling else "no CPU", True)
    argument = f"{name}={format_list(polling)}"
    return Outcome(
        f"not for virtual CPUs {format_list(missing)}",
        False,
        f"add to the guest's kernel command line: {argument}",
    )


CHECKS = (
    Check("guest-vcpus", "guest", "a virtual CPU for Linux alone", "advised", "4.2.5", forwarding),
    Check(
        "guest-isolcpus",
        "guest",
        "forwarding CPUs isolated from the guest's scheduler",
        "required with NICs",
        "4.3.1 step 1",
        isolated,
    ),
    Check(
        "guest-rcu_nocbs",
        "guest",
        "RCU callbacks of forwarding CPUs elsewhere",
        "advised",
        "4.3.1 step 1",
        rcu_nocbs,
    ),
    Check(
        "guest-hugepages",
        "guest",
        "hugepages for its testpmd",
        "required with NICs",
        "4.3.1 step 1",
        hugepages,
    ),
    Check(
        "guest-irqs",
        "guest",
        "interrupts kept from forwarding CPUs",
        "advised",
        "4.3.1 step 4",
        interrupts,
    ),
    Check(
        "libvirt-user",
        "guest",
        "QEMU run as root by libvirt: testpmd's sockets are root's",
        "advised",
        "4.2.5",
        libvirt_user,
    ),
    Check("guest-watchdog", "guest", "NMI watchdog off", "advised", "4.3.1 step 2", nmi_watchdog),
)
