"""Values of a kernel mean the same although it writes them in its own way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_vswitch.hosts import knobs, undo
from pytest_vswitch.hosts.undo import Change, UndoJournal, undo_all


@pytest.mark.parametrize(
    ("path", "one", "other"),
    [
        ("/proc/irq/24/smp_affinity", "3", "00000003\n"),
        ("/proc/irq/24/smp_affinity", "100000003", "00000001,00000003\n"),
        ("/proc/irq/default_smp_affinity", "F", "0f\n"),
        ("/sys/class/net/e/queues/rx-0/rps_cpus", "0", "00000000,00000000\n"),
        ("/proc/irq/24/smp_affinity_list", "0,1,2,7", "0-2,7\n"),
        ("/sys/kernel/mm/transparent_hugepage/enabled", "never", "always madvise [never]\n"),
        ("/proc/sys/net/ipv4/tcp_rmem", "1 2 3", "1\t2\t3\n"),
        ("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "1", "Y\n"),
        ("/sys/bus/pci/devices/0000:03:00.0/driver_override", "", "(null)\n"),
        ("/proc/sys/vm/swappiness", "1", "1\n"),
    ],
)
def test_what_the_kernel_writes_in_its_own_way(path: str, one: str, other: str) -> None:
    assert knobs.same(path, one, other)
    assert knobs.same(path, other, other)
    assert not knobs.same(path, "5", other)
    assert knobs.to_write(path, knobs.to_write(path, other)) == knobs.to_write(path, other)
    assert knobs.same(path, knobs.to_write(path, other), other)


@pytest.mark.parametrize(
    ("now", "ours"), [("4", True), ("7", True), ("20\n", True), ("3", False), ("21", False)]
)
def test_the_kernel_may_give_fewer_pages_than_asked(now: str, ours: bool) -> None:
    assert knobs.is_ours("/sys/kernel/mm/x/nr_hugepages", now, "4\n", "20") is ours
    assert knobs.is_ours("/sys/kernel/mm/x/nr_hugepages", now, "20", "4") is ours


def test_a_value_is_written_at_once_and_never_nothing(tmp_path: Path) -> None:
    """The kernel takes one write for one value, and does not hear of an empty one."""
    reader, writer = os.pipe()
    knobs.poke(f"/proc/self/fd/{writer}", "")
    knobs.poke(f"/proc/self/fd/{writer}", "\udcff")
    assert os.read(reader, 100) == b"\n\xff"
    with pytest.raises(OSError, match="No such file or directory: '/proc/none/x'"):
        knobs.poke("/proc/none/x", "1")


def test_a_value_that_others_set_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knobs, "PROC", tmp_path)
    knob = tmp_path / "sys/vm/swappiness"
    knob.parent.mkdir(parents=True)
    knob.write_text("30\n")
    journal = UndoJournal(tmp_path / "undo.jsonl")
    journal.note(Change("rewrote", str(knob), "60\n", "1"))
    assert undo_all(journal, rebooted=False).remarks == (
        f"{knob} was 60, we made it 1, now it is 30: left as it is",
    )
    assert knob.read_text() == "30\n"


def test_a_knob_goes_with_its_device() -> None:
    undo.undo(Change("rewrote", "/sys/class/net/gone0/mtu", "1500", "9000"))
    undo.undo(Change("rewrote", "/proc/irq/99999/smp_affinity", "1", "2"))
    undo.undo(Change("bound", "0000:ff:1f.7", "igb", "vfio-pci"))
    undo.undo(Change("functions", "0000:ff:1f.7", "0", "2"))
