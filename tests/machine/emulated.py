"""A host made of plain files in a directory, whose kernel answers to what is written."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.console import Console
from pytest_vswitch.hosts.host import Completed, Process
from pytest_vswitch.hosts.undo import Change, UndoJournal
from pytest_vswitch.machine.cpulist import format_list, format_mask, parse_list, parse_mask
from tests.machine.trees import CPU, NODE, Tree


class Killed(BaseException):
    """The controller died here: it undoes nothing."""


class EmulatedHost:
    """See `hosts.host.Host`. Nothing runs on it; commands have set answers."""

    name = "emulated"
    cache = "/var/cache/pytest-vswitch"
    scratch = "/run/pytest-vswitch/test"

    def __init__(self, root: Path, tree: Tree) -> None:
        self.root = root / "host"
        self.journal = UndoJournal(root / "undo.jsonl")
        self.answers = dict(tree.answers)
        self.written: list[tuple[str, str]] = []
        """What was written, in order; by undoing, too."""
        self.managed: set[int] = set()
        """Interrupts that the kernel keeps to itself."""
        self.pages_to_have: dict[str, int] = {}
        """The most hugepages that a pool can grow to, by its directory."""
        self.refused: dict[str, int] = {}
        """Files that cannot be written, with the error number."""
        self.dies_at = -1
        """After so many halves of writes the controller dies: an odd one is a write done."""
        self._offline: dict[int, dict[Path, str]] = {}
        for path, text in tree.files.items():
            file = self._at(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        for path, target in tree.links.items():
            link = self._at(path)
            link.parent.mkdir(parents=True, exist_ok=True)
            self._at(target).mkdir(parents=True, exist_ok=True)
            link.symlink_to(self._at(target))

    def _at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def _path(self, file: str | Path) -> str:
        return "/" + os.path.relpath(file, self.root)

    def snapshot(self) -> dict[str, str]:
        """Every file's text, and every link's target."""
        paths = sorted(self.root.rglob("*"))
        return {
            self._path(path): os.readlink(path) if path.is_symlink() else path.read_text()
            for path in paths
            if path.is_symlink() or path.is_file()
        }

    # --- what is asked of it ----------------------------------------------------------------

    def ask(
        self, argv: Sequence[str], *, timeout_s: float = 30.0, check: bool = True, why: str = ""
    ) -> Completed:
        if self.which(argv[0]) is None:
            raise HostError(f"{self.name}: there is no program `{argv[0]}`")
        output = self.answers.get(tuple(argv))
        if output is None and check:
            raise HostError(f"{self.name}: `{' '.join(argv)}` failed with status 1")
        return Completed(tuple(argv), int(output is None), output or "", (output or "").encode())

    def which(self, program: str) -> str | None:
        known = any(argv[0] == program for argv in self.answers)
        return f"/usr/bin/{program}" if known else None

    def is_root(self) -> bool:
        return True

    def read_text(self, path: str) -> str:
        return self._at(path).read_text()

    def read_texts(self, pattern: str) -> Mapping[str, str]:
        return {p: self.read_text(p) for p in self.glob(pattern) if self._at(p).is_file()}

    def read_link(self, path: str) -> str:
        return self._path(os.path.realpath(self._at(path), strict=True))

    def read_bytes(self, path: str) -> bytes:
        return self._at(path).read_bytes()

    def exists(self, path: str) -> bool:
        return os.path.lexists(self._at(path))

    def glob(self, pattern: str) -> list[str]:
        return sorted(self._path(path) for path in self.root.glob(pattern.lstrip("/")))

    def write_text(self, path: str, text: str) -> None:
        self._count_down()
        self._write(path, text)
        self._count_down()

    def _count_down(self) -> None:
        self.dies_at -= 1
        if self.dies_at == -1:
            raise Killed

    @contextlib.contextmanager
    def changing(self, change: Change) -> Iterator[None]:
        # The journal is undone by the real code, which sees the files where they are.
        here = Change(change.kind, str(self._at(change.path)), change.before, change.after)
        self.journal.note(here)
        try:
            yield
        except Killed:
            raise
        except BaseException:
            self.journal.undo(here)
            raise
        self.journal.undo(here)

    def check_reserved(self) -> None:
        pass

    # --- what its kernel does ---------------------------------------------------------------

    def poke(self, path: str, text: str) -> None:
        """Stands for `knobs.poke`: `path` is that of the plain file."""
        self._write(self._path(path), text)

    def _write(self, path: str, text: str) -> None:
        """As the kernel takes a value: refused, or taken and told in its own words."""
        if path in self.refused:
            raise OSError(self.refused[path], os.strerror(self.refused[path]), path)
        before = self.read_text(path)  # there is no making files in sysfs
        self.written.append((path, text))
        value = text.strip()
        name = path.rpartition("/")[2]
        if name.startswith("smp_affinity"):
            self._move_irq(path, value)
        elif name == "nr_hugepages":
            self._grow(path.rpartition("/")[0], int(value))
        elif cpu := re.fullmatch(rf"{CPU}/cpu(\d+)/online", path):
            self._put(path, value)
            self._hotplug(int(cpu[1]), value == "1")
        elif name in ("cpumask", "default_smp_affinity"):
            self._put(path, format_mask(parse_mask(value), self._possible()))
        elif name == "watchdog_cpumask":
            self._put(path, format_list(parse_list(value)))
        elif "[" in before:
            words = before.replace("[", "").replace("]", "").split()
            if value not in words:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
            self._put(path, " ".join(f"[{word}]" if word == value else word for word in words))
        else:
            self._put(path, value)

    def _put(self, path: str, text: str) -> None:
        self._at(path).write_text(f"{text}\n")

    def _possible(self) -> int:
        return max(parse_list(self.read_text(f"{CPU}/possible"))) + 1

    def _online(self) -> frozenset[int]:
        return parse_list(self.read_text(f"{CPU}/online"))

    def _move_irq(self, path: str, value: str) -> None:
        directory, _, name = path.rpartition("/")
        if int(directory.rpartition("/")[2]) in self.managed:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        cpus = parse_list(value) if name.endswith("_list") else parse_mask(value)
        if not cpus & self._online():
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        self._set_irq(directory, cpus)

    def _set_irq(self, directory: str, cpus: frozenset[int]) -> None:
        self._put(f"{directory}/smp_affinity", format_mask(cpus, self._possible()))
        self._put(f"{directory}/smp_affinity_list", format_list(cpus))
        effective = min(cpus & self._online())
        self._put(f"{directory}/effective_affinity_list", format_list({effective}))

    def _grow(self, pool: str, wanted: int) -> None:
        total, free = (
            int(self.read_text(f"{pool}/{name}")) for name in ("nr_hugepages", "free_hugepages")
        )
        # Pages in use stay; more than fit are not given.
        wanted = max(total - free, min(wanted, self.pages_to_have.get(pool, wanted)))
        self._put(f"{pool}/nr_hugepages", str(wanted))
        self._put(f"{pool}/free_hugepages", str(free + wanted - total))

    def _hotplug(self, cpu: int, online: bool) -> None:
        """A CPU that goes takes its topology along, and its interrupts move."""
        everyone = self._online() | {cpu} if online else self._online() - {cpu}
        here = self._at(f"{CPU}/cpu{cpu}")
        if online:
            for file, text in self._offline.pop(cpu).items():
                file.parent.mkdir(exist_ok=True)
                file.write_text(text)
        else:
            files = {file: file.read_text() for file in (here / "topology").iterdir()}
            self._offline[cpu] = files
            for file in files:
                file.unlink()
            (here / "topology").rmdir()
        possible = parse_list(self.read_text(f"{CPU}/possible"))
        self._put(f"{CPU}/online", format_list(everyone))
        self._put(f"{CPU}/offline", format_list(possible - everyone))
        for path in self.glob(f"{CPU}/cpu[0-9]*/topology/thread_siblings_list"):
            core = int(path.split("/")[5].removeprefix("cpu"))
            siblings = parse_list(self.read_text(path))
            if cpu in siblings or (online and core in self._core_of(cpu)):
                together = siblings | {cpu} if online else siblings - {cpu}
                self._put(path, format_list(together))
        for path in self.glob(f"{NODE}/node[0-9]*/cpulist"):
            node = path.split("/")[5]
            if (here / node).exists():
                cpus = parse_list(self.read_text(path))
                self._put(path, format_list(cpus | {cpu} if online else cpus - {cpu}))
        for path in self.glob("/proc/irq/[0-9]*/smp_affinity_list"):
            if not parse_list(self.read_text(path)) & everyone:
                self._set_irq(path.rpartition("/")[0], everyone)

    def _core_of(self, cpu: int) -> frozenset[int]:
        return parse_list(self.read_text(f"{CPU}/cpu{cpu}/topology/thread_siblings_list"))

    # --- what no test asks of it ------------------------------------------------------------

    def _none(self) -> NoReturn:
        raise NotImplementedError("nothing runs on an emulated host")

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | bytes = "",
        timeout_s: float = 30.0,
        check: bool = True,
        why: str = "",
    ) -> Completed:
        self._none()

    def spawn(
        self, argv: Sequence[str], *, name: str, stop_with: str = "", why: str = ""
    ) -> Process:
        self._none()

    def python(self, module: str) -> list[str]:
        self._none()

    def write_bytes(self, path: str, data: bytes) -> None:
        self._none()

    def connect(self, address: str | int) -> socket.socket:
        self._none()

    def console(self, path: str, name: str) -> AbstractContextManager[Console]:
        self._none()
