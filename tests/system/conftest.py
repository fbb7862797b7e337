"""Real programs, killed and broken on purpose. Needs root and the packages of `ci/packages`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from pytest_vswitch.hosts import leftovers
from tests.system.machine import Machine
from tests.system.session import SHORT, Session


class Start(Protocol):
    """Starts a session in a directory of that name; see `Session`."""

    def __call__(self, name: str, *options: str, **settings: Any) -> Session: ...


@pytest.fixture(scope="session", autouse=True)
def _idle() -> None:
    """What a failed test leaves is no other test's fault."""
    for left in leftovers.find():
        leftovers.clean(left.directory, rebooted=left.rebooted)


@pytest.fixture
def machine() -> Machine:
    """The machine as it was before the test."""
    return Machine()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts sessions, and ends those that still run after the test."""
    sessions: list[Session] = []

    def start(name: str, *options: str, **settings: Any) -> Session:
        sessions.append(Session(tmp_path / name, *options, **settings))
        return sessions[-1]

    yield start
    for session in sessions:
        session.kill()


@dataclass(frozen=True)
class Certified:
    """A run that went through, another that was tried meanwhile, and what is left of both."""

    session: Session
    status: int
    intruder: Session
    intruder_status: int
    traces: list[str]


@pytest.fixture(scope="session")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Certified]:
    """A quick run on this machine, and one more that begins while it measures."""
    directory = tmp_path_factory.mktemp("certified")
    machine = Machine()
    sessions = [Session(directory / "first", "--quick", "--precision", "0.1")]
    try:
        sessions[0].wait_for_trials(1)
        sessions.append(Session(directory / "second", *SHORT))
        intruder_status = sessions[1].end(60)
        assert sessions[0].process.poll() is None, "the first ended too early to be disturbed"
        status = sessions[0].end()
        traces = [trace for session in sessions for trace in machine.traces(session.run)]
        yield Certified(sessions[0], status, sessions[1], intruder_status, traces)
    finally:
        for session in sessions:
            session.kill()
