"""A host serves one run at a time, whoever dies when; who waits gets it in order."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import leftovers, reservation
from pytest_vswitch.hosts.engine import LocalEngine
from pytest_vswitch.hosts.reservation import Claimant, Owner, Program, this_program
from pytest_vswitch.hosts.undo import Change
from tests.hosts.holders import _brisk, fork, here, hold, holders, start, state, waiting
from tests.hosts.machine import DEADLINE_S, running, wait_until

__all__ = ["_brisk", "start", "state"]

TIMES = 100

# --- one at a time ---


@pytest.mark.parametrize("queue", [False, True], ids=["refused", "queueing"])
def test_of_three_that_claim_at_the_same_instant_one_proceeds(
    state: Path, start: Callable[..., int], queue: bool
) -> None:
    barrier = fork.Barrier(4, timeout=DEADLINE_S)
    answers = fork.Queue()

    def claim(name: str) -> None:
        for number in range(TIMES):
            run = f"{name}{number}"
            engine = LocalEngine(run, state)
            who = Claimant(run, "mona@here", "pytest", this_program())
            barrier.wait()
            answers.put((run, engine.claim(who, queue)))
            barrier.wait()  # all have asked
            reservation.withdraw(state, run)
            if (state / run).exists():
                (state / run / "owner.json").unlink()
                (state / run).rmdir()
            barrier.wait()

    for name in "abc":
        start(claim, name)
    for _ in range(TIMES):
        barrier.wait()
        told = dict(answers.get(timeout=DEADLINE_S) for _ in range(3))
        (winner,) = [run for run, refusal in told.items() if refusal is None]
        # One that queues may have been kept back for one that was first in the queue.
        others = [refusal.owner.run for refusal in told.values() if refusal and refusal.owner]
        assert set(others) <= {winner}
        assert len(others) == 2 or queue
        assert holders(state) == [winner]
        barrier.wait()
        barrier.wait()


def test_whenever_the_holder_is_killed_the_next_finds_the_host_in_order(
    state: Path, tmp_path: Path, start: Callable[..., int]
) -> None:
    knob, made = tmp_path / "knob", tmp_path / "made"
    knob.write_text("before")

    def work(run: str) -> None:
        while True:
            with here(run, state) as host:
                os.write(writer, b".")
                with (
                    host.changing(Change("rewrote", str(knob), "before")),
                    host.changing(Change("made", str(made))),
                    host.spawn(["sh", "-c", "setsid sleep 3600 & sleep 3600"], name="it"),
                ):
                    host.write_text(str(knob), "changed")
                    host.run(["mkdir", "-p", str(made / "deep")])

    moment = random.Random(4)
    reader, writer = os.pipe()
    left = 0
    for number in range(TIMES):
        run = f"killed-{os.getpid()}-{number}"
        pid = start(work, run)
        if number % 4:  # else: perhaps before it holds the host
            os.read(reader, 1)
        time.sleep(moment.random() * 0.06)  # any moment
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not running(pid), "its death")  # noqa: B023
        left += bool(leftovers.find(state))
        with here(f"next-{os.getpid()}-{number}", state):
            assert knob.read_text() == "before"
            assert not made.exists()
            assert leftovers._marked(run) == []
            assert [path.name for path in state.iterdir() if path.name != ".queue"] == [
                f"next-{os.getpid()}-{number}"
            ]
        assert [path.name for path in state.iterdir() if path.name != ".queue"] == []
    os.close(reader)
    os.close(writer)
    assert left > TIMES / 2


def test_a_run_that_names_one_host_twice_keeps_it(state: Path, start: Callable[..., int]) -> None:
    """As `local` and as `localhost` over SSH, by an agent: the second claim undoes nothing."""
    start(hold, "run", state)
    wait_until(lambda: holders(state) == ["run"], "the holder")
    with pytest.raises(HostError, match="local is in use by run run of "):
        here("run", state).__enter__()
    assert holders(state) == ["run"]


# --- the queue ---


def test_who_waits_gets_the_host_in_order(state: Path, start: Callable[..., int]) -> None:
    reader, writer = os.pipe()

    def wait(name: str) -> None:
        with here(name, state, wait_s=3600):
            os.write(writer, name.encode())

    holder = start(hold, "holder", state)
    wait_until(lambda: holders(state) == ["holder"], "the holder")
    pids = {}
    for name in "abcde":
        pids[name] = start(wait, name)
        wait_until(lambda: waiting(state)[-1:] == [name], "its place")  # noqa: B023
    for name in "bd":
        os.kill(pids[name], signal.SIGKILL)
        wait_until(lambda: not running(pids[name]), "its death")  # noqa: B023
    assert waiting(state) == ["a", "c", "e"]
    with pytest.raises(HostError, match=r"in use by run holder .*, 3 in the queue before; `--w"):
        here("hasty", state).__enter__()
    assert waiting(state) == ["a", "c", "e"]
    os.kill(holder, signal.SIGKILL)
    told = b""
    while len(told) < 3:
        told += os.read(reader, 10)
    assert told == b"ace"
    wait_until(lambda: not waiting(state) and not holders(state), "the last to leave")
    os.close(reader)
    os.close(writer)


def test_who_waited_in_vain_keeps_nobody_waiting(state: Path, start: Callable[..., int]) -> None:
    start(hold, "holder", state)
    wait_until(lambda: holders(state) == ["holder"], "the holder")
    with pytest.raises(HostError, match=r"in use by run holder .*; waited 0.05 s in vain"):
        here("impatient", state, wait_s=0.05).__enter__()
    assert waiting(state) == []
    assert holders(state) == ["holder"]


def test_a_free_host_is_kept_for_who_waits(state: Path) -> None:
    patient = Claimant("patient", "mona@here", "pytest", this_program())
    (state / ".queue").mkdir(parents=True)
    ticket = {"claimant": asdict(patient), "program": asdict(this_program())}
    (state / ".queue/00000001-1").write_text(json.dumps(ticket))
    with pytest.raises(HostError, match="local is kept for who waits, 1 in the queue before"):
        here("hasty", state).__enter__()
    assert LocalEngine("patient", state).claim(patient, queue=True) is None
    assert waiting(state) == []


def test_a_place_of_the_dead_or_unreadable_is_none(state: Path) -> None:
    (state / ".queue").mkdir(parents=True)
    dead = replace(this_program(), start_ticks=1)
    ticket = {"claimant": asdict(Claimant("x", "y", "z", dead)), "program": asdict(dead)}
    (state / ".queue/00000007-1").write_text(json.dumps(ticket))
    (state / ".queue/00000008-1").write_text("{")
    assert reservation.queue(state) == []
    with here("next", state, wait_s=1):
        assert holders(state) == ["next"]
    assert not (state / ".queue/00000007-1").exists()


def test_ctrl_c_while_waiting_gives_up_the_place(state: Path, start: Callable[..., int]) -> None:
    def wait() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            hold("waiter", state, 3600)
        time.sleep(3600)

    start(hold, "holder", state)
    wait_until(lambda: holders(state) == ["holder"], "the holder")
    pid = start(wait)
    wait_until(lambda: waiting(state) == ["waiter"], "its place")
    os.kill(pid, signal.SIGINT)
    wait_until(lambda: waiting(state) == [], "its leave")
    assert running(pid)


# --- who is alive ---


CONTROLLER = """
import sys, time
from pathlib import Path
from pytest_vswitch.hosts.transcript import Transcript
from tests.hosts.pipes import Cable, PipedHost

with PipedHost("remote", Transcript(None), Cable(state=Path(sys.argv[1])), 3600.0) as host:
    print(host.agent, flush=True)
    time.sleep(3600)
"""


def test_an_agent_whose_pytest_was_killed_here_is_ended_at_once(state: Path) -> None:
    argv = [sys.executable, "-c", CONTROLLER, str(state)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as controller:
        assert controller.stdout is not None
        agent = int(controller.stdout.readline())
        with pytest.raises(HostError, match="local is in use by run remote of "):
            here("hasty", state).__enter__()
        controller.kill()
    assert running(agent)  # it waits for its controller
    told: list[str] = []
    host = here("next", state)
    host.tell = told.append
    with host:
        assert not running(agent)
        assert holders(state) == ["next"]
    assert told == [told[0]]
    assert re.fullmatch(r"local: ending run remote of .*, whose pytest is gone", told[0])


def owned(state: Path, program: Program) -> None:
    """A run that some process holds, for one on another machine."""
    there = replace(this_program(), boot_id="another machine's")
    owner = Owner(Claimant("other", "mona@ci7", "pytest", there), program, "2026-01-01T00:00:00")
    (state / "other").mkdir(parents=True)
    (state / "other/owner.json").write_text(json.dumps(asdict(owner)))


@pytest.mark.parametrize("pid", ["this", "none"])
def test_one_in_another_container_is_never_taken_for_dead(state: Path, pid: str) -> None:
    """Whatever process has that number here, or if none has."""
    program = replace(this_program(), namespace="pid:[1]")
    owned(state, program if pid == "this" else replace(program, pid=1 << 30, start_ticks=1))
    assert holders(state) == ["other"]
    assert leftovers.find(state) == []
    with pytest.raises(HostError, match="local is in use by run other of mona@ci7"):
        here("next", state).__enter__()
    with pytest.raises(HostError, match="is in another container"):
        reservation.evict(state, "other", by="eve", force=True)  # would end this process
    reservation.evict(state, "other", by="eve", force=False)
    assert reservation.taken(state / "other") == "eve"


@pytest.mark.parametrize(
    "change", [{"boot_id": "before the last boot"}, {"start_ticks": 1}, {"pid": 1 << 30}]
)
def test_one_that_was_is_dead(state: Path, change: dict[str, Any]) -> None:
    owned(state, replace(this_program(), **change))
    assert holders(state) == []
    with here("next", state):
        assert holders(state) == ["next"]
    assert not (state / "other").exists()


def test_the_two_sides_of_a_real_container(state: Path) -> None:
    script = (
        "import sys; sys.argv[1:] or 0\n"
        + CONTROLLER.partition("with PipedHost")[0]
        + (
            "from pytest_vswitch.errors import HostError\n"
            "from pytest_vswitch.hosts.local import LocalHost\n"
            "from pytest_vswitch.hosts import reservation\n"
            "with LocalHost('inside', Transcript(None), Path(sys.argv[1])):\n"
            "    print(reservation.this_program().pid, flush=True); input()\n"
            "print('left', flush=True); input()\n"
            "try:\n"
            "    LocalHost('again', Transcript(None), Path(sys.argv[1])).__enter__()\n"
            "except HostError as error: print(error, flush=True)\n"
        )
    )
    unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    with subprocess.Popen(
        [*unshare, sys.executable, "-c", script, str(state)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as container:
        assert container.stdout is not None
        assert container.stdin is not None
        assert container.stdout.readline() == "1\n"
        with pytest.raises(HostError, match="in use by run inside "):
            here("outside", state).__enter__()
        container.stdin.write("\n")
        container.stdin.flush()
        assert container.stdout.readline() == "left\n"
        with here("outside", state):
            out, _ = container.communicate("\n", timeout=DEADLINE_S)
        assert "local is in use by run outside " in out


# --- a host that cannot be written to ---


DISK = """
import os, sys
from pathlib import Path
from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.hosts.undo import Change

state, read_only = Path(sys.argv[1]), len(sys.argv) > 2
for free in range(6):
    if not read_only:
        (state / "filler").write_bytes(bytes(4096 * (8 - free)))
    try:
        with LocalHost(f"run{free}", Transcript(None), state) as host:
            with host.changing(Change("made", "/nonexistent")):
                print("changed")
    except HostError as error:
        print(str(error).replace("\\n", " "))
    print(sorted(set(os.listdir(state)) - {"filler"}))
"""


@pytest.mark.parametrize("why", ["full", "read-only"])
def test_a_disk_that_takes_nothing(state: Path, why: str) -> None:
    """Each page more that is free lets it get further; whatever it did is undone."""
    state.mkdir()
    script = 'mount -t tmpfs -o size=32k none "$0" && '
    script += 'mount -o remount,ro "$0" && ' if why == "read-only" else ""
    argv = ["unshare", "--mount", "sh", "-c", script + 'exec "$@"', str(state)]
    argv += [sys.executable, "-c", DISK, str(state), *(["ro"] if why == "read-only" else [])]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    words = done.stdout.splitlines()
    assert set(words[1::2]) == {"[]"}, words
    no_journal = (
        r"local: (cannot keep a journal there, so nothing is changed|no undo journal, so no "
        r"changes): \[Errno (28|30)\] .*"
    )
    errors = [word for word in words[::2] if word != "changed"]
    assert all(re.fullmatch(no_journal, word) for word in errors), words
    assert len(errors) >= 2
    assert (words[-2] == "changed") == (why == "full"), words


def test_a_file_in_place_of_the_state_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match="local: cannot keep a journal there, so nothing is chang"):
        here("run", tmp_path / "file/state").__enter__()
