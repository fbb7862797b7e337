from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_vswitch.hosts import knobs
from tests.machine.emulated import EmulatedHost
from tests.machine.trees import Tree

Emulate = Callable[[Tree], EmulatedHost]


@pytest.fixture
def emulate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulate]:
    """Makes a host of a tree, one to a test; undoing a change asks its kernel."""
    # Hundreds of small files, each synced when it is put back: in memory, not on a disk.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:

        def make(tree: Tree) -> EmulatedHost:
            host = EmulatedHost(Path(directory), tree)
            monkeypatch.setattr(knobs, "SYS", host.root / "sys")
            monkeypatch.setattr(knobs, "PROC", host.root / "proc")
            monkeypatch.setattr(knobs, "poke", host.poke)
            return host

        yield make
