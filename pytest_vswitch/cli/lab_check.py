"""`vswitch lab check`: whether a lab's DUT is prepared as the guide wants it."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_vswitch.cli.command import Commands, command, painted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_vswitch.machine.checks import Finding
    from pytest_vswitch.machine.facts import Machine
    from pytest_vswitch.machine.needs import Needs
    from pytest_vswitch.machine.tune import Step, Tuned

MISSING = 1
"""Exit status when the DUT lacks what is required."""

_COLOURS = {"ok": "32", "unknown": "2", "advised": "33", "required": "31"}


def add(actions: Commands[argparse.ArgumentParser]) -> None:
    check = command(
        actions,
        "check",
        "check whether a lab's DUT is prepared for measuring",
        "Looks at the DUT's BIOS settings, cores, memory, kernel and NIC ports, as far as the\n"
        "lab will use them, and says what was found, what it should be and how to mend it:\n"
        "docs/preflight.md explains each item. Nothing is changed, except by --tune, which\n"
        "mends what it can without a reboot, checks again, and puts everything back. Exit\n"
        "status 0: nothing that is required is missing; 1: something is.",
        "vswitch lab check lab1\n  vswitch lab check lab1 --tune --json",
    )
    check.add_argument("lab", metavar="LAB", help="a lab's name, or the path of its file")
    check.add_argument(
        "--tune", action="store_true", help="mend what can be, check again, put it back"
    )
    check.add_argument(
        "--strict", action="store_true", help="exit with 1 for what is only advised, too"
    )
    check.add_argument("--all", action="store_true", help="show what is in order, too")
    check.add_argument(
        "--frame-size",
        type=int,
        default=1518,
        metavar="BYTES",
        help="the longest frame that will be sent (default: 1518)",
    )
    check.add_argument("--json", action="store_true", help="print one JSON object instead")
    check.set_defaults(command=_check)


def _check(arguments: argparse.Namespace) -> None:
    import json

    from pytest_vswitch.errors import InputError
    from pytest_vswitch.hosts.opening import LOOK, open_host
    from pytest_vswitch.lab.address import SIM
    from pytest_vswitch.lab.loader import load
    from pytest_vswitch.machine import facts, tune
    from pytest_vswitch.machine.checks import check, command_line
    from pytest_vswitch.results.run_directory import new_id
    from pytest_vswitch.topologies.needs import needs_of
    from pytest_vswitch.vlab.state import is_virtual

    lab = load(arguments.lab)
    if lab.dut.host == SIM:
        raise InputError(f"lab `{lab.name}` is simulated: it has no machine to check")
    run = new_id() if arguments.tune else LOOK
    tuned = None
    with open_host(lab, run=run) as host:
        machine = facts.read(host)
        needs = needs_of(lab, host, arguments.frame_size)
        first = findings = check(machine, needs)
        steps = tune.steps(machine, needs, findings)
        if arguments.tune:
            with tune.tuned(host, steps) as tuned:
                findings = check(facts.read(host), needs)
        kernel = command_line(machine, findings)
    virtual = arguments.lab if is_virtual(lab) else ""
    told = _Told(lab.name, host.name, machine, needs, findings, steps, tuned, virtual)
    if arguments.json:
        print(json.dumps(_as_json(told, first, str(kernel))))
    else:
        _print(told, str(kernel), everything=arguments.all)
    levels = ("required", "advised") if arguments.strict else ("required",)
    if any(finding.state in levels for finding in findings):
        raise SystemExit(MISSING)


# --- telling -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Told:
    """What was found, for whoever tells it."""

    lab: str
    host: str
    machine: Machine
    needs: Needs
    findings: Sequence[Finding]
    steps: Sequence[Step]
    """What `--tune` does, or did."""
    tuned: Tuned | None
    virtual: str
    """Of a lab that `vswitch lab reboot` can reboot: how it was named; else empty."""

    def count(self, state: str) -> int:
        return sum(finding.state == state for finding in self.findings)

    def tunable(self, finding: Finding) -> bool:
        return any(step.check == finding.check.name for step in self.steps)


def _as_json(told: _Told, first: Sequence[Finding], kernel: str) -> dict[str, Any]:
    def item(finding: Finding) -> dict[str, Any]:
        check, outcome = finding.check, finding.outcome
        return {
            "item": check.name,
            "area": check.area,
            "state": finding.state,
            "required": finding.required,
            "found": outcome.found,
            "should_be": check.should,
            "mend": outcome.mend,
            "kernel_arguments": list(outcome.boot),
            "tunable": told.tunable(finding),
            "source": check.source,
        }

    answer: dict[str, Any] = {
        "lab": told.lab,
        "host": told.host,
        "kernel": told.machine.kernel.release,
        "polling_cpus": list(told.needs.polling),
        "ports": [port.bdf for port in told.needs.ports],
        "required_missing": told.count("required"),
        "advised_missing": told.count("advised"),
        "items": [item(finding) for finding in told.findings],
        "kernel_command_line": kernel,
    }
    if told.tuned:
        answer["tuned"] = {
            "before": [item(finding) for finding in first],
            "steps": [{"item": s.check, "path": s.path, "value": s.value} for s in told.steps],
            "refused": [
                {"path": refusal.step.path, "reason": refusal.reason}
                for refusal in told.tuned.refused
            ],
        }
    return answer


def _print(told: _Told, kernel: str, *, everything: bool) -> None:
    from pytest_vswitch.machine.cpulist import format_list

    ports = ", ".join(port.bdf for port in told.needs.ports) or "none"
    print(f"lab `{told.lab}`: {told.host}, kernel {told.machine.kernel.release}")
    print(f"CPUs that poll: {format_list(told.needs.polling)}; NIC ports: {ports}")
    for area in dict.fromkeys(finding.check.area for finding in told.findings):
        mine = [finding for finding in told.findings if finding.check.area == area]
        shown = [f for f in mine if everything or f.state in ("advised", "required")]
        good = sum(finding.state == "ok" for finding in mine)
        unknown = sum(finding.state == "unknown" for finding in mine)
        rest = f", {unknown} cannot be told or do not apply" if unknown else ""
        print(f"\n{area}: {good} of {len(mine)} in order{rest}")
        for finding in shown:
            _print_finding(told, finding)
    if told.tuned:
        _print_tuning(told.tuned)
    if any(f.outcome.boot for f in told.findings if f.state in ("advised", "required")):
        _print_kernel(told, kernel)
    print(
        f"\n{told.count('required')} required and {told.count('advised')} advised items are "
        f"missing{_hint(told)}"
    )


def _print_finding(told: _Told, finding: Finding) -> None:
    outcome, indent = finding.outcome, " " * 31
    state = painted(f"{finding.state:<8}", _COLOURS[finding.state], sys.stdout)
    print(f"  {state}  {finding.check.name:<17}  {outcome.found}")
    if finding.state in ("ok", "unknown"):
        return
    print(f"{indent}should be: {finding.check.should} ({finding.check.source})")
    if outcome.mend:
        print(f"{indent}to mend:   {outcome.mend}")
    if outcome.boot:
        print(f"{indent}for good:  kernel arguments {' '.join(outcome.boot)}")


def _print_tuning(tuned: Tuned) -> None:
    print("\n--tune did, and has put back:")
    for step in tuned.steps:
        print(f"  {step.check:<17}  {step}")
    for refusal in tuned.refused:
        print(f"  {refusal.step.check:<17}  {refusal.step}: refused: {refusal.reason}")
    if not tuned.steps and not tuned.refused:
        print("  nothing: there was nothing that it can mend")


def _print_kernel(told: _Told, kernel: str) -> None:
    from pytest_vswitch.machine.command_line import CommandLine

    old = told.machine.kernel.command_line.arguments
    new = [argument for argument in CommandLine.parse(kernel).arguments if argument not in old]
    if told.virtual:
        words = ["vswitch", "lab", "reboot", told.virtual, "--append", " ".join(new)]
        print("\nWith these arguments on its kernel command line, this boots it anew:")
        print(f"  {shlex.join(words)}")
        return
    print("\nThe whole kernel command line with these arguments, for the next boot:")
    print(f"  {kernel}")
    print(
        "Debian, Ubuntu: GRUB_CMDLINE_LINUX in /etc/default/grub, without root= and ro, which\n"
        "                GRUB adds; then update-grub"
    )
    print(f"Fedora, RHEL:   grubby --update-kernel=ALL --args='{' '.join(new)}'")


def _hint(told: _Told) -> str:
    if told.tuned:
        return ", with what --tune mends mended"
    items = {step.check for step in told.steps}
    return f"; --tune can mend {len(items)} of them without a reboot" if items else ""
