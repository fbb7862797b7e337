"""Machines for tests: import these into the conftest.py of those that need them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.machines.machine import Machine

MakeMachine = Callable[..., Machine]


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[MakeMachine]:
    """Start a machine, as `Machine` without its directory; it ends with the test."""
    with contextlib.ExitStack() as opened:

        def start(name: str, **options: object) -> Machine:
            return opened.enter_context(Machine(name, tmp_path, **options))  # type: ignore[arg-type]

        yield start


@pytest.fixture
def dut(machines: MakeMachine) -> Machine:
    """One machine that is on."""
    return machines("dut")
