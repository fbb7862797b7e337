"""A labgrid place is held for a run: with labgrid's own client, and a real coordinator."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_vswitch.errors import HostError, InputError, ReservationLost
from pytest_vswitch.hosts import labgrid
from pytest_vswitch.hosts.labgrid import acquired
from pytest_vswitch.hosts.transcript import Transcript
from tests.hosts.machine import DEADLINE_S, wait_until

MONA, TOM, LENA = "ci7/mona", "ci8/tom", "ci9/lena"
"""Mona is who runs pytest here."""

_serial = itertools.count(100)

HOLD = """
import sys
from pytest_vswitch.hosts.labgrid import acquired

with acquired(sys.argv[1], sys.argv[2]):
    print("held", flush=True)
    sys.stdin.readline()
"""


LABGRID = Path(sys.prefix, "labgrid/bin")
"""Where `ci/setup` puts it: beside the tests' own packages, since it is a pytest plugin too."""


def program(name: str) -> str:
    return str(LABGRID / name)


@pytest.fixture(autouse=True)
def _labgrid_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LABGRID.is_dir(), "`ci/setup` installs labgrid"
    monkeypatch.setenv("PATH", f"{LABGRID}:{os.environ['PATH']}")


@dataclass
class Coordinator:
    """A real one, on the loopback interface."""

    directory: Path
    address: str = "127.0.0.1:0"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [program("labgrid-coordinator"), "-l", self.address],
            cwd=self.directory,  # it writes files there
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout
        deadline = threading.Timer(DEADLINE_S, self.process.kill)
        deadline.start()
        for line in self.process.stdout:
            if told := re.fullmatch(r"listening on (127\.0\.0\.1:\d+)\n", line):
                deadline.cancel()
                self.address = told[1]
                # It goes on writing, and must not get stuck.
                threading.Thread(target=self.process.stdout.read, daemon=True).start()
                return
        raise AssertionError("labgrid-coordinator did not start")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def client(self, who: str, place: str, *args: str) -> str:
        """What `labgrid-client` says to someone; it must work."""
        host, user = who.split("/")
        names = {"LG_COORDINATOR": self.address, "LG_HOSTNAME": host, "LG_USERNAME": user}
        done = subprocess.run(
            [program("labgrid-client"), "-p", place, *args],
            env={"PATH": os.environ["PATH"], **names},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def holder(self, place: str) -> str:
        found = re.search("^  acquired: (.*)$", self.client(TOM, place, "show"), re.MULTILINE)
        assert found
        return found[1]

    def reserve(self, who: str, place: str) -> str:
        """Queue someone up; the token."""
        told = self.client(who, place, "reserve", f"name={place}")
        found = re.search("^  token: (.*)$", told, re.MULTILINE)
        assert found
        return found[1]

    def queue(self) -> list[str]:
        """Owners of reservations."""
        return re.findall("^  owner: (.*)$", self.client(TOM, "-", "reservations"), re.MULTILINE)


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    coordinator = Coordinator(tmp_path_factory.mktemp("coordinator"))
    coordinator.start()
    yield coordinator
    coordinator.stop()


@pytest.fixture(autouse=True)
def mona(coordinator: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is Mona's, with a home of its own."""
    monkeypatch.setenv("LG_COORDINATOR", coordinator.address)
    monkeypatch.setenv("LG_HOSTNAME", "ci7")
    monkeypatch.setenv("LG_USERNAME", "mona")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(labgrid, "_LOOK_AGAIN_S", 0.0)


@pytest.fixture
def place(coordinator: Coordinator) -> str:
    """A new place that nobody has."""
    name = f"rack{next(_serial)}-A.left"
    coordinator.client(TOM, name, "create")
    return name


@contextlib.contextmanager
def other_run(place: str, run: str) -> Iterator[subprocess.Popen[str]]:
    """Another process of Mona's that holds the place; killed at the end, if it still is."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, place, run],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_it_is_held_and_then_released(
    coordinator: Coordinator, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verify: also where the user's environment is for other places; and in the transcript."""
    monkeypatch.setenv("LG_ENV", "/nonexistent/environment.yaml")
    monkeypatch.setenv("LG_STATE", "shell")
    monkeypatch.setenv("LG_PLACE", "elsewhere")
    with acquired(place, "run1", transcript=Transcript(tmp_path)) as held:
        assert coordinator.holder(place) == MONA
        held.check()
    assert coordinator.holder(place) == "None"
    assert f"-p {place} acquire" in (tmp_path / "transcript.log").read_text()


def test_it_is_released_when_the_run_fails(coordinator: Coordinator, place: str) -> None:
    with pytest.raises(ZeroDivisionError), acquired(place, "run1"):
        raise ZeroDivisionError
    assert coordinator.holder(place) == "None"


def test_a_taken_place_names_who_has_it_and_what_frees_it(
    coordinator: Coordinator, place: str
) -> None:
    coordinator.client(TOM, place, "acquire")
    with pytest.raises(HostError) as refused, acquired(place, "run1"):
        pytest.fail("it was held")
    assert f"{place} is acquired by {TOM}" in str(refused.value)
    assert coordinator.holder(place) == TOM
    with pytest.raises(InputError, match=f"acquired by {TOM}"):
        labgrid.preflight(place, waits=False)
    labgrid.preflight(place, waits=True)
    advice = re.search(r"`labgrid-client (.*?)`", str(refused.value))
    assert advice
    coordinator.client(MONA, place, *shlex.split(advice[1]))
    labgrid.preflight(place, waits=False)


def test_a_reserved_place_names_who_it_is_for(coordinator: Coordinator, place: str) -> None:
    token = coordinator.reserve(LENA, place)
    coordinator.client(LENA, place, "wait", token)
    with pytest.raises(HostError, match=f"is reserved for {LENA}"), acquired(place, "run1"):
        pytest.fail("it was held")
    coordinator.client(LENA, place, "cancel-reservation", token)


def test_it_queues_behind_who_came_first(coordinator: Coordinator, place: str) -> None:
    """Steps: Tom has it, Lena queues, Mona queues; Tom leaves, then Lena."""
    coordinator.client(TOM, place, "acquire")
    token = coordinator.reserve(LENA, place)
    order = []

    def others() -> None:
        wait_until(lambda: coordinator.queue().count(MONA) == 1, "Mona in the queue")
        coordinator.client(TOM, place, "release")
        coordinator.client(LENA, place, "wait", token)
        coordinator.client(LENA, place, "acquire")
        coordinator.client(LENA, place, "cancel-reservation", token)
        order.append(coordinator.holder(place))
        coordinator.client(LENA, place, "release")

    told: list[str] = []
    with ThreadPoolExecutor() as beside:
        leaving = beside.submit(others)
        with acquired(place, "run1", wait_s=DEADLINE_S, tell=told.append):
            order.append(coordinator.holder(place))
        leaving.result(DEADLINE_S)
    assert order == [LENA, MONA]
    assert [text for text in told if f"acquired by {TOM}" in text] == told
    assert coordinator.queue().count(MONA) == 0


def test_waiting_in_vain_ends_and_leaves_the_queue(coordinator: Coordinator, place: str) -> None:
    coordinator.client(TOM, place, "acquire")
    with (
        pytest.raises(HostError, match=f"acquired by {TOM}.*waited in vain"),
        acquired(place, "run1", wait_s=5.0),
    ):
        pytest.fail("it was held")
    assert MONA not in coordinator.queue()


@pytest.mark.parametrize("next_holder", [TOM, None])
def test_a_place_lost_during_the_run_is_noticed(
    coordinator: Coordinator, place: str, next_holder: str | None
) -> None:
    """Verify: the error says who has it now, and the run does not release it from them."""
    with acquired(place, "run1") as held:
        coordinator.client(TOM, place, "release", "--kick")
        if next_holder:
            coordinator.client(next_holder, place, "acquire")
        found = f"acquired by {next_holder}" if next_holder else "is free"
        for _ in range(2):
            with pytest.raises(ReservationLost, match=f"{place} was released .*: it .*{found}"):
                held.check()
    assert coordinator.holder(place) == str(next_holder)


def test_a_place_deleted_during_the_run_is_noticed(coordinator: Coordinator) -> None:
    coordinator.client(TOM, "brief", "create")
    with acquired("brief", "run1") as held:
        coordinator.client(TOM, "brief", "release", "--kick")
        coordinator.client(TOM, "brief", "delete")
        with pytest.raises(ReservationLost, match="there is no labgrid place `brief`"):
            held.check()


def test_what_a_killed_run_left_is_taken_over(coordinator: Coordinator, place: str) -> None:
    with other_run(place, "run1"):
        pass
    assert coordinator.holder(place) == MONA
    told: list[str] = []
    with acquired(place, "run2", tell=told.append):
        assert told == [f"labgrid place {place}: taken over from run run1, which was killed"]
    assert coordinator.holder(place) == "None"


def test_what_the_user_acquired_by_hand_stays_theirs(coordinator: Coordinator, place: str) -> None:
    coordinator.client(MONA, place, "acquire")
    for _ in range(2):
        told: list[str] = []
        with acquired(place, "run1", tell=told.append) as held:
            held.check()
        assert told == [f"labgrid place {place} was yours before this run, and stays so"]
        assert coordinator.holder(place) == MONA


def test_two_runs_of_one_user_do_not_share_it(coordinator: Coordinator, place: str) -> None:
    with other_run(place, "run1") as first:
        with pytest.raises(HostError, match=f"{place} is used by your run run1; .*--wait"):
            acquired(place, "run2").__enter__()

        def leave(text: str) -> None:
            told.append(text)
            assert first.stdin
            first.stdin.write("\n")
            first.stdin.flush()

        told: list[str] = []
        with acquired(place, "run2", wait_s=DEADLINE_S, tell=leave):
            assert first.wait(DEADLINE_S) == 0
            assert coordinator.holder(place) == MONA
        assert told == [f"waiting: labgrid place {place} is used by your run run1"]
    assert coordinator.holder(place) == "None"


def test_another_name_is_refused(place: str) -> None:
    """Verify: a part of a name, which labgrid would take, is none; what to write is said."""
    for name, advice in (("nowhere", "matches nothing"), (place[:7], f"write `{place}`")):
        with pytest.raises(InputError, match=f"no labgrid place `{name}`.*{advice}"):
            labgrid.preflight(name, waits=True)


def test_without_labgrid_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/bin/python")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(InputError, match=r"`rack1`.* pip install pytest-vswitch\[labgrid\]"):
        labgrid.preflight("rack1", waits=False)


def test_a_coordinator_that_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verify: a run goes on without it, and ends when, restarted, it knows of no holder."""
    own = Coordinator(tmp_path)
    own.start()
    try:
        monkeypatch.setenv("LG_COORDINATOR", own.address)
        own.client(TOM, "rack1", "create")
        told: list[str] = []
        with acquired("rack1", "run1", tell=told.append) as held:
            own.stop()
            held.check()
            assert len(told) == 1
            assert f"going on, though: cannot ask labgrid's coordinator at {own.address}" in told[0]
            own.start()  # it keeps what was there 15 s ago, so not the place
            with pytest.raises(ReservationLost):
                held.check()
    finally:
        own.stop()


def test_without_a_coordinator_the_run_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verify: nor is it told as a bug; the variable that names one is."""
    monkeypatch.setenv("LG_COORDINATOR", "127.0.0.1:1")
    with pytest.raises(HostError, match=r"127\.0\.0\.1:1 \(LG_COORDINATOR names another\)"):
        acquired("rack1", "run1").__enter__()
    with pytest.raises(InputError, match="cannot ask labgrid's coordinator"):
        labgrid.preflight("rack1", waits=True)
