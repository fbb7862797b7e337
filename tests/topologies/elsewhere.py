"""A machine that has what a topology needs, unless a test takes it away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.lab.schema import Lab
from tests.hosts.machine import machine


def lab(**sections: Any) -> Lab:
    """This machine, with two memif ports."""
    ports = [{"kind": "memif"}, {"kind": "memif"}]
    return Lab.model_validate({"name": "it", "dut": {"host": "local"}, "ports": ports, **sections})


class Elsewhere(LocalHost):
    """Tells of programs, CPUs, memory and a kernel that this machine may not have."""

    lacks: tuple[str, ...] = ()
    root = True
    meminfo = "MemAvailable: 9999999 kB"

    def which(self, program: str) -> str | None:
        return None if program in self.lacks else f"/usr/bin/{program}"

    def is_root(self) -> bool:
        return self.root

    def exists(self, path: str) -> bool:
        return True

    def glob(self, pattern: str) -> list[str]:
        return ["/boot/vmlinuz-6.1"] if pattern.startswith("/boot") else []

    def read_text(self, path: str) -> str:
        told = {
            "/proc/meminfo": self.meminfo,
            "/proc/self/status": "Name: x\nCpus_allowed_list:\t0-3,8\n",
        }
        if path not in told:
            raise FileNotFoundError(path)
        return told[path]

    def read_texts(self, pattern: str) -> dict[str, str]:
        return {}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Elsewhere]:
    with machine(tmp_path) as here:
        other = object.__new__(Elsewhere)
        other.__dict__.update(here.__dict__)
        yield other
