"""What carries the bytes to a host's sshd: TCP, a proxy command, or a jump host."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import paramiko

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.ssh.configuration import Settings

WINDOW_BYTES = 8 << 20
"""What a host may send before we acknowledge: 160 MB/s over a network of 50 ms. Far more would
be slower, as paramiko moves what it holds at every read."""
SILENT_INTERVALS = 3
"""A connection is lost after so many keep-alive intervals without a word."""


class ChannelSocket:
    """A channel through a jump host in a socket's place: its `close` raises nothing.

    A channel's own raises where the jump host is gone, in the midst of what paramiko does when
    a connection ends.
    """

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self.send = channel.send
        self.recv = channel.recv
        self.settimeout = channel.settimeout

    @property
    def _closed(self) -> bool:
        return self._channel.closed

    def close(self) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.close()


@dataclass
class Way:
    """An open way."""

    socket: socket.socket | ChannelSocket
    peer: str
    """`ip:port`; `name:port` where only a jump host or a proxy command knows the IP."""
    ends: list[Callable[[], object]]
    """What closes it, in order; none of it waits for the host."""
    excuse: Callable[[], str] = str
    """What it says of why it failed."""


def tcp(settings: Settings) -> Way:
    """Raises HostError."""
    where = f"{settings.host}:{settings.port}"
    what = settings.address
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is no host name"
        raise HostError(f"{what}: the name `{settings.host}` does not resolve: {why}") from None
    deadline = time.monotonic() + settings.connect_timeout_s
    why = ""
    for family, kind, protocol, _, place in found:
        way = socket.socket(family, kind, protocol)
        try:
            way.settimeout(max(deadline - time.monotonic(), 0.1))
            _notice_silence(way, settings)
            way.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            way.connect(place)
            ip, port = str(place[0]), int(place[1])
            peer = f"[{ip}]:{port}" if family == socket.AF_INET6 else f"{ip}:{port}"
            return Way(way, peer, [partial(_cut, way)])
        except TimeoutError:
            why = f"no answer from {where} within {settings.connect_timeout_s:g} s"
        except ConnectionRefusedError:
            why = f"nothing listens at {where} (connection refused): is sshd running there?"
        except OSError as error:
            why = f"cannot connect to {where}: {error.strerror}"
        way.close()
    raise HostError(f"{what}: {why}")


def proxy(settings: Settings) -> Way:
    """The proxy command's end of a socket pair. Raises HostError.

    A socket, not paramiko.ProxyCommand: that one does not notice that its command ended.
    """
    argv = list(settings.proxy_command)
    ours, theirs = socket.socketpair()
    words = tempfile.TemporaryFile()  # noqa: SIM115  # closed when the way ends
    with theirs:
        end = theirs.fileno()
        try:
            process = subprocess.Popen(
                argv, stdin=end, stdout=end, stderr=words, start_new_session=True
            )
        except OSError as error:
            ours.close()
            words.close()
            raise HostError(
                f"ProxyCommand for {settings.address}: cannot run `{argv[0]}`: {error.strerror}"
            ) from None

    def excuse() -> str:
        words.seek(0)
        said = words.read(4096).decode(errors="replace").strip()
        return f"\nProxyCommand `{argv[0]}` said: {said}" if said else ""

    ends: list[Callable[[], object]] = [
        partial(_cut, ours),
        partial(_end, process),
        words.close,
    ]
    return Way(ours, f"{settings.host}:{settings.port}", ends, excuse)


def through(jump: paramiko.Transport, name: str, settings: Settings) -> Way:
    """A channel from the jump host called `name`. Raises HostError."""
    place = (settings.host, settings.port)
    try:
        channel = jump.open_channel(
            "direct-tcpip",
            place,
            ("127.0.0.1", 0),
            window_size=WINDOW_BYTES,
            timeout=settings.connect_timeout_s,
        )
    except paramiko.ChannelException as error:
        raise HostError(
            f"{settings.address}: the jump host {name} cannot reach {place[0]}:{place[1]}: "
            f"{error.text}"
        ) from None
    except (paramiko.SSHException, EOFError, OSError):
        raise HostError(
            f"{settings.address}: the jump host {name} did not reach {place[0]}:{place[1]} "
            f"within {settings.connect_timeout_s:g} s"
        ) from None
    way = ChannelSocket(channel)
    return Way(way, f"{place[0]}:{place[1]}", [way.close])


def _notice_silence(way: socket.socket, settings: Settings) -> None:
    """Let the kernel end a connection whose packets are dropped, in use or idle.

    An interval later than the watch, which knows better what to say of it.
    """
    interval_s = max(1, round(settings.keepalive_s))
    limit_ms = int(settings.keepalive_s * (SILENT_INTERVALS + 1) * 1000)
    way.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    way.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, interval_s)
    way.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval_s)
    way.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, SILENT_INTERVALS)
    way.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit_ms)


def _cut(way: socket.socket) -> None:
    with contextlib.suppress(OSError):
        way.shutdown(socket.SHUT_RDWR)  # whoever reads or writes ends at once
    way.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(1.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5.0)
