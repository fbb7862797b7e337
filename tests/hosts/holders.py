"""Processes that hold this machine, or wait for it, with a state directory of a test's own."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_vswitch.hosts import open_host, reservation
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript
from tests.hosts.machine import DEADLINE_S

fork = multiprocessing.get_context("fork")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture(autouse=True)
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_host, "_ASK_AGAIN_S", 0.01)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # no power cut here


@pytest.fixture
def start() -> Iterator[Callable[..., int]]:
    """Runs a function in a process of its own; its pid."""
    started = []

    def start(work: Callable[..., None], *arguments: object) -> int:
        process = fork.Process(target=work, args=arguments, daemon=True)
        process.start()
        started.append(process)
        assert process.pid
        return process.pid

    yield start
    for process in started:
        process.kill()
        process.join(DEADLINE_S)


def here(run: str, state: Path, *, wait_s: float = 0.0) -> LocalHost:
    host = LocalHost(run, Transcript(None), state)
    host.wait_s = wait_s
    return host


def hold(run: str, state: Path, wait_s: float = 0.0) -> None:
    with here(run, state, wait_s=wait_s):
        time.sleep(3600)  # until it is killed


def holders(state: Path) -> list[str]:
    return [owner.run for owner in reservation.owners(state)]


def waiting(state: Path) -> list[str]:
    return [claimant.run for claimant in reservation.queue(state)]
