"""Tuning mends what it can, and every file is byte for byte as before afterwards."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.undo import UndoJournal, undo_all
from pytest_vswitch.machine import facts, tune
from pytest_vswitch.machine.checks import check
from pytest_vswitch.machine.needs import Needs
from pytest_vswitch.machine.tune import Step
from tests.hosts.machine import machine
from tests.machine import faults, trees
from tests.machine.conftest import Emulate
from tests.machine.emulated import EmulatedHost, Killed
from tests.machine.faults import FAULTS, Fault
from tests.machine.trees import BIFURCATED, CPU, NEEDS, NODE, Tree, server

HUGEPAGES = f"{NODE}/node1/hugepages/hugepages-1048576kB"


def steps_for(host: EmulatedHost, needs: Needs = NEEDS) -> tuple[Step, ...]:
    machine = facts.read(host)
    return tune.steps(machine, needs, check(machine, needs))


def wrong(host: EmulatedHost, needs: Needs = NEEDS) -> set[str]:
    found = check(facts.read(host), needs)
    return {finding.check.name for finding in found if finding.state not in ("ok", "unknown")}


def untuned() -> Tree:
    """A server with hyper-threads, on which everything that can be tuned is wrong."""
    tree = server(threads=2)
    for spoil in (
        faults.boost_on,
        faults.governor_powersave,
        faults.deep_idle_state_enabled,
        faults.no_hugepages,
        faults.transparent_hugepages_always,
        faults.ksm_on,
        faults.irqbalance_running,
        faults.nmi_watchdog_on,
        faults.numa_balancing_on,
        faults.corrected_errors_polled_for,
    ):
        spoil(tree)
    trees.put_irq(tree, 45, range(32), 32)
    # Would be moved for good when the CPU that alone may take it goes offline.
    trees.put_irq(tree, 44, {26}, 32)
    tree.put("/proc/irq", default_smp_affinity="ffffffff")
    workqueue = "/sys/devices/virtual/workqueue"
    tree.put(workqueue, cpumask="ffffffff")
    tree.put(f"{workqueue}/writeback", cpumask="ffffffff")
    tree.put("/proc/sys/kernel", watchdog_cpumask="0-31")
    return tree


def test_all_that_can_be_is_mended_and_put_back(emulate: Emulate) -> None:
    host = emulate(untuned())
    before = host.snapshot()
    steps = steps_for(host)
    assert (
        {step.check for step in steps} == wrong(host) == tune.TUNABLE - {"memory-node", "nic-mtu"}
    )
    with tune.tuned(host, steps) as tuned:
        assert tuned.steps == steps
        assert tuned.refused == ()
        assert wrong(host) == set()
        assert host.snapshot() != before
    assert host.snapshot() == before
    assert host.journal.pending() == []


@pytest.mark.parametrize(
    "fault",
    [fault for fault in FAULTS if fault.item in tune.TUNABLE and fault.needs.hugepages != "none"],
    ids=lambda fault: f"{fault.item}: {fault.name}",
)
def test_each_fault_alone_is_mended_and_put_back(fault: Fault, emulate: Emulate) -> None:
    host = emulate(fault.tree())
    before = host.snapshot()
    with tune.tuned(host, steps_for(host, fault.needs)):
        assert wrong(host, fault.needs) == set()
    assert host.snapshot() == before


def test_what_is_in_order_is_not_touched(emulate: Emulate) -> None:
    host = emulate(server())
    assert steps_for(host) == ()


def test_a_lab_without_hugepages_gets_none(emulate: Emulate) -> None:
    assert steps_for(emulate(server()), replace(NEEDS, hugepages="none")) == ()


def test_it_never_loosens_protection(emulate: Emulate) -> None:
    tree = server()
    faults.selinux_enforcing(tree)
    faults.interrupts_not_remapped(tree)
    host = emulate(tree)
    assert wrong(host) == {"selinux", "irq-remapping"}
    assert steps_for(host) == ()


def test_killed_around_any_write_the_journal_puts_everything_back(emulate: Emulate) -> None:
    host = emulate(untuned())
    before = host.snapshot()
    steps = steps_for(host)
    for halves in range(2 * len(steps)):
        host.dies_at = halves
        host.written.clear()
        host.journal = UndoJournal(host.root.parent / f"undo-{halves}.jsonl")
        with pytest.raises(Killed), tune.tuned(host, steps):
            pytest.fail("it was not killed")
        # Noted before each write, done after it.
        assert len(host.written) == (halves + 1) // 2
        assert len(host.journal.pending()) == halves // 2 + 1
        outcome = undo_all(host.journal, rebooted=False)
        assert (outcome.stuck, outcome.remarks) == ((), ())
        assert host.snapshot() == before


def test_irqbalance_is_frozen_before_interrupts_move_and_cpus_go_last(emulate: Emulate) -> None:
    steps = [step.check for step in steps_for(emulate(untuned()))]
    assert steps[0] == "irqbalance"
    assert steps[-1] == "smt"
    assert steps.index("irq-affinity") < steps.index("smt")


def test_an_interrupt_that_the_kernel_keeps_is_told(emulate: Emulate) -> None:
    host = emulate(untuned())
    host.managed = {45}
    before = host.snapshot()
    with tune.tuned(host, steps_for(host)) as tuned:
        assert [refusal.step.path for refusal in tuned.refused] == [
            "/proc/irq/45/smp_affinity_list"
        ]
        assert tuned.refused[0].reason == "Input/output error"
        assert "irq-affinity" in wrong(host)
    assert host.snapshot() == before


def test_turbo_that_only_the_bios_governs_is_told(emulate: Emulate) -> None:
    tree = server()
    faults.boost_on(tree)
    host = emulate(tree)
    host.refused = {f"{CPU}/cpufreq/boost": errno.EPERM}
    with tune.tuned(host, steps_for(host)) as tuned:
        assert [str(refusal) for refusal in tuned.refused] == [
            f"echo 0 > {CPU}/cpufreq/boost: Operation not permitted"
        ]
    assert host.journal.pending() == []


def test_fewer_hugepages_than_asked_for_are_given_back(emulate: Emulate) -> None:
    tree = server()
    faults.no_hugepages(tree)
    host = emulate(tree)
    host.pages_to_have = {HUGEPAGES: 2}
    before = host.snapshot()
    with tune.tuned(host, steps_for(host)):
        assert host.read_text(f"{HUGEPAGES}/nr_hugepages") == "2\n"
        assert wrong(host) == {"hugepages"}
    assert host.snapshot() == before


def test_a_mask_that_someone_else_moved_meanwhile_is_left(emulate: Emulate) -> None:
    tree = server()
    faults.interrupt_on_any_core(tree)
    host = emulate(tree)
    with tune.tuned(host, steps_for(host)):
        host.write_text("/proc/irq/45/smp_affinity_list", "3")
    assert host.read_text("/proc/irq/45/smp_affinity_list") == "3\n"


def test_only_what_is_wrong_is_written(emulate: Emulate) -> None:
    tree = server()
    faults.governor_powersave(tree)
    faults.deep_idle_state_enabled(tree)
    assert paths(steps_for(emulate(tree))) == [
        f"{CPU}/cpufreq/policy12/scaling_governor",
        f"{CPU}/cpu12/cpuidle/state3/disable",
    ]


def test_irqbalance_without_a_control_group_of_its_own_runs_on(emulate: Emulate) -> None:
    tree = server()
    tree.put("/proc/700", comm="irqbalance", cgroup="0::/user.slice")
    host = emulate(tree)
    assert wrong(host) == {"irqbalance"}
    assert steps_for(host) == ()


def test_an_interrupt_that_only_polling_cpus_had_moves_to_all_others(emulate: Emulate) -> None:
    tree = server()
    trees.put_irq(tree, 45, {12}, 16)
    assert [step.value for step in steps_for(emulate(tree))] == ["0-9"]


def test_siblings_that_the_lab_uses_stay(emulate: Emulate) -> None:
    host = emulate(server(threads=2))
    offline = [step.path for step in steps_for(host) if step.check == "smt"]
    assert offline == [f"{CPU}/cpu{cpu}/online" for cpu in range(26, 32)]
    needs = replace(NEEDS, other=(9, 26))
    assert f"{CPU}/cpu26/online" not in paths(steps_for(host, needs))


def test_the_mtu_of_the_port_that_we_came_by_stays(emulate: Emulate) -> None:
    tree = server()
    faults.mtu_below_the_frame(tree)
    trees.reached_by(tree, "ens1f0")
    host = emulate(tree)
    assert wrong(host, BIFURCATED) == {"nic-management", "nic-mtu"}
    assert steps_for(host, BIFURCATED) == ()
    assert wrong(host) == {"nic-management"}


def test_a_step_is_the_command_that_does_it(emulate: Emulate) -> None:
    for step in steps_for(emulate(untuned())):
        assert re.fullmatch(r"echo \S+ > /(sys|proc)/\S+", str(step))


def paths(steps: Sequence[Step]) -> list[str]:
    return [step.path for step in steps]


def test_this_kernel_takes_the_steps_and_is_as_before(tmp_path: Path) -> None:
    with machine(tmp_path) as host:
        last = max(facts.read(host).cpus.online)
        needs = Needs(polling=(last,), hugepages="none")
        before = knobs_of(host)
        here = facts.read(host)
        # What this kernel manages or a container holds read-only is refused; it is undone, too.
        with tune.tuned(host, tune.steps(here, needs, check(here, needs))) as tuned:
            assert {step.path for step in tuned.steps} >= {
                path for path, text in knobs_of(host).items() if text != before[path]
            }
            now = knobs_of(host)
            for step in tuned.steps:
                assert now[step.path] == f"{step.value}\n"
        assert knobs_of(host) == before


def knobs_of(host: LocalHost) -> dict[str, str]:
    """What steps for cores and kernel may write on this machine."""
    return {
        path: text
        for pattern in (
            "/proc/irq/[0-9]*/smp_affinity_list",
            "/proc/irq/default_smp_affinity",
            "/sys/devices/virtual/workqueue/cpumask",
            "/sys/devices/virtual/workqueue/writeback/cpumask",
            "/proc/sys/kernel/*watchdog*",
            "/proc/sys/kernel/numa_balancing",
            "/sys/kernel/mm/ksm/run",
            "/sys/devices/system/cpu/cpu[0-9]*/cpuidle/state[0-9]*/disable",
        )
        for path, text in host.read_texts(pattern).items()
    }
