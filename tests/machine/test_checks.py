"""Each fault of a host is found and named, and a good host passes without a remark."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_vswitch.machine import facts
from pytest_vswitch.machine.checks import CHECKS, Finding, check, command_line
from pytest_vswitch.machine.needs import Needs
from tests.machine import faults, trees
from tests.machine.conftest import Emulate
from tests.machine.faults import FAULTS, Fault
from tests.machine.trees import CPU, NEEDS, Tree, server

PAGE = Path(__file__).parents[2] / "docs/preflight.md"


def findings(emulate: Emulate, tree: Tree, needs: Needs = NEEDS) -> tuple[Finding, ...]:
    return check(facts.read(emulate(tree)), needs)


def wrong(found: tuple[Finding, ...]) -> list[str]:
    return [finding.check.name for finding in found if finding.state not in ("ok", "unknown")]


def test_a_good_host_passes_without_a_remark(emulate: Emulate) -> None:
    found = findings(emulate, server())
    assert {finding.state for finding in found} == {"ok"}
    assert len(found) == len(CHECKS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.item}: {fault.name}")
def test_a_fault_is_found_and_no_other(fault: Fault, emulate: Emulate) -> None:
    found = findings(emulate, fault.tree(), fault.needs)
    assert wrong(found) == [fault.item]
    [finding] = [finding for finding in found if finding.check.name == fault.item]
    assert fault.says in finding.outcome.found
    assert finding.outcome.mend or finding.outcome.boot
    expected = "advised" if finding.check.level == "advised" else "required"
    assert finding.state == expected


def test_every_check_has_its_fault() -> None:
    assert {fault.item for fault in FAULTS} == {item.name for item in CHECKS}


def test_names_are_unique() -> None:
    assert len({item.name for item in CHECKS}) == len(CHECKS)


def test_without_nics_only_what_must_be_is_required(emulate: Emulate) -> None:
    needs = replace(NEEDS, ports=())
    machine = facts.read(emulate(server(polling=())))
    found = {f.check.name: f for f in check(machine, needs)}
    assert found["isolcpus"].state == "advised"
    assert found["nic-present"].state == "unknown"
    assert found["vfio"].state == "unknown"
    gone = replace(needs, polling=(*NEEDS.polling, 40))
    again = {f.check.name: f for f in check(machine, gone)}
    assert again["lcores-online"].state == "required"


def test_a_kernel_that_tells_nothing_is_unknown_not_wrong(emulate: Emulate) -> None:
    tree = Tree()
    tree.put("/proc", cmdline="quiet", mounts="", meminfo="MemTotal: 1 kB", interrupts="")
    tree.put(CPU, online="0-3", present="0-3", possible="0-3", isolated="1-3")
    for argv, answer in server().answers.items():
        tree.answers[argv] = answer
    needs = Needs(polling=(1, 2, 3), hugepages="2M")
    found = findings(emulate, tree, needs)
    assert wrong(found) == ["rcu_nocbs", "hugepage-mount"]


def test_the_kernel_command_line_that_mends_all_at_once(emulate: Emulate) -> None:
    tree = server(polling=())
    tree.put("/proc", cmdline="BOOT_IMAGE=/vmlinuz root=/dev/sda1 isolcpus=2-3 quiet -- single")
    tree.replace("/proc/meminfo", "1048576 kB", "2048 kB")
    tree.put("/proc/sys/kernel", nmi_watchdog=1)
    tree.put("/sys/kernel/iommu_groups/0", type="DMA")
    machine = facts.read(emulate(tree))
    line = str(command_line(machine, check(machine, NEEDS)))
    assert line == (
        "root=/dev/sda1 isolcpus=managed_irq,domain,2-3,10-15 quiet nohz_full=10-15 "
        "rcu_nocbs=10-15 default_hugepagesz=1G hugepagesz=1G hugepages=1:4 "
        "irqaffinity=0-9 nmi_watchdog=0 intel_iommu=on iommu=pt -- single"
    )


def test_an_older_kernel_is_told_only_what_it_knows(emulate: Emulate) -> None:
    tree = server(polling=(), memory_node=0)
    tree.put("/proc/sys/kernel", osrelease="4.18.0-553.el8.x86_64")
    found = {f.check.name: f.outcome for f in findings(emulate, tree)}
    # `managed_irq` would make it ignore the whole argument.
    assert found["isolcpus"].boot == ("isolcpus=10-15",)
    # It spreads the pages evenly over the nodes.
    assert found["memory-node"].boot[1] == "hugepagesz=1G hugepages=8"


def test_a_managed_interrupt_that_only_isolated_cpus_may_take_is_in_order(
    emulate: Emulate,
) -> None:
    # The kernel would deliver it to no other CPU, whatever it is told.
    needs = replace(NEEDS, polling=(10, 11, 12, 13, 14))
    assert wrong(findings(emulate, server(), needs)) == []


def test_of_many_interrupts_the_first_are_named(emulate: Emulate) -> None:
    tree = server()
    for irq in (9, 44, 45):
        trees.put_irq(tree, irq, range(16), 16)
    for irq in range(100, 103):
        trees.put_irq(tree, irq, range(16), 16)
        tree.files["/proc/interrupts"] += f" {irq}:  0  IR-PCI-MSI  x{irq}\n"
    found = {f.check.name: f.outcome for f in findings(emulate, tree)}
    assert found["irq-affinity"].found.endswith("45 (ens1f0-TxRx-0), 100 (x100) and 2 more")


def test_amd_has_arguments_of_its_own(emulate: Emulate) -> None:
    tree = server()
    faults.deep_idle_state_enabled(tree)
    faults.iommu_off(tree)
    tree.replace("/proc/cpuinfo", "GenuineIntel", "AuthenticAMD")
    found = {f.check.name: f.outcome for f in findings(emulate, tree)}
    assert found["c-states"].boot == ("processor.max_cstate=1",)
    assert found["iommu"].boot == ("iommu=pt",)


def test_only_polling_cpus_lose_their_watchdog(emulate: Emulate) -> None:
    tree = server()
    faults.soft_watchdog_on_polling_cores(tree)
    found = {f.check.name: f.outcome for f in findings(emulate, tree)}
    assert found["soft-watchdog"].mend == "echo 0-9 > /proc/sys/kernel/watchdog_cpumask"


def test_the_page_lists_every_check_with_its_fault_trees() -> None:
    rows = dict(re.findall(r"^\| `([^`]+)` \|(.*)\|$", PAGE.read_text(), re.MULTILINE))
    assert set(rows) == {item.name for item in CHECKS}
    for item in CHECKS:
        assert f"| {item.should} | {item.level} |" in f"|{rows[item.name]}"
        assert f"| {item.source} |" in rows[item.name]
    for fault in FAULTS:
        assert fault.name in rows[fault.item]
