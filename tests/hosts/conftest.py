from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.undo import undo_all
from tests.hosts.crash import Trial, deaths, fill, journal
from tests.hosts.machine import machine
from tests.hosts.pci import Kernel


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LocalHost]:
    """This machine; transcript and logs are in `tmp_path`."""
    with machine(tmp_path) as here:
        yield here


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """Answers for /sys and /proc in the test."""
    kernel = Kernel(tmp_path / "kernel")
    kernel.attach(monkeypatch)
    return kernel


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """With some files, see `fill`."""
    place = tmp_path / "place"
    place.mkdir()
    fill(place)
    return place


@pytest.fixture
def survives_all_deaths(host: LocalHost, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """Whatever the step its maker dies at, the next undoes all: `look` finds what was there.

    `least`: how many steps there are at least.
    """

    def trial(scenario: Callable[[], None], look: Callable[[], object], *, least: int) -> None:
        # The machine does not die: what was written is there, on the disk or not.
        monkeypatch.setattr(os, "fsync", lambda handle: None)
        before = look()
        steps = 0
        for step in deaths(scenario):
            outcome = undo_all(journal(host), rebooted=False)
            assert (outcome.remarks, outcome.stuck) == ((), ()), f"step {step}"
            assert look() == before, f"step {step}"
            assert journal(host).pending() == []
            (Path(host.scratch) / "undo.jsonl").unlink(missing_ok=True)
            steps = step
        assert look() == before
        assert steps >= least

    return trial
