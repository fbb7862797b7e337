"""Streams to programs behind a real sshd, and every way in which a connection fails."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.ssh.configuration import SshOptions
from pytest_vswitch.hosts.ssh.connection import Connection, ConnectionLost, Stream, connect
from tests.hosts.machine import DEADLINE_S, wait_until
from tests.hosts.ssh.sshd import Sshd, free_port

SOON_S = 0.5
"""A keep-alive that shows in a test; three of it without a word end a connection [s]."""

STAYS = "while kill -0 $PPID 2>/dev/null; do sleep 0.2; done"
"""A program that neither reads nor writes, and ends with its session."""


def options(sshd: Sshd, keepalive_s: float = SshOptions.keepalive_s) -> SshOptions:
    identity, known = str(sshd.client_key), str(sshd.known_hosts)
    return SshOptions(
        "none", identity, known, connect_timeout_s=DEADLINE_S, keepalive_s=keepalive_s
    )


@pytest.fixture(scope="module")
def connection(sshd: Sshd) -> Iterator[Connection]:
    connection = connect(sshd.target, options(sshd))
    yield connection
    connection.close()


@pytest.fixture
def own(own_sshd: Sshd) -> Iterator[Connection]:
    """A connection to `own_sshd`, which tests may cut."""
    connection = connect(own_sshd.target, options(own_sshd))
    yield connection
    connection.close()


def read_all(stream: Stream) -> bytes:
    pieces = []
    while data := stream.read(1 << 16):
        pieces.append(data)
    return b"".join(pieces)


def read_exactly(stream: Stream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = stream.read(size - len(data))
        assert piece, f"the stream ended after {data!r}"
        data += piece
    return data


class Reader(threading.Thread):
    """Reads in a thread until the stream ends or fails."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(daemon=True)
        self.stream = stream
        self.data = b""
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.data = read_all(self.stream)
        except HostError as error:
            self.error = error

    def result(self) -> Exception | None:
        self.join(DEADLINE_S)
        assert not self.is_alive(), "the reader still waits"
        return self.error


class Writer(threading.Thread):
    """Writes in a thread until that fails."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(daemon=True)
        self.stream = stream
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            while True:
                self.stream.write(bytes(1 << 20))
        except HostError as error:
            self.error = error

    def result(self) -> Exception | None:
        self.join(DEADLINE_S)
        assert not self.is_alive(), "the writer still waits"
        return self.error


def test_a_connection_says_where_it_leads(sshd: Sshd, connection: Connection) -> None:
    assert connection.address == sshd.target
    assert connection.peer == f"127.0.0.1:{sshd.port}"
    assert connection.username == sshd.user
    assert connection.alive()


def test_a_program_is_run_and_its_status_told(connection: Connection) -> None:
    stream = connection.open_stream("echo out; echo err >&2; exit 7")
    assert read_all(stream) == b"out\n"
    assert stream.exit_status(DEADLINE_S) == 7
    wait_until(lambda: stream.stderr_tail() == "err\n", "standard error")


def test_a_program_that_runs_has_no_status(connection: Connection) -> None:
    stream = connection.open_stream("exec cat")
    assert stream.exit_status(0) is None
    stream.close()


def test_every_byte_passes_unharmed(connection: Connection) -> None:
    stream = connection.open_stream("exec cat")
    data = bytes(range(256)) * 1000
    thread = threading.Thread(target=stream.write, args=(data,))
    thread.start()
    assert read_exactly(stream, len(data)) == data
    thread.join()
    stream.close()


def test_more_than_every_window_passes(connection: Connection) -> None:
    size = 30_000_000
    stream = connection.open_stream(f"head -c {size} /dev/zero; wc -c")
    assert len(read_exactly(stream, size)) == size
    stream.write(bytes(size))
    stream.close_input()
    assert read_all(stream).strip() == str(size).encode()


def test_a_flood_of_errors_holds_nothing_up(connection: Connection) -> None:
    stream = connection.open_stream(
        "head -c 50000000 /dev/zero >&2; printf '\\377end' >&2; echo done"
    )
    assert read_all(stream) == b"done\n"
    wait_until(lambda: stream.stderr_tail().endswith("\0\0\ufffdend"), "its end")
    assert len(stream.stderr_tail()) <= 4096


def test_several_streams_at_once(connection: Connection) -> None:
    streams = [connection.open_stream("exec cat") for _ in range(5)]
    for number, stream in enumerate(streams):
        stream.write(b"%d" % number)
    for number, stream in enumerate(streams):
        assert read_exactly(stream, 1) == b"%d" % number
        stream.close()


def test_closing_a_stream_releases_its_reader(connection: Connection) -> None:
    stream = connection.open_stream("exec cat")
    reader = Reader(stream)
    stream.close()
    assert reader.result() is None
    assert stream.read(1) == b""
    assert connection.alive()


def test_closing_a_stream_releases_its_writer(connection: Connection) -> None:
    stream = connection.open_stream(STAYS)
    writer = Writer(stream)
    stream.close()
    assert "takes no more input" in str(writer.result())


def test_writing_to_a_program_that_ended_is_an_error(connection: Connection) -> None:
    stream = connection.open_stream("exit 3")
    assert read_all(stream) == b""
    error = Writer(stream).result()  # what is under way to it is lost without a word
    assert "takes no more input: it ended" in str(error)
    assert not isinstance(error, ConnectionLost)


def test_writing_after_the_end_of_input_is_an_error(connection: Connection) -> None:
    stream = connection.open_stream(STAYS)
    stream.close_input()
    with pytest.raises(HostError, match="takes no more input"):
        stream.write(b"x")
    stream.close()


def test_a_closed_connection_is_closed_twice(sshd: Sshd) -> None:
    connection = connect(sshd.target, options(sshd))
    reader = Reader(connection.open_stream("exec cat"))
    connection.close()
    connection.close()
    assert "it was closed here" in str(reader.result())
    assert not connection.alive()
    with pytest.raises(ConnectionLost, match="it was closed here"):
        connection.open_stream("true")


def test_a_shell_that_talks_comes_before_the_program(own_sshd: Sshd, tmp_path: Path) -> None:
    (own_sshd.home / ".bashrc").write_text("echo Welcome, traveller; echo beware >&2\n")
    banner = tmp_path / "banner"
    banner.write_text("Property of\nsomeone\n" * 50)
    own_sshd.options.append(f"Banner {banner}")
    own_sshd.restart()
    connection = connect(own_sshd.target, options(own_sshd))
    stream = connection.open_stream("bash -c 'echo marker'")
    said = read_all(stream)
    assert b"Welcome" in said
    assert said.endswith(b"marker\n")
    connection.close()


def test_an_sshd_that_is_killed(own_sshd: Sshd, own: Connection) -> None:
    stream = own.open_stream("exec cat")
    reader = Reader(stream)
    writing = own.open_stream(STAYS)
    writer = Writer(writing)
    own_sshd.kill()
    assert isinstance(reader.result(), ConnectionLost)
    assert isinstance(writer.result(), ConnectionLost)
    with pytest.raises(ConnectionLost, match="was lost: "):
        stream.write(b"x")
    with pytest.raises(ConnectionLost):
        own.open_stream("true")
    assert not own.alive()


def test_a_lost_connection_is_never_taken_for_an_end(
    own_sshd: Sshd, own: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = threading.Event()
    unlink = paramiko.Channel._unlink  # type: ignore[attr-defined]

    def unlink_and_dawdle(channel: paramiko.Channel) -> None:
        unlink(channel)
        told.wait(0.2)

    # Streams end before paramiko says that the connection did: here, long before.
    monkeypatch.setattr(paramiko.Channel, "_unlink", unlink_and_dawdle)
    reader = Reader(own.open_stream(STAYS))
    own_sshd.kill()
    assert isinstance(reader.result(), ConnectionLost)


def test_a_session_outlives_a_restart_of_sshd(own_sshd: Sshd, own: Connection) -> None:
    stream = own.open_stream("exec cat")
    own_sshd.restart()
    stream.write(b"still here")
    assert read_exactly(stream, 10) == b"still here"


def test_a_host_that_falls_silent_is_lost(own_sshd: Sshd) -> None:
    connection = connect(own_sshd.target, options(own_sshd, SOON_S))
    reader = Reader(connection.open_stream(STAYS))
    for pid in own_sshd.sessions():
        os.kill(pid, signal.SIGSTOP)
    error = reader.result()
    assert isinstance(error, ConnectionLost)
    assert "nothing was heard for 1.5 s" in str(error)


def test_who_writes_to_a_silent_host_is_released(own_sshd: Sshd) -> None:
    connection = connect(own_sshd.target, options(own_sshd, SOON_S))
    writer = Writer(connection.open_stream("exec cat >/dev/null"))
    for pid in own_sshd.sessions():
        os.kill(pid, signal.SIGSTOP)
    assert isinstance(writer.result(), ConnectionLost)


def test_an_idle_connection_lives(own_sshd: Sshd) -> None:
    connection = connect(own_sshd.target, options(own_sshd, 0.1))
    heard = connection._transport.packetizer.heard  # type: ignore[attr-defined]
    # Six answers come only if it lives for longer than three intervals of silence.
    wait_until(
        lambda: connection._transport.packetizer.heard >= heard + 6,  # type: ignore[attr-defined]
        "answers to keep-alives",
    )
    assert connection.alive()
    connection.close()


def test_closing_does_not_wait_for_a_silent_host(own_sshd: Sshd, own: Connection) -> None:
    writer = Writer(own.open_stream("exec cat >/dev/null"))
    for pid in own_sshd.sessions():
        os.kill(pid, signal.SIGSTOP)
    closing = threading.Thread(target=own.close, daemon=True)
    closing.start()
    closing.join(DEADLINE_S)
    assert not closing.is_alive()
    assert isinstance(writer.result(), ConnectionLost)


def test_a_host_that_refuses_sessions(own_sshd: Sshd) -> None:
    own_sshd.options.append("MaxSessions 0")
    own_sshd.restart()
    connection = connect(own_sshd.target, options(own_sshd))
    with pytest.raises(HostError, match=r"refuses another session .*: see MaxSessions"):
        connection.open_stream("true")
    connection.close()


def test_a_port_where_nothing_listens() -> None:
    port = free_port()
    with pytest.raises(HostError, match=rf"nothing listens at 127.0.0.1:{port} \(connection ref"):
        connect(f"127.0.0.1:{port}", SshOptions("none"))


def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(HostError, match=r"the name `no-such-host.invalid` does not resolve: "):
        connect("no-such-host.invalid", SshOptions("none"))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_server_that_accepts_and_says_nothing(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with pytest.raises(HostError, match=r"does not speak SSH, or did not within 0.3 s"):
        connect(f"127.0.0.1:{port}", SshOptions("none", connect_timeout_s=0.3))


@pytest.mark.parametrize(
    ("greeting", "what"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak SSH"),
        (b"", "was closed before any key was exchanged|does not speak SSH"),
        (b"SSH-1.5-old\r\n", "no algorithm in common|does not speak SSH"),
        (b"\xff\xfe\n" * 200, "does not speak SSH"),
    ],
)
def test_a_server_that_is_no_sshd(listener: socket.socket, greeting: bytes, what: str) -> None:
    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.sendall(greeting)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    port = listener.getsockname()[1]
    with pytest.raises(HostError, match=what):
        connect(f"127.0.0.1:{port}", SshOptions("none", connect_timeout_s=DEADLINE_S))
    thread.join(DEADLINE_S)


def test_nothing_is_written_to_the_terminal(
    listener: socket.socket, capfd: pytest.CaptureFixture[str]
) -> None:
    port = listener.getsockname()[1]
    with pytest.raises(HostError):
        connect(f"127.0.0.1:{port}", SshOptions("none", connect_timeout_s=0.1))
    assert capfd.readouterr() == ("", "")


def test_without_paramiko_there_is_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "paramiko", None)
    with pytest.raises(HostError, match="needs paramiko: `pip install paramiko`"):
        connect("dut", SshOptions("none"))
