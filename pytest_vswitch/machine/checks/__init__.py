"""What a host should be for what a lab needs: a table of small checks."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_vswitch.machine.checks import cores, guest, kernel, memory, ports
from pytest_vswitch.machine.checks.check import Check, Finding, Outcome
from pytest_vswitch.machine.command_line import CommandLine
from pytest_vswitch.machine.facts import Machine
from pytest_vswitch.machine.needs import Needs

__all__ = ["CHECKS", "Check", "Finding", "Outcome", "check", "command_line"]

CHECKS = (*cores.CHECKS, *memory.CHECKS, *kernel.CHECKS, *ports.CHECKS, *guest.CHECKS)


def check(machine: Machine, needs: Needs) -> tuple[Finding, ...]:
    """Each check's finding, in the table's order."""
    levels = ("required", "required with NICs") if needs.certifies else ("required",)
    return tuple(Finding(item, item.look(machine, needs), item.level in levels) for item in CHECKS)


def command_line(machine: Machine, findings: Sequence[Finding]) -> CommandLine:
    """The kernel's, with all that the findings ask for."""
    wanted = [
        argument
        for finding in findings
        if finding.state in ("advised", "required")
        for argument in finding.outcome.boot
    ]
    return machine.kernel.command_line.adding(wanted)
