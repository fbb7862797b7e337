"""The agent ends in order whatever becomes of it, of its controller and of the connection."""

from __future__ import annotations

import ast
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.errors import HostError, ReservationLost
from pytest_vswitch.hosts import bootstrap, leftovers
from pytest_vswitch.hosts.engine import LocalEngine
from pytest_vswitch.hosts.host import Process
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.hosts.undo import Change
from tests.hosts.machine import DEADLINE_S, running, wait_until
from tests.hosts.pipes import Cable, PipedHost

READY = re.compile("ready (\\d+)\n")


class Held:
    """A host behind an agent, with a change and a program that ignores polite requests."""

    def __init__(self, directory: Path, reconnect_s: float) -> None:
        self.state = directory / "state"
        self.cable = Cable(state=self.state)
        self.host = PipedHost(f"t{os.getpid()}", Transcript(directory), self.cable, reconnect_s)
        self.host.__enter__()
        self.knob = directory / "knob"
        self.knob.write_text("before")
        self.host.engine.note(Change("rewrote", str(self.knob), "before"))
        self.knob.write_text("changed")
        script = "trap '' TERM; setsid sleep 3600 & echo ready $!; while :; do sleep 1; done"
        self.program: Process = self.host.spawn(["sh", "-c", script], name="it")
        self.program.read_until(READY, timeout_s=DEADLINE_S, what="start")

    def pids(self) -> list[int]:
        """Of the agent, and all that runs for the run."""
        marked = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if f"PYTEST_VSWITCH_RUN=t{os.getpid()}\0".encode() in path.read_bytes() + b"\0":
                    marked.append(int(path.parent.name))
            except OSError:
                continue
        return [pid for pid in (self.host.agent, *marked) if running(pid)]

    def assert_in_order(self) -> None:
        assert self.knob.read_text() == "before"
        assert list(self.state.iterdir()) == []
        assert self.pids() == []


@pytest.fixture
def held(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Held]:
    held = Held(tmp_path, getattr(request, "param", DEADLINE_S))
    wait_until(lambda: len(held.pids()) >= 4, "the program, and what it starts")
    yield held
    held.host.link.close()
    held.cable.close()
    # It puts things in order after its good-bye.
    wait_until(lambda: not running(held.host.agent), "end of the agent")
    leftovers.clean(held.state / f"t{os.getpid()}")


def test_what_was_not_ended_ends_with_good_bye(held: Held) -> None:
    threads = {thread for thread in threading.enumerate() if thread.name.startswith("piped ")}
    held.host.link.close()
    wait_until(lambda: not running(held.host.agent), "end of the agent")
    held.assert_in_order()
    assert not [thread for thread in threads if thread.is_alive()]
    with pytest.raises(HostError, match="piped: the connection is closed"):
        held.host.run(["true"])


@pytest.mark.parametrize("held", [0.5], indirect=True)
def test_a_controller_that_does_not_come_back(held: Held) -> None:
    held.cable.cut()
    wait_until(lambda: not running(held.host.agent), "end of the agent")
    held.assert_in_order()
    with pytest.raises(HostError, match=r"piped: lost \d+ s ago: the cable is cut"):
        held.host.run(["true"])


@pytest.mark.parametrize("held", [0.5], indirect=True)
def test_a_controller_that_is_gone_in_the_middle_of_a_command(held: Held) -> None:
    """The agent waits neither for the command nor for who would read its output."""
    begun = Path(held.host.scratch) / "begun"
    held.host.link.send("run", argv=["sh", "-c", f"touch {begun}; exec sleep 3600"], limit_s=3600.0)
    held.host.engine.spawn(["yes"], "yes")
    wait_until(begun.exists, "the command")
    held.cable.cut()
    wait_until(lambda: not running(held.host.agent), "end of the agent")
    held.assert_in_order()
    with pytest.raises(HostError, match="lost"):
        held.program.status()


def test_a_killed_agent(held: Held, tmp_path: Path) -> None:
    """Its programs die, the error says so, the next run puts the host in order."""
    shell = held.program.pid
    os.kill(held.host.agent, signal.SIGKILL)
    wait_until(lambda: not running(shell), "end of the program")
    with pytest.raises(HostError, match=r"piped: lost \d+ s ago: the agent of this run is gone"):
        held.host.run(["true"])
    assert held.knob.read_text() == "changed"
    told: list[str] = []
    following = LocalHost(f"t{os.getpid()}-next", Transcript(tmp_path), held.state)
    following.tell = told.append
    with following:
        assert held.knob.read_text() == "before"
        assert held.pids() == []
    assert len(told) == 1
    assert f"removed what run t{os.getpid()} left: " in told[0]
    assert str(held.knob) in told[0]
    held.assert_in_order()


def test_one_that_is_told_to_leave_names_who_took_the_host(held: Held) -> None:
    held.host.check_reserved()
    LocalEngine("other", held.state).evict(f"t{os.getpid()}", "eve@there", force=False)
    with pytest.raises(ReservationLost, match="piped was taken from this run, by eve@there"):
        held.host.check_reserved()
    assert held.host.run(["echo", "on"]).output == "on\n"


def test_one_that_is_ended_names_who_took_the_host(held: Held) -> None:
    LocalEngine("other", held.state).evict(f"t{os.getpid()}", "eve@there", force=True)
    held.assert_in_order()
    wait_until(lambda: held.host.link._failure, "the news")
    for _ in range(2):
        with pytest.raises(ReservationLost, match="piped was taken from this run, by eve@there"):
            held.host.run(["true"])


def test_an_agent_that_is_terminated_in_the_middle_of_a_command(held: Held) -> None:
    begun = Path(held.host.scratch) / "begun"
    held.host.link.send("run", argv=["sh", "-c", f"touch {begun}; exec sleep 3600"], limit_s=3600.0)
    wait_until(begun.exists, "the command")
    os.kill(held.host.agent, signal.SIGTERM)
    wait_until(lambda: not running(held.host.agent), "end of the agent")
    held.assert_in_order()
    with pytest.raises(HostError, match="the agent has ended this run there: it was told to end"):
        held.host.run(["true"])


def test_a_relay_that_nobody_greets_ends(tmp_path: Path) -> None:
    """A controller that dies before its first word."""
    cable = Cable(state=tmp_path / "state")
    pipe, _ = cable.open({"run": "none", "reconnect_s": 0.5})
    (agent,) = agents_of(pipe.process.pid)
    cable.cut()
    wait_until(lambda: not running(agent), "end of the agent")
    cable.close()


def agents_of(shell: int) -> list[int]:
    """Of the agent that a relay has started: it runs the same command, in another session."""
    command = Path(f"/proc/{shell}/cmdline").read_bytes()
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == command and int(path.parent.name) != shell:
                found.append((path.stat().st_ctime_ns, int(path.parent.name)))
        except OSError:
            continue
    return [pid for _, pid in sorted(found)[-1:]]


# --- what it is made of ---


@pytest.mark.parametrize("module", sorted(bootstrap.modules()))
def test_its_sources_are_for_the_oldest_python(module: str) -> None:
    source = bootstrap.modules()[module]
    tree = ast.parse(source, feature_version=bootstrap.OLDEST)
    imported = {
        name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in _names(node)
    }
    ours = {name for name in imported if name.startswith("pytest_vswitch")}
    assert {name.partition(".")[0] for name in imported - ours} <= _OLD_LIBRARY
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg}
    assert not used & _NEWER
    evaluated = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not evaluated or "annotations" in {
        alias.name for node in evaluated for alias in node.names if node.module == "__future__"
    }


def _names(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names]


_OLD_LIBRARY = {
    *("__future__", "collections", "contextlib", "dataclasses", "enum", "errno", "fcntl"),
    *("functools", "glob", "hashlib", "importlib", "ipaddress", "itertools", "json", "math"),
    *("os", "pathlib", "queue", "re", "select", "shutil", "signal", "socket", "stat"),
    *("struct", "subprocess", "sys", "tempfile", "threading", "time", "typing", "zlib"),
}
"""Of the standard library of Python 3.8."""

_NEWER = {
    *("removeprefix", "removesuffix", "is_relative_to", "with_stem", "hardlink_to"),
    *("waitstatus_to_exitcode", "randbytes", "lcm", "bit_count", "pairwise", "batched", "cache"),
    *("slots", "kw_only", "strict", "root_dir", "process_group", "file_digest", "walk_up"),
}
"""Methods, functions and arguments that came later, of those that one could want."""
