"""A kernel's /sys and /proc in a directory, which reacts to what is written there.

It follows Documentation/ABI/testing/sysfs-bus-pci: a device with a `driver_override` takes
that driver only, one without those that know it; the number of virtual functions goes
through 0. All state is in the tree, so it survives whoever wrote.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from pytest_vswitch.hosts import knobs
from pytest_vswitch.hosts.engine import LocalEngine

PF = "0000:03:00.0"


def functions(count: int) -> list[str]:
    return [f"0000:03:10.{number}" for number in range(count)]


class Kernel:
    """With one NIC, PF, for igb, whose virtual functions are for igbvf."""

    def __init__(self, root: Path) -> None:
        # By driver: the devices it takes of its own accord.
        self.knows = {"igb": {PF}, "igbvf": set(functions(8)), "vfio-pci": set[str]()}
        self.sys, self.proc = root / "sys", root / "proc"
        self.pci = self.sys / "bus/pci"
        for driver in self.knows:
            (self.pci / "drivers" / driver).mkdir(parents=True)
            for name in ("bind", "unbind"):
                (self.pci / "drivers" / driver / name).touch()
        (self.pci / "drivers_probe").touch()
        self.plug(PF)
        (self.pci / "devices" / PF / "sriov_numvfs").write_text("0\n")
        (self.pci / "devices" / PF / "sriov_totalvfs").write_text("8\n")
        irq = self.proc / "irq/24"
        irq.mkdir(parents=True)
        (irq / "smp_affinity_list").write_text("0-3\n")
        (irq / "smp_affinity").write_text("0f\n")
        (self.proc / "sys/net/core").mkdir(parents=True)
        (self.proc / "sys/net/core/somaxconn").write_text("128\n")
        pages = self.sys / "kernel/mm/hugepages/hugepages-2048kB"
        pages.mkdir(parents=True)
        (pages / "nr_hugepages").write_text("4\n")
        thp = self.sys / "kernel/mm/transparent_hugepage"
        thp.mkdir(parents=True)
        (thp / "enabled").write_text("always [madvise] never\n")

    def attach(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Answer for /sys and /proc from now on."""
        monkeypatch.setattr(knobs, "SYS", self.sys)
        monkeypatch.setattr(knobs, "PROC", self.proc)
        plain = LocalEngine.write

        def write(engine: LocalEngine, path: str, data: bytes) -> None:
            if knobs.is_knob(path):
                self.write(path, data.decode())
            else:
                plain(engine, path, data)

        monkeypatch.setattr(LocalEngine, "write", write)
        # One write, and never none: see `knobs.poke`.
        monkeypatch.setattr(knobs, "poke", lambda path, text: self.write(path, text or "\n"))

    def write(self, path: str, text: str) -> None:
        if not os.path.exists(path):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        place, word = Path(os.path.realpath(path)), text.strip()
        if place.name in ("bind", "unbind"):
            self._bind(word, place.parent.name, to=place.name == "bind")
        elif place.name == "drivers_probe":
            self.probe(word)
        elif place.name == "driver_override":
            place.write_text(f"{word or '(null)'}\n")
        elif place.name == "sriov_numvfs":
            self._set_functions(place, int(word))
        elif place.name == "nr_hugepages":
            place.write_text(f"{min(int(word), 20)}\n")
        elif place.name == "somaxconn":
            place.write_text(f"{min(int(word), 4096)}\n")
        elif place.name == "smp_affinity_list":
            cpus = sorted(int(cpu) for cpu in word.replace("0-3", "0,1,2,3").split(","))
            last = cpus[-1]
            is_range = cpus == list(range(cpus[0], last + 1)) and last > cpus[0]
            place.write_text(f"{cpus[0]}-{last}\n" if is_range else f"{word}\n")
        elif place.name == "enabled":
            choices = ("always", "madvise", "never")
            if word not in choices:
                raise OSError(errno.EINVAL, "Invalid argument", path)
            place.write_text(" ".join(f"[{c}]" if c == word else c for c in choices) + "\n")
        else:
            place.write_text(f"{word}\n")

    def plug(self, bdf: str) -> None:
        device = self.sys / "devices/pci0000:00" / bdf
        device.mkdir(parents=True)
        (device / "driver_override").write_text("(null)\n")
        group = self.sys / "kernel/iommu_groups" / bdf[-4:].replace(".", "")
        group.mkdir(parents=True)
        (device / "iommu_group").symlink_to(group)
        (self.pci / "devices").mkdir(exist_ok=True)
        (self.pci / "devices" / bdf).symlink_to(device)
        self.probe(bdf)

    def unplug(self, bdf: str) -> None:
        device = (self.pci / "devices" / bdf).resolve()
        (device / "iommu_group").resolve().rmdir()
        shutil.rmtree(device)
        (self.pci / "devices" / bdf).unlink()

    def probe(self, bdf: str) -> None:
        for driver in self.knows:
            if self._matches(bdf, driver) and not self.driver(bdf):
                self._bind(bdf, driver, to=True)

    def driver(self, bdf: str) -> str:
        link = self.pci / "devices" / bdf / "driver"
        return link.resolve().name if link.is_symlink() else ""

    def force(self, bdf: str, driver: str) -> None:
        """Somebody binds it to that driver for good."""
        device = self.pci / "devices" / bdf
        self.write(str(device / "driver_override"), driver)
        if self.driver(bdf):
            self.write(str(device / "driver/unbind"), bdf)
        self.probe(bdf)

    def opened_by(self, node: str, program: str) -> None:
        """A program that has this file open."""
        process = self.proc / "4711"
        (process / "fd").mkdir(parents=True)
        (process / "fd/3").symlink_to(node)
        (process / "comm").write_text(f"{program}\n")

    def _matches(self, bdf: str, driver: str) -> bool:
        forced = (self.pci / "devices" / bdf / "driver_override").read_text().strip()
        return bdf in self.knows[driver] if forced == "(null)" else forced == driver

    def _bind(self, bdf: str, driver: str, *, to: bool) -> None:
        link = self.pci / "devices" / bdf / "driver"
        if to:
            if self.driver(bdf) or not self._matches(bdf, driver):
                raise OSError(errno.ENODEV, "No such device", driver)
            link.symlink_to(self.pci / "drivers" / driver)
        elif self.driver(bdf) != driver:
            raise OSError(errno.ENODEV, "No such device", driver)
        else:
            link.unlink()

    def _set_functions(self, knob: Path, count: int) -> None:
        had = int(knob.read_text())
        if had and count:
            raise OSError(errno.EBUSY, "Device or resource busy", str(knob))
        for number, bdf in enumerate(functions(max(had, count))):
            if count:
                self.plug(bdf)
                (knob.parent / f"virtfn{number}").symlink_to(self.pci / "devices" / bdf)
            else:
                self.unplug(bdf)
                (knob.parent / f"virtfn{number}").unlink()
        knob.write_text(f"{count}\n")
