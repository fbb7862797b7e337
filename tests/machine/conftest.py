from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_vswitch.hosts import knobs
from tests.machine.emulated import EmulatedHost
from tests.machine.trees import Tree

Emulate = Callable[[Tree], EmulatedHost]


@pytest.fixture
def emulate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Emulate:
    """Makes a host of a tree; undoing a change asks its kernel."""

    def make(tree: Tree) -> EmulatedHost:
        host = EmulatedHost(tmp_path, tree)
        monkeypatch.setattr(knobs, "SYS", host.root / "sys")
        monkeypatch.setattr(knobs, "PROC", host.root / "proc")
        monkeypatch.setattr(knobs, "poke", host.poke)
        return host

    return make
