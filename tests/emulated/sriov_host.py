"""A server with a NIC of Intel's: its sysfs, its drivers, its testpmds, behind a host's door.

The journal and what it undoes are the real ones; sysfs is a directory that reacts as the
kernel does (`tests.hosts.pci`), and a program that is started for a port of the NIC is one of
`tests.emulated.testpmd`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts import knobs
from pytest_vswitch.hosts.host import Completed
from pytest_vswitch.hosts.local import LocalHost
from tests.emulated.dut import Dut
from tests.emulated.nic import PF
from tests.emulated.testpmd import Testpmd
from tests.hosts import pci
from tests.hosts.machine import machine

_PROC = {
    "/proc/self/status": "Name: x\nCpus_allowed_list:\t0-11\n",
    "/proc/cmdline": "root=/dev/sda1\n",
}


class Kernel(pci.Kernel):
    """With igb_uio, too, which makes virtual functions by a knob of its own."""

    shares = True
    """Whether vfio-pci takes the VFs of its PFs."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.write(str(self.pci / "drivers/igb/unbind"), pci.PF)
        self.knows |= {"igb": set(), "ixgbe": {pci.PF}, "igb_uio": set()}
        for driver in ("ixgbe", "igb_uio"):
            (self.pci / "drivers" / driver).mkdir()
            for name in ("bind", "unbind"):
                (self.pci / "drivers" / driver / name).touch()
        self.probe(pci.PF)
        (self.pci / "devices" / pci.PF / "max_vfs").write_text("0\n")
        (self.pci / "devices" / pci.PF / "sriov_drivers_autoprobe").write_text("1\n")

    def plug(self, bdf: str) -> None:
        """A VF of vfio-pci's is that driver's (drivers/vfio/pci, since Linux 5.7)."""
        super().plug(bdf)
        if bdf == pci.PF:
            return
        probes = self.pci / "devices" / pci.PF / "sriov_drivers_autoprobe"
        if self.driver(pci.PF) == "vfio-pci" and self.shares:
            self.force(bdf, "vfio-pci")
        elif probes.read_text().strip() == "0":
            self.write(str(self.pci / "drivers/igbvf/unbind"), bdf)

    def write(self, path: str, text: str) -> None:
        if path.endswith("/max_vfs") and self.driver(pci.PF) == "igb_uio":
            super().write(path.replace("max_vfs", "sriov_numvfs"), text)
        super().write(path, text)


class Server(LocalHost):
    """This machine, but for its sysfs and its testpmd."""

    kernel: Kernel
    dut: Dut
    testpmd = "22.11.11"
    """Version."""
    on_step: Callable[[str], None] = staticmethod(lambda step: None)
    """Called before each step; may raise, as a host that breaks there."""

    def which(self, program: str) -> str | None:
        return f"/usr/bin/{program}"

    def is_root(self) -> bool:
        return True

    def _there(self, path: str) -> str:
        plain = path.startswith("/sys/")
        return f"{self.kernel.sys}{path.removeprefix('/sys')}" if plain else path

    def _back(self, path: str) -> str:
        """As the host's own programs would name it."""
        return path.replace(str(self.kernel.sys), str(knobs.SYS), 1)

    def ask(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 30.0,
        check: bool = True,
        why: str = "",
    ) -> Completed:
        if list(argv) == ["uname", "-n"]:
            return Completed(tuple(argv), 0, "dut1\n")
        return super().ask(argv, timeout_s=timeout_s, check=check, why=why)

    def exists(self, path: str) -> bool:
        return super().exists(self._there(path))

    def read_text(self, path: str) -> str:
        return self.read_bytes(path).decode()

    def read_bytes(self, path: str) -> bytes:
        if path in _PROC:
            return _PROC[path].encode()
        return super().read_bytes(self._there(path))

    def read_link(self, path: str) -> str:
        return self._back(super().read_link(self._there(path)))

    def read_texts(self, pattern: str) -> Mapping[str, str]:
        found = super().read_texts(self._there(pattern))
        return {self._back(path): text for path, text in found.items()}

    def write_text(self, path: str, text: str) -> None:
        self.on_step(f"{path}: {text!r}")
        super().write_text(self._there(path), text)

    def write_bytes(self, path: str, data: bytes) -> None:
        self.on_step(f"{path}: {data!r}")
        super().write_bytes(self._there(path), data)

    def glob(self, pattern: str) -> list[str]:
        return list(map(self._back, super().glob(self._there(pattern))))

    def spawn(  # type: ignore[override]  # as much of a process as anybody asks for
        self, argv: Sequence[str], *, name: str, stop_with: str = "", why: str = ""
    ) -> Testpmd:
        self.on_step(f"starts {name}")
        words = list(argv)
        bdf = words[words.index("-a") + 1]
        if self.kernel.driver(bdf) not in ("vfio-pci", "igb_uio"):
            raise DutError(f"{name}: EAL: cannot take {bdf}: it is the kernel's")
        number = PF if bdf == pci.PF else pci.functions(8).index(bdf)
        program = Testpmd(self.dut, number, words, name=name, version=self.testpmd)
        self.dut.programs[number] = program
        return program


def state(kernel: pci.Kernel) -> dict[str, str]:
    """What a run must leave as it found it: knobs, drivers, functions."""
    found = {}
    for path in sorted(kernel.sys.rglob("*")):
        if path.is_symlink():
            found[str(path)] = str(path.readlink())
        elif path.is_file() and path.name not in ("bind", "unbind", "drivers_probe"):
            found[str(path)] = path.read_text().strip()
    return found


@contextlib.contextmanager
def server(path: Path, monkeypatch: pytest.MonkeyPatch, dut: Dut) -> Iterator[Server]:
    """With the port 0000:03:00.0 and its kernel driver; as it was made, it is left."""
    kernel = Kernel(path / "machine")
    parameters = kernel.sys / "module/vfio_pci/parameters"
    parameters.mkdir(parents=True)
    (parameters / "enable_sriov").write_text("N\n")
    kernel.attach(monkeypatch)
    with machine(path) as here:
        made = object.__new__(Server)
        made.__dict__.update(here.__dict__, kernel=kernel, dut=dut)
        yield made
