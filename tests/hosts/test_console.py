"""A console over a Unix socket, as QEMU's serial ports are."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.errors import DutError, HostError
from pytest_vswitch.hosts.console import Console
from pytest_vswitch.hosts.local import LocalHost
from tests.hosts.machine import DEADLINE_S

PROMPT = re.compile("# ")


def write_much(console: Console) -> None:
    for _ in range(1000):
        console.write("x" * 4096)


@pytest.fixture
def listener(host: LocalHost) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(f"{host.scratch}/serial")
        server.listen(1)
        server.settimeout(DEADLINE_S)
        yield server


def test_talk_over_a_socket(host: LocalHost, listener: socket.socket, tmp_path: Path) -> None:
    with host.console(f"{host.scratch}/serial", "guest shell") as console:
        guest, _ = listener.accept()
        guest.sendall(b"hello\r\n# ")
        text = console.read_until(PROMPT, timeout_s=DEADLINE_S, what="a prompt")
        assert text == "hello\n# "
        console.write("id\n")
        assert guest.recv(100) == b"id\n"
        assert console.seen(PROMPT) is None
        guest.close()
        with pytest.raises(DutError, match="guest shell ended before an answer; its last output"):
            console.read_until(PROMPT, timeout_s=DEADLINE_S, what="an answer")
        assert console.ended
    assert (tmp_path / "logs/local-guest-shell.log").read_bytes() == b"hello\r\n# "


def test_a_peer_that_reads_nothing_blocks_nobody(host: LocalHost, listener: socket.socket) -> None:
    with host.console(f"{host.scratch}/serial", "guest shell") as console:
        guest, _ = listener.accept()
        with guest, pytest.raises(DutError, match="guest shell no longer takes input"):
            write_much(console)


def test_closing_ends_the_thread_while_the_peer_stays(
    host: LocalHost, listener: socket.socket
) -> None:
    with host.console(f"{host.scratch}/serial", "guest shell") as console:
        guest, _ = listener.accept()
    with guest:
        assert console.close()
        assert console.ended


def test_a_socket_that_is_not_there(host: LocalHost) -> None:
    path = f"{host.scratch}/none"
    with (
        pytest.raises(HostError, match=f"cannot connect to {path}: No such file"),
        host.console(path, "x"),
    ):
        pass
    with pytest.raises(HostError, match=r"cannot connect to .*: AF_UNIX path too long"):
        host.connect(f"{host.scratch}/{'long' * 40}")


def test_a_program_that_has_not_listened_yet(host: LocalHost) -> None:
    """Its file is there before it listens, as QEMU's is."""
    path = f"{host.scratch}/serial"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        late = threading.Timer(0.2, server.listen)
        late.start()
        with host.connect(path):
            late.join()


def test_nobody_listens(host: LocalHost) -> None:
    path = f"{host.scratch}/serial"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        with pytest.raises(HostError, match=f"cannot connect to {path}: Connection refused"):
            host.connect(path)
