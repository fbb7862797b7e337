"""Where a virtual DUT's files are, and whether it runs.

All of it is below `ROOT`: what is built once (`qemu-*`, `base-*`), and one directory for each
virtual DUT, which `lab down` removes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.lab.schema import Lab

ROOT = Path(LocalHost.cache) / "vlab"


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the virtual DUT is made of."""

    qemu: str
    """Directory of the tree that QEMU runs from."""
    ssh_port: int
    """TCP port on 127.0.0.1 that leads to its sshd."""
    netns: str
    """Network namespace that its NICs end in."""
    cpus: int = 4
    memory_mb: int = 3072


@dataclass(frozen=True, slots=True)
class Place:
    """The directory of one virtual DUT, and what is where in it."""

    name: str
    """The lab's name."""
    root: Path = ROOT

    @property
    def directory(self) -> Path:
        return self.root / "labs" / self.name

    @property
    def netns(self) -> str:
        return f"vlab-{self.name}"

    @property
    def disk(self) -> Path:
        """ext4, without partitions."""
        return self.directory / "disk.ext4"

    @property
    def kernel(self) -> Path:
        return self.directory / "vmlinux"

    @property
    def initrd(self) -> Path:
        return self.directory / "initrd.img"

    @property
    def identity(self) -> Path:
        """Private key that its sshd lets in."""
        return self.directory / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        return self.directory / "ssh_config"

    @property
    def console(self) -> Path:
        """What its kernel and services print, of all boots."""
        return self.directory / "console.log"

    @property
    def log(self) -> Path:
        """What its supervisor and QEMU say."""
        return self.directory / "supervisor.log"

    @property
    def qemu_pid(self) -> Path:
        """Process id of its QEMU: killing that is a power cut."""
        return self.directory / "qemu.pid"

    @property
    def _lock(self) -> Path:
        return self.directory / "supervisor.pid"

    @property
    def _hardware(self) -> Path:
        return self.directory / "hardware.json"

    def write_hardware(self, hardware: Hardware) -> None:
        self._hardware.write_text(json.dumps(asdict(hardware)) + "\n")

    def hardware(self) -> Hardware | None:
        """What it is made of; None: it has never been started."""
        try:
            return Hardware(**json.loads(self._hardware.read_text()))
        except FileNotFoundError:
            return None

    def supervisor(self) -> int | None:
        """Process id of the supervisor, as long as one runs: then the machine is on."""
        try:
            with self._lock.open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return None
        except BlockingIOError:
            return int(self._lock.read_text())
        return None

    def supervise(self) -> None:
        """For the supervisor: be the only one, as long as this process lives.

        Raises HostError when there is one already.
        """
        part = self._lock.with_suffix(".part")
        part.write_text(f"{os.getpid()}\n")
        handle = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if self.supervisor() is not None:
            os.close(handle)
            raise HostError(f"{self.name} has a supervisor already")
        part.rename(self._lock)  # visible only with its number in it, and locked


def is_virtual(lab: Lab) -> bool:
    """Whether its DUT is one of ours: such a lab says how to log in to what `lab up` boots."""
    return lab.dut.ssh is not None and lab.dut.ssh.config == str(Place(lab.name).ssh_config)


@contextlib.contextmanager
def locked(root: Path, say: Callable[[str], None]) -> Iterator[None]:
    """One command at a time builds, starts or removes; others wait.

    Raises HostError where the directory cannot be made.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise HostError(f"cannot use {root}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another `vswitch lab up` or `down` to end")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
