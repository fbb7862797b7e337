"""What a killed run leaves is found, and undone, by the next; a living run is let alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import leftovers, reservation
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.reservation import Claimant, Program
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.hosts.undo import Change, UndoJournal
from tests.hosts.machine import DEADLINE_S, running, wait_until

RUN = f"killed-{os.getpid()}"

OWNER = """
import re, sys
from pathlib import Path
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.hosts.undo import Change

state, knob, logs, run = sys.argv[1:]
with LocalHost(run, Transcript(Path(logs)), Path(state)) as host:
    with host.changing(Change("rewrote", knob, "before")):
        host.write_text(knob, "changed")
        # It leaves its group and parent: neither a signal nor the death of its parent reaches it.
        detached = "setsid sh -c 'trap \\"\\" TERM; echo $$; exec sleep 3600' & wait"
        with host.spawn(["sh", "-c", detached], name="it") as program:
            print(program.read_until(re.compile("\\\\d+\\n"), timeout_s=60, what="pid"), flush=True)
            input()
"""


def claim(directory: Path) -> reservation.Refusal | None:
    """For a run of this process."""
    who = Claimant(directory.name, "mona@here", "pytest", reservation.this_program())
    return reservation.claim(directory, who)


class Other:
    """Another process that owns a run, has changed a file and started a program."""

    def __init__(self, state: Path, knob: Path, logs: Path) -> None:
        argv = [sys.executable, "-c", OWNER, str(state), str(knob), str(logs), RUN]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.program = int(self.process.stdout.readline())

    def end(self) -> None:
        self.process.communicate("\n", timeout=DEADLINE_S)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def knob(tmp_path: Path) -> Path:
    (tmp_path / "knob").write_text("before")
    return tmp_path / "knob"


@pytest.fixture
def other(state: Path, knob: Path, tmp_path: Path) -> Iterator[Other]:
    process = Other(state, knob, tmp_path)
    yield process
    process.process.kill()
    process.process.communicate()
    leftovers.kill_marked(RUN)


def test_a_living_run_is_respected(other: Other, state: Path, knob: Path, tmp_path: Path) -> None:
    assert leftovers.find(state) == []
    assert [(owner.run, owner.pid) for owner in reservation.owners(state)] == [
        (RUN, other.process.pid)
    ]
    assert running(other.program)
    assert knob.read_text() == "changed"
    refusal = claim(state / "second")
    assert refusal
    assert refusal.owner
    assert refusal.owner.run == RUN
    words = rf"local is in use by run {RUN} of \S+ \(pid {other.process.pid} there, since "
    second = LocalHost("second", Transcript(tmp_path), state)
    with pytest.raises(HostError, match=words), second:
        pass
    other.end()
    assert not running(other.program)
    assert knob.read_text() == "before"
    assert list(state.iterdir()) == []
    assert claim(state / "second") is None


def test_a_killed_run_is_found_and_cleaned(other: Other, state: Path, knob: Path) -> None:
    os.kill(other.process.pid, signal.SIGKILL)
    # Still a zombie here: dead all the same.
    wait_until(lambda: not running(other.process.pid), "death of the owner")
    assert reservation.owners(state) == []
    [left] = leftovers.find(state)
    assert left.run == RUN
    assert other.program in dict(left.processes)
    assert left.changes == (Change("rewrote", str(knob), "before"),)

    leftovers.clean(left.directory)
    assert not running(other.program)
    assert knob.read_text() == "before"
    assert leftovers.find(state) == []
    assert list(state.iterdir()) == []


def test_the_kernel_ends_the_programs_of_a_killed_run(tmp_path: Path, state: Path) -> None:
    script = OWNER.replace("setsid sh", "sh").replace("& wait", "").replace("sh -c '", "")
    script = script.replace("; exec sleep 3600'", "; exec sleep 3600")
    argv = [sys.executable, "-c", script, str(state), str(tmp_path / "knob"), str(tmp_path), RUN]
    (tmp_path / "knob").write_text("before")
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        program = int(owner.stdout.readline())
        assert running(program)
        owner.kill()
    wait_until(lambda: not running(program), "end of the program")


def dead(state: Path, name: str, boot: str, *changes: Change) -> None:
    """A run of a process that is gone."""
    claim(state / name)
    owner = json.loads((state / name / "owner.json").read_text())
    program = owner["program"]
    program |= {"start_ticks": program["start_ticks"] - 1, "boot_id": boot}
    (state / name / "owner.json").write_text(json.dumps(owner))
    for change in changes:
        UndoJournal(state / name / "undo.jsonl").note(change)


def test_a_pid_that_was_given_away_again_is_no_owner(state: Path) -> None:
    dead(state, "old", reservation.boot_id())
    assert reservation.owners(state) == []
    assert [left.run for left in leftovers.find(state)] == ["old"]


def test_a_reboot_has_undone_what_was_in_the_kernel(state: Path, tmp_path: Path) -> None:
    lasting = Change("made", str(tmp_path / "file"))
    gone = [
        Change("rewrote", "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "77"),
        Change("rewrote", "/proc/sys/vm/nr_hugepages", "77"),
        Change("made", "/run/it"),
        Change("made", "/var/run/dpdk/it"),
    ]
    dead(state, "a", "another-boot", *gone, lasting)
    dead(state, "b", reservation.boot_id(), *gone, lasting)
    later, earlier = leftovers.find(state)
    assert later.changes == (lasting, *reversed(gone))
    assert earlier.changes == (lasting,)


def test_runs_are_undone_newest_first(state: Path, knob: Path) -> None:
    knob.write_text("3")
    dead(state, "20260101-000000-1", "x", Change("rewrote", str(knob), "1"))
    dead(state, "20260102-000000-1", "x", Change("rewrote", str(knob), "2"))
    for left in leftovers.find(state):
        leftovers.clean(left.directory)
    assert knob.read_text() == "1"


def test_one_stuck_change_does_not_keep_the_others(state: Path, tmp_path: Path) -> None:
    made, stuck = tmp_path / "made", tmp_path / "none/knob"
    made.touch()
    changes = (Change("made", str(made)), Change("rewrote", str(stuck), "1"))
    dead(state, "old", "x", *changes)
    [left] = leftovers.find(state)
    with pytest.raises(HostError, match=f"run old left what could not be undone:\n  {stuck} "):
        leftovers.clean(left.directory)
    assert not made.exists()
    assert [left.changes for left in leftovers.find(state)] == [(changes[1],)]


def test_changes_are_undone_although_a_process_cannot_be_killed(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "made"
    made.touch()
    dead(state, "old", "x", Change("made", str(made)))

    def fail(run: str) -> None:
        raise HostError("cannot be killed: testpmd (1)")

    monkeypatch.setattr(leftovers, "kill_marked", fail)
    with pytest.raises(HostError, match=r"cannot be killed: testpmd \(1\)"):
        leftovers.clean(leftovers.find(state)[0].directory)
    assert not made.exists()
    assert (state / "old").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', None])
def test_a_directory_without_a_readable_owner_is_a_dead_runs(
    state: Path, content: str | None
) -> None:
    (state / "old").mkdir(parents=True)
    if content is not None:
        (state / "old/owner.json").write_text(content)
    [left] = leftovers.find(state)
    leftovers.clean(left.directory)
    assert not (state / "old").exists()


def test_a_run_is_never_seen_without_its_owner(state: Path) -> None:
    """Another run that looks while this one is claimed must not take it for a dead one."""
    state.mkdir()
    found: list[object] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            found.extend(leftovers.find(state))

    looker = threading.Thread(target=look)
    looker.start()
    for number in range(60):
        assert claim(state / f"run{number}") is None
    done.set()
    looker.join()
    assert found == []
    assert len(reservation.owners(state)) == 60


def test_of_two_runs_that_begin_at_once_one_gets_the_host(state: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from pytest_vswitch.hosts.local import LocalHost\n"
        "from pytest_vswitch.hosts.transcript import Transcript\n"
        "input()\n"
        "with LocalHost(sys.argv[2], Transcript(None), Path(sys.argv[1])):\n"
        "    print('mine', flush=True); input()"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(state), f"run{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    words = []
    for racer in racers:
        assert racer.stdout is not None
        words.append(racer.stdout.readline())
    ends = [racer.communicate("end\n")[1] for racer in racers]
    assert sorted(words) == ["", "", "", "mine\n"]
    assert sum("in use by run run" in end for end in ends) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_user_sees_the_owner_and_nothing_else(host: LocalHost) -> None:
    state = Path(host.scratch).parent
    for directory in (state, state.parent):
        directory.chmod(0o755)
    reader, writer = os.pipe()
    with host.changing(Change("made", "/nonexistent/x")):
        if not (child := os.fork()):
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            told = [str([owner.pid for owner in reservation.owners(state)])]
            Program.alive = property(lambda program: False)  # type: ignore[assignment]
            try:
                leftovers.find(state)
            except HostError as error:
                told.append(str(error))
            os.write(writer, "\n".join(told).encode())
            os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)
    with open(reader) as pipe:
        assert pipe.read() == (
            f"[{os.getpid()}]\nrun {Path(host.scratch).name} is another user's: run this as root"
        )
