"""Hosts behind jump hosts and proxy commands."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts.ssh.configuration import SshOptions
from pytest_vswitch.hosts.ssh.connection import Connection, ConnectionLost, connect
from pytest_vswitch.hosts.ssh.host_keys import UntrustedHost
from tests.hosts.machine import DEADLINE_S, running, wait_until
from tests.hosts.ssh.sshd import Sshd, free_port
from tests.hosts.ssh.test_connection import SOON_S, STAYS, Reader, read_all

PROXY = """
import os, socket, sys, threading

if sys.argv[1] == "fail":
    sys.exit("no way through")
way = socket.create_connection((sys.argv[1], int(sys.argv[2])))

def forth():
    while data := os.read(0, 65536):
        way.sendall(data)
    way.shutdown(socket.SHUT_WR)

threading.Thread(target=forth, daemon=True).start()
while data := way.recv(65536):
    os.write(1, data)
"""


@pytest.fixture
def target(own_sshd: Sshd) -> Sshd:
    return own_sshd


@pytest.fixture
def jump(tmp_path: Path) -> Iterator[Sshd]:
    with Sshd(tmp_path / "jump", kinds=("ed25519",)) as server:
        yield server


@pytest.fixture
def known(tmp_path: Path, target: Sshd, jump: Sshd) -> Path:
    path = tmp_path / "known"
    path.write_text("\n".join([*target.known_lines(), *jump.known_lines()]) + "\n")
    return path


@pytest.fixture
def config(tmp_path: Path, target: Sshd, jump: Sshd, known: Path) -> Path:
    path = tmp_path / "config"
    path.write_text(
        f"Host target\n  HostName 127.0.0.1\n  Port {target.port}\n"
        f"  IdentityFile {target.client_key}\n  ProxyJump jump\n"
        f"Host jump\n  HostName 127.0.0.1\n  Port {jump.port}\n"
        f"  IdentityFile {jump.client_key}\n"
        f"Host *\n  UserKnownHostsFile {known}\n"
    )
    return path


@pytest.fixture
def proxy(tmp_path: Path) -> Path:
    path = tmp_path / "proxy.py"
    path.write_text(PROXY)
    return path


def uses(connection: Connection) -> None:
    stream = connection.open_stream("echo there")
    assert read_all(stream) == b"there\n"
    connection.close()


def test_through_a_jump_host(config: Path, jump: Sshd, target: Sshd) -> None:
    connection = connect("target", SshOptions(str(config)))
    assert connection.peer == f"127.0.0.1:{target.port}"
    uses(connection)
    jump.stop()
    assert f"Accepted publickey for {jump.user}" in jump.log


def test_through_two_jump_hosts(
    config: Path, jump: Sshd, target: Sshd, tmp_path: Path, known: Path
) -> None:
    with Sshd(tmp_path / "second", kinds=("ed25519",), client_key=jump.client_key) as second:
        known.write_text("\n".join([known.read_text(), *second.known_lines()]) + "\n")
        text = config.read_text().replace("ProxyJump jump", "ProxyJump jump,second")
        text += f"Host second\n  HostName 127.0.0.1\n  Port {second.port}\n"
        config.write_text(text + f"  IdentityFile {jump.client_key}\n")
        uses(connect("target", SshOptions(str(config))))
        second.stop()
        assert "Accepted publickey" in second.log


def test_the_labs_key_is_for_jump_hosts_that_name_none(
    config: Path, jump: Sshd, target: Sshd
) -> None:
    config.write_text(config.read_text().replace(f"  IdentityFile {jump.client_key}\n", ""))
    jump.authorize(target.client_key)
    uses(connect("target", SshOptions(str(config), str(target.client_key))))


def test_an_unknown_jump_host_is_refused(
    config: Path, jump: Sshd, known: Path, target: Sshd
) -> None:
    known.write_text("\n".join(target.known_lines()) + "\n")
    with pytest.raises(UntrustedHost) as caught:
        connect("target", SshOptions(str(config)))
    text = str(caught.value)
    assert text.startswith("on the way to target: the host key of jump is not known: ED25519 ")
    assert f"`vswitch lab trust jump --config {config}`" in text
    jump.stop()
    assert "publickey" not in jump.log


def test_an_unknown_target_is_refused(config: Path, jump: Sshd, known: Path) -> None:
    known.write_text("\n".join(jump.known_lines()) + "\n")
    with pytest.raises(UntrustedHost, match=r"^the host key of target is not known"):
        connect("target", SshOptions(str(config)))


def test_a_jump_host_that_cannot_reach_the_target(config: Path, target: Sshd) -> None:
    port = free_port()
    config.write_text(config.read_text().replace(f"Port {target.port}", f"Port {port}"))
    with pytest.raises(HostError, match=rf"the jump host jump cannot reach 127.0.0.1:{port}: "):
        connect("target", SshOptions(str(config)))


def test_a_jump_host_that_forwards_nothing(config: Path, jump: Sshd) -> None:
    jump.options.append("AllowTcpForwarding no")
    jump.restart()
    with pytest.raises(HostError, match=r"cannot reach 127.0.0.1:\d+: Administratively prohib"):
        connect("target", SshOptions(str(config)))


def test_a_jump_host_that_is_its_own(config: Path) -> None:
    config.write_text(config.read_text() + "  ProxyJump jump\n")
    with pytest.raises(InputError, match="ProxyJump: jump is reached through itself"):
        connect("target", SshOptions(str(config)))


def test_a_jump_host_that_is_killed(config: Path, jump: Sshd) -> None:
    connection = connect("target", SshOptions(str(config)))
    reader = Reader(connection.open_stream(STAYS))
    jump.kill()
    error = reader.result()
    assert isinstance(error, ConnectionLost)
    assert "target was lost: that to the jump host jump was: the host closed it" in str(error)
    connection.close()


def test_a_target_behind_a_jump_host_that_falls_silent(config: Path, target: Sshd) -> None:
    connection = connect("target", SshOptions(str(config), keepalive_s=SOON_S))
    reader = Reader(connection.open_stream(STAYS))
    for pid in target.sessions():
        os.kill(pid, signal.SIGSTOP)
    assert "nothing was heard" in str(reader.result())
    connection.close()


def with_proxy(config: Path, command: str) -> SshOptions:
    config.write_text(config.read_text().replace("ProxyJump jump", f"ProxyCommand {command}"))
    return SshOptions(str(config), connect_timeout_s=DEADLINE_S)


def test_through_a_proxy_command(config: Path, proxy: Path) -> None:
    uses(connect("target", with_proxy(config, f"{sys.executable} {proxy} %h %p")))


def test_a_proxy_command_ends_with_its_connection(config: Path, proxy: Path) -> None:
    connection = connect("target", with_proxy(config, f"{sys.executable} {proxy} %h %p"))
    pid = _child(str(proxy))
    connection.close()
    wait_until(lambda: not running(pid), "end of the proxy command")


def test_a_proxy_command_that_is_killed(config: Path, proxy: Path) -> None:
    connection = connect("target", with_proxy(config, f"{sys.executable} {proxy} %h %p"))
    reader = Reader(connection.open_stream(STAYS))
    os.kill(_child(str(proxy)), signal.SIGKILL)
    assert isinstance(reader.result(), ConnectionLost)
    connection.close()


def test_a_proxy_command_that_fails_says_why(config: Path, proxy: Path) -> None:
    options = with_proxy(config, f"{sys.executable} {proxy} fail")
    with pytest.raises(HostError) as caught:
        connect("target", options)
    assert f"ProxyCommand `{sys.executable}` said: no way through" in str(caught.value)


def test_a_proxy_command_that_is_not_there(config: Path) -> None:
    with pytest.raises(HostError, match="cannot run `/nowhere/proxy`: No such file"):
        connect("target", with_proxy(config, "/nowhere/proxy %h"))


def _child(word: str) -> int:
    """The process of ours that has that word in its command."""
    children = [
        pid
        for task in Path("/proc/self/task").iterdir()
        for pid in (task / "children").read_text().split()
    ]
    return next(
        int(pid) for pid in children if word in Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    )
