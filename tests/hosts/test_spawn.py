"""Programs that run for a while: read from, written to, and ended."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts import child as children
from pytest_vswitch.hosts.child import Child
from pytest_vswitch.hosts.host_process import HostProcess
from pytest_vswitch.hosts.local import LocalHost
from tests.hosts.machine import DEADLINE_S, running, wait_until

READY = re.compile("ready\n")


def start(host: LocalHost, script: str, *, stop_with: str = "") -> HostProcess:
    """A shell script that says `ready` once it can be judged."""
    program = host.spawn(["sh", "-c", script], name="it", stop_with=stop_with)
    program.read_until(READY, timeout_s=DEADLINE_S, what="start")
    return program


def write_much(program: HostProcess) -> None:
    for _ in range(1000):
        program.write("x" * 4096)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who ends by itself gets all the time it needs: the test would hang if it did not."""
    monkeypatch.setattr(children, "GRACE_S", DEADLINE_S)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "GRACE_S", 0.1)
    monkeypatch.setattr(children, "TAKE_S", 0.1)


def test_text_is_read_up_to_a_pattern_and_not_again(host: LocalHost) -> None:
    with start(host, "echo ready; echo a 1; echo a 2; cat") as program:
        number = re.compile(r"a \d")
        assert program.read_until(number, timeout_s=DEADLINE_S, what="a number") == "a 1"
        assert program.read_until(number, timeout_s=DEADLINE_S, what="a number") == "\na 2"
        program.write("a 3\n")
        assert program.read_until(number, timeout_s=DEADLINE_S, what="a number") == "\na 3"


def test_more_than_a_pipe_holds_is_written(host: LocalHost) -> None:
    with start(host, "echo ready; wc -c") as program:
        program.write("x" * 1_000_000 + "\n")
        assert isinstance(program._child, Child)
        assert program._child._popen.stdin is not None
        program._child._popen.stdin.close()
        text = program.read_until(re.compile(r"\d+\n"), timeout_s=DEADLINE_S, what="count")
        assert text == "1000001\n"


def test_carriage_returns_and_split_characters(host: LocalHost) -> None:
    script = r"printf 'ready\nGr\303'; read go; printf '\274n\r\n'; cat"
    with start(host, script) as program:
        wait_until(lambda: "Gr" in program.tail(), "first half")
        program.write("\n")
        text = program.read_until(re.compile("n\n"), timeout_s=DEADLINE_S, what="second half")
        assert text == "Grün\n"


def test_expiry_names_what_was_waited_for_and_quotes_the_last_output(host: LocalHost) -> None:
    with (
        start(host, "echo ready; echo last words; cat") as program,
        pytest.raises(DutError) as error,
    ):
        program.read_until(re.compile("never"), timeout_s=0.3, what="link up")
    assert str(error.value) == (
        "it: no link up within 0.3 s; its last output:\n    ready\n    last words"
    )


def test_a_silent_program_is_said_to_be_silent(host: LocalHost) -> None:
    with host.spawn(["cat"], name="it") as program, pytest.raises(DutError, match=r"said nothing$"):
        program.read_until(READY, timeout_s=0.05, what="word")


def test_an_end_is_told_at_once_with_the_last_output(host: LocalHost) -> None:
    with start(host, "echo ready; echo out of memory; exit 4") as program:
        with pytest.raises(DutError, match=r"it ended before link up; .*\n.*\n    out of memory$"):
            program.read_until(re.compile("never"), timeout_s=3600, what="link up")
        wait_until(lambda: program.status() is not None, "exit status")
        assert program.status() == 4
        with pytest.raises(DutError, match=r"(?s)it no longer takes input .*out of memory$"):
            program.write("more\n")
    assert program.status() == 4


def test_only_the_newest_of_what_nobody_reads_is_held(host: LocalHost) -> None:
    script = "echo ready; yes 0123456789abcdef | head -c 5000000; echo end; cat"
    with start(host, script) as program:
        text = program.read_until(re.compile("end\n"), timeout_s=DEADLINE_S, what="its end")
    assert text.endswith("0123456789aend\n")
    assert len(text) < 2_000_000
    assert len(program.console._text) < 2_000_000


@pytest.mark.usefixtures("patient")
def test_asked_to_end_by_its_own_word(host: LocalHost) -> None:
    script = 'echo ready; read word; [ "$word" = quit ] && exit 5'
    with start(host, script, stop_with="quit\n") as program:
        assert program.status() is None
    assert program.status() == 5


@pytest.mark.usefixtures("patient")
def test_asked_to_end_by_a_signal(host: LocalHost) -> None:
    with start(host, "trap 'exit 6' TERM; echo ready; while :; do sleep 0.01; done") as program:
        pass
    assert program.status() == 6


@pytest.mark.usefixtures("impatient")
def test_who_ignores_the_signal_is_killed(host: LocalHost) -> None:
    with start(host, "trap '' TERM; echo ready; while :; do sleep 1; done") as program:
        pass
    assert program.status() == -signal.SIGKILL


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("stop_with", ["", "quit\n"])
def test_who_is_frozen_is_killed(host: LocalHost, stop_with: str) -> None:
    with start(host, "echo ready; read word", stop_with=stop_with) as program:
        os.kill(program.pid, signal.SIGSTOP)
    # Woken to be killed, it may find the request to end first.
    assert program.status() in (-signal.SIGKILL, -signal.SIGTERM)


@pytest.mark.usefixtures("impatient")
def test_a_frozen_program_blocks_nobody_who_writes(host: LocalHost) -> None:
    with start(host, "echo ready; read word; cat", stop_with="quit\n") as program:
        os.kill(program.pid, signal.SIGSTOP)
        with pytest.raises(DutError, match=r"it no longer takes input .*stopped reading"):
            write_much(program)
    assert program.status() == -signal.SIGKILL


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("early", [True, False], ids=["ended-before", "ends-when-asked"])
def test_what_it_started_ends_with_it(host: LocalHost, tmp_path: Path, early: bool) -> None:
    child = tmp_path / "child"
    script = f"sleep 3600 & echo $! > {child}; echo ready; {'exit' if early else 'cat'}"
    with start(host, script) as program:
        pid = int(child.read_text())
        if early:
            wait_until(lambda: program.status() is not None, "end of the shell")
        assert running(pid)
    wait_until(lambda: not running(pid), "end of the child")


def test_a_child_that_left_the_group_ends_with_the_run(host: LocalHost, tmp_path: Path) -> None:
    child = tmp_path / "child"
    script = f"setsid sh -c 'echo $$ > {child}; echo ready; exec sleep 3600' & cat"
    with start(host, script) as program:
        pass
    assert running(pid := int(child.read_text()))
    assert not program.console.close()  # the child still holds its output
    host.__exit__(None, None, None)
    assert not running(pid)
    wait_until(program.console.close, "end of the console's thread")


def test_a_program_ends_although_the_block_fails(host: LocalHost) -> None:
    with pytest.raises(ZeroDivisionError), start(host, "echo ready; cat") as program:
        _ = 1 / 0
    assert program.status() is not None
    assert not running(program.pid)


def test_stopping_twice_does_no_harm(host: LocalHost) -> None:
    with start(host, "echo ready; cat") as program:
        program.stop()
    assert program.status() == -signal.SIGTERM
