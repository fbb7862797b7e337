"""A connection that is lost at any byte, any number of times, changes nothing."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import bootstrap
from pytest_vswitch.hosts.host_process import EngineChild
from pytest_vswitch.hosts.link import begin
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.hosts.undo import Change, UndoJournal
from tests.hosts.machine import DEADLINE_S, running, wait_until
from tests.hosts.pipes import Cable, Pipe, PipedHost, piped

CUTS = 50


@pytest.fixture
def host(tmp_path: Path) -> Iterator[PipedHost]:
    with piped(tmp_path) as host:
        yield host


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


@dataclass(frozen=True)
class Storm:
    """What was seen of a host whose connection was cut again and again."""

    interruptions: int
    asked: int
    """How many numbers a command was to append, one each."""
    appended: list[str]
    appended_bytes: bytes
    changes_left: int
    printed: bytes
    """By a program that counts."""
    echoed: bytes
    written: bytes
    """To a program that echoes."""


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Storm:
    with piped(tmp_path_factory.mktemp("storm")) as host:
        return _storm(host)


def _storm(host: PipedHost) -> Storm:
    numbers, data = f"{host.scratch}/numbers", f"{host.scratch}/data"
    over = threading.Event()
    counting = "i=0; while :; do i=$((i+1)); echo $i; [ $((i%100)) = 0 ] && sleep 0.01; done"
    counter = host.engine.spawn(["sh", "-c", counting], "counter")
    echo = host.engine.spawn(["cat"], "echo")
    append = "sleep 0.01; echo $0 >> $1; echo $0"

    def ask() -> int:
        asked = 0
        while not over.is_set():
            asked += 1
            done = host.run(["sh", "-c", append, str(asked), numbers])
            assert done.output == f"{asked}\n"
        return asked

    def write() -> bytes:
        written = b""
        while not over.is_set():
            part = b"%d," % len(written)
            echo.write(part)
            host.append(data, part)
            written += part
        return written

    def read(child: EngineChild) -> bytes:
        heard = b""
        while part := child.read():
            heard += part
        return heard

    def change() -> None:
        while not over.is_set():
            with host.changing(Change("made", f"{host.scratch}/made")):
                pass

    with ThreadPoolExecutor() as pool:
        asking, writing, changing = pool.submit(ask), pool.submit(write), pool.submit(change)
        printed, echoed = pool.submit(read, counter), pool.submit(read, echo)
        moment = random.Random(1)
        try:
            for cut in range(1, CUTS + 1):
                host.cable.blink()
                wait_until(lambda: len(host.link.interruptions) >= cut, "a new connection")  # noqa: B023
                time.sleep(moment.random() * 0.05)  # so that it happens at any byte
        finally:
            over.set()
        asked, written = asking.result(DEADLINE_S), writing.result(DEADLINE_S)
        changing.result(DEADLINE_S)
        wait_until(lambda: counter.stop(b"") >= 0, "end of the counter")
        echo.stop(b"")
        return Storm(
            interruptions=len(host.link.interruptions),
            asked=asked,
            appended=host.read_text(numbers).split(),
            appended_bytes=host.read_bytes(data),
            changes_left=len(UndoJournal(Path(host.scratch) / "undo.jsonl").pending()),
            printed=printed.result(DEADLINE_S),
            echoed=echoed.result(DEADLINE_S),
            written=written,
        )


def test_every_command_runs_exactly_once(storm: Storm) -> None:
    assert storm.interruptions == CUTS
    assert storm.asked > CUTS
    assert storm.appended == [str(number) for number in range(1, storm.asked + 1)]


def test_every_byte_is_written_exactly_once(storm: Storm) -> None:
    assert len(storm.written) > CUTS
    assert storm.appended_bytes == storm.written
    assert storm.changes_left == 0


def test_a_programs_input_and_output_are_whole(storm: Storm) -> None:
    assert storm.echoed == storm.written
    *lines, rest = storm.printed.split(b"\n")
    assert len(lines) > 100 * CUTS
    assert lines == [b"%d" % number for number in range(1, len(lines) + 1)]
    assert (b"%d" % (len(lines) + 1)).startswith(rest)


def test_a_command_goes_on_while_the_connection_is_gone(
    host: PipedHost, pool: ThreadPoolExecutor
) -> None:
    begun, go, ended = (Path(host.scratch) / name for name in ("begun", "go", "ended"))
    script = f"touch {begun}; until [ -e {go} ]; do sleep 0.01; done; echo done; touch {ended}"
    running_ = pool.submit(host.run, ["sh", "-c", script])
    wait_until(begun.exists, "the command")
    host.cable.cut()
    go.touch()
    wait_until(ended.exists, "its end")
    host.cable.mend()
    assert running_.result(DEADLINE_S).output == "done\n"
    assert len(host.link.interruptions) == 1


def test_nobody_waits_for_anothers_command(host: PipedHost, pool: ThreadPoolExecutor) -> None:
    begun, go = (Path(host.scratch) / name for name in ("begun", "go"))
    script = f"touch {begun}; until [ -e {go} ]; do sleep 0.01; done"
    with host.spawn(["cat"], name="cat") as cat:
        command = pool.submit(host.run, ["sh", "-c", script])
        status = pool.submit(cat.status, within_s=DEADLINE_S)
        wait_until(begun.exists, "the command")
        cat.write("meow\n")
        cat.read_until(re.compile("meow"), timeout_s=DEADLINE_S, what="echo")
        host.write_text(str(go), "")
        assert command.result(DEADLINE_S).status == 0
        cat.signal(signal.SIGTERM)
        assert status.result(DEADLINE_S) == -signal.SIGTERM


def test_much_in_both_directions_at_once(host: PipedHost, pool: ThreadPoolExecutor) -> None:
    """Neither waits for the other: nothing is cut off as silent."""
    data = random.Random(2).randbytes(16 << 20)
    there, back = f"{host.scratch}/there", f"{host.scratch}/back"
    host.write_bytes(back, data)
    reads = [pool.submit(host.read_bytes, back) for _ in range(2)]
    writes = [pool.submit(host.write_bytes, f"{there}{number}", data) for number in range(2)]
    for number, write in enumerate(writes):
        write.result(DEADLINE_S)
        assert Path(f"{there}{number}").read_bytes() == data
    assert [read.result(DEADLINE_S) == data for read in reads] == [True, True]
    assert host.link.interruptions == []


def test_a_commands_input_may_be_larger_than_a_message(host: PipedHost) -> None:
    given = b"x" * (40 << 20)
    assert host.run(["wc", "-c"], stdin=given).output.strip() == str(len(given))


@pytest.mark.parametrize("cut", [False, True], ids=["connected", "while-the-connection-is-gone"])
def test_ctrl_c_ends_the_command(host: PipedHost, pool: ThreadPoolExecutor, cut: bool) -> None:
    told = Path(host.scratch) / "pid"
    script = f"echo $$ > {told}.part; mv {told}.part {told}; exec sleep 3600"

    def press() -> None:
        wait_until(told.exists, "the command")
        if cut:
            host.cable.cut()
        os.kill(os.getpid(), signal.SIGINT)

    def run() -> None:
        host.run(["sh", "-c", script], timeout_s=3600)
        wait_until(lambda: False, "Ctrl-C")

    pressing = pool.submit(press)
    with pytest.raises(KeyboardInterrupt):
        run()
    pressing.result(DEADLINE_S)
    host.cable.mend()
    wait_until(lambda: not running(int(told.read_text())), "end of the command")
    assert host.run(["echo", "on"]).output == "on\n"


def test_what_the_host_refuses_is_told_as_here(host: PipedHost, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        host.read_text("/nonexistent/file")
    assert missing.value.filename == "/nonexistent/file"
    with pytest.raises(IsADirectoryError):
        host.write_text(str(tmp_path), "")
    with pytest.raises(HostError, match="piped: there is no program `no-such-program`"):
        host.run(["no-such-program"])
    (tmp_path / "text").write_text("")
    with pytest.raises(HostError, match=r"piped: Permission denied: `.*/text`"):
        host.run([str(tmp_path / "text")])
    with pytest.raises(HostError, match=r"cannot connect to /nonexistent: No such file"):
        host.connect("/nonexistent")
    with pytest.raises(HostError, match="run no-such-run does not hold this host"):
        host.engine.evict("no-such-run", "mona@here", force=True)


def test_a_command_that_prints_without_end_is_ended(host: PipedHost) -> None:
    script = "head -c 200000000 /dev/zero; touch $0"
    with pytest.raises(HostError, match="printed more than 16 MiB"):
        host.run(["sh", "-c", script, f"{host.scratch}/through"])
    assert not host.exists(f"{host.scratch}/through")


def test_a_stream_stays_open_while_nothing_is_said(host: PipedHost, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{host.scratch}/server")
        server.listen()
        ours = host.connect(f"{host.scratch}/server")
        ours.settimeout(DEADLINE_S)
        theirs, _ = server.accept()
        theirs.settimeout(DEADLINE_S)
        data = random.Random(3).randbytes(1 << 20)
        with theirs, ours, ThreadPoolExecutor() as pool:
            for end, other in ((ours, theirs), (theirs, ours)):
                sending = pool.submit(end.sendall, data)
                got = b""
                while len(got) < len(data):
                    got += other.recv(1 << 16)
                assert got == data
                sending.result(DEADLINE_S)
            host.cable.blink()
            ours.sendall(b"still there?")
            assert theirs.recv(100) == b"still there?"
            theirs.sendall(b"yes")
            assert ours.recv(100) == b"yes"
            theirs.close()
            assert ours.recv(100) == b""


# --- how it begins ---


def starting(command: str) -> Callable[[], object]:
    pipe = Pipe(command)

    def start() -> object:
        try:
            return begin(pipe, {"run": "none", "reconnect_s": 1})
        finally:
            pipe.close()

    return start


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("exit 127", r"no python3 that answers \(exit status 127\): it said nothing"),
        ("echo 'sh: python3: not found' >&2; exit 127", "sh: python3: not found"),
        ("echo 'this account is closed'; exit 1", "this account is closed"),
        ("yes noise", "its shell prints without end:\n"),
        (r"printf '\n\0vswitch-python 3.7 \n'; cat", r"its python3 is 3.7; 3.8 or later is needed"),
        (r"printf '\n\0vswitch-python 3.8 \n'; read x; echo no; exit 1", "did not start.*: no"),
    ],
)
def test_what_is_no_agent_is_told_in_its_words(command: str, words: str) -> None:
    with pytest.raises(HostError, match=words):
        starting(command)()


def test_words_of_a_login_shell_do_not_matter() -> None:
    welcome = r"printf 'Welcome!\n\0\377 %s\n' vswitch-python; "
    assert starting(welcome + bootstrap.COMMAND)()


def test_an_agent_that_holds_nothing_ends_with_its_connection(tmp_path: Path) -> None:
    """Also in the middle of an answer that nobody takes."""
    cable = Cable(state=tmp_path / "state")
    host = PipedHost("look", Transcript(None), cable)
    agent = int(host.read_link("/proc/self").rpartition("/")[2])
    big = tmp_path / "big"
    big.write_bytes(bytes(32 << 20))
    host.link.send("read", path=str(big))
    cable.cut()
    wait_until(lambda: not running(agent), "end of the agent")
    with pytest.raises(HostError, match="piped: lost 0 s ago: the connection was lost"):
        host.exists("/")
    host.link.close()
    cable.close()
