"""The kernel: its command line, its interrupts, and what of it disturbs a core that polls."""

from __future__ import annotations

import pytest

from pytest_vswitch.machine import irqs, kernel
from pytest_vswitch.machine.command_line import CommandLine
from pytest_vswitch.machine.kernel import Iommu, Irqbalance, Watchdogs
from tests.machine.conftest import Emulate
from tests.machine.trees import NOT_WRITABLE, Tree, server

QUIET = frozenset(range(10, 16))
REST = frozenset(range(10))


def test_a_command_line_is_split_as_the_kernel_does() -> None:
    line = CommandLine.parse('ro dyndbg="file a.c +p" console=tty0 console=ttyS0 quiet -- -s x\n')
    assert line.arguments == (
        "ro",
        'dyndbg="file a.c +p"',
        "console=tty0",
        "console=ttyS0",
        "quiet",
    )
    assert line.init == ("-s", "x")
    assert line.values("console") == ("tty0", "ttyS0")
    assert line.values("dyndbg") == ("file a.c +p",)
    assert line.values("ro") == ("",)
    assert line.values("isolcpus") == ()


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("isolcpus=2-4", {2, 3, 4}),
        ("isolcpus=nohz,domain,managed_irq,2,4-5", {2, 4, 5}),
        ("isolcpus=1 isolcpus=2", {2}),
        ("quiet", set()),
    ],
)
def test_isolated_cpus_stand_behind_flags(text: str, cpus: set[int]) -> None:
    assert CommandLine.parse(text).cpus("isolcpus") == cpus


@pytest.mark.parametrize(
    ("old", "wanted", "new"),
    [
        ("ro quiet", ["a=1"], "ro quiet a=1"),
        ("a=2 quiet", ["a=1"], "a=1 quiet"),
        ("a=2 quiet a=3", ["a=1"], "a=1 quiet"),
        ("intel-iommu=off", ["intel_iommu=on"], "intel_iommu=on"),
        ("quiet -- single", ["a=1"], "quiet a=1 -- single"),
        ("BOOT_IMAGE=/vmlinuz initrd=/i ro", [], "ro"),
        ("ro", ["hugepagesz=1G hugepages=6"], "ro hugepagesz=1G hugepages=6"),
        (
            "hugepagesz=2M hugepages=512 hugepagesz=1G hugepages=2 ro",
            ["hugepagesz=1G hugepages=6"],
            "hugepagesz=2M hugepages=512 hugepagesz=1G hugepages=6 ro",
        ),
        (
            "hugepagesz=2M hugepages=512",
            ["hugepagesz=1G hugepages=6"],
            "hugepagesz=2M hugepages=512 hugepagesz=1G hugepages=6",
        ),
        ("hugepagesz=1G ro", ["hugepagesz=1G hugepages=6"], "hugepagesz=1G hugepages=6 ro"),
    ],
)
def test_arguments_are_added_or_replaced_where_they_stand(
    old: str, wanted: list[str], new: str
) -> None:
    once = CommandLine.parse(old).adding(wanted)
    assert str(once) == new
    assert str(once.adding(wanted)) == new


def test_a_well_prepared_kernel(emulate: Emulate) -> None:
    found = kernel.read(emulate(server()))
    assert found.release == "6.1.0-18-amd64"
    assert found.version == (6, 1)
    assert found.iommu == Iommu(3, frozenset({"identity"}))
    assert found.vfio == kernel.Vfio(driver=True, unsafe_interrupts=False, no_iommu=False)
    assert found.selinux == "permissive"
    assert not found.numa_balancing
    assert found.watchdogs == Watchdogs(nmi=False, soft=REST)
    assert found.irqbalance is None
    assert (found.workqueues, found.writeback) == (REST, REST)
    assert found.ignore_corrected_errors
    assert found.firmware_complaints == ()


def test_a_kernel_that_tells_nothing(emulate: Emulate) -> None:
    found = kernel.read(emulate(Tree()))
    assert found.version == (0, 0)
    assert found.iommu == Iommu(0, frozenset())
    assert found.selinux == "disabled"
    assert found.watchdogs == Watchdogs(nmi=False, soft=frozenset())
    assert found.ignore_corrected_errors is None


def test_a_watchdog_that_is_off_watches_nobody(emulate: Emulate) -> None:
    tree = server()
    tree.put("/proc/sys/kernel", soft_watchdog=0)
    assert kernel.read(emulate(tree)).watchdogs.soft == frozenset()


@pytest.mark.parametrize("frozen", [0, 1])
def test_irqbalance_with_a_control_group_of_its_own(emulate: Emulate, frozen: int) -> None:
    tree = server()
    group = "/system.slice/irqbalance.service"
    tree.put("/proc/700", comm="irqbalance", cgroup=f"0::{group}")
    tree.files[f"/sys/fs/cgroup{group}/cgroup.freeze"] = f"{frozen}\n"
    freezer = f"/sys/fs/cgroup{group}/cgroup.freeze"
    assert kernel.read(emulate(tree)).irqbalance == Irqbalance(700, freezer, bool(frozen))


@pytest.mark.parametrize("group", ["/user.slice/session-1.scope", "/", "/init.scope"])
def test_a_control_group_that_others_share_is_not_frozen(emulate: Emulate, group: str) -> None:
    tree = server()
    tree.put("/proc/700", comm="irqbalance", cgroup=f"0::{group}")
    tree.files[f"/sys/fs/cgroup{group.rstrip('/')}/cgroup.freeze"] = "0\n"
    assert kernel.read(emulate(tree)).irqbalance == Irqbalance(700, "", frozen=False)


def test_interrupts(emulate: Emulate) -> None:
    found = irqs.read(emulate(server()))
    by_number = {irq.number: irq for irq in found.irqs}
    assert sorted(by_number) == [9, 44, 45, 60, 61]
    assert by_number[45] == irqs.Irq(45, "ens1f0-TxRx-0", REST, frozenset({0}), managed=False)
    assert by_number[61] == irqs.Irq(61, "nvme0q2", QUIET, frozenset({10}), managed=True)
    assert by_number[45].path == "/proc/irq/45/smp_affinity_list"
    assert found.default == REST
    assert found.remapped

    assert [irq.number for irq in found.irqs if irq.managed] == [60, 61]


def test_linux_6_11_tells_which_interrupts_cannot_be_moved(emulate: Emulate) -> None:
    tree = server()
    tree.answers[NOT_WRITABLE] = "/proc/irq/0/smp_affinity_list\n/proc/irq/61/smp_affinity_list\n"
    found = irqs.read(emulate(tree))
    assert [irq.number for irq in found.irqs if irq.managed] == [61]


def test_without_find_the_names_of_interrupts_have_to_do(emulate: Emulate) -> None:
    tree = server()
    del tree.answers[NOT_WRITABLE]
    assert [irq.number for irq in irqs.read(emulate(tree)).irqs if irq.managed] == [60, 61]
