"""The way to a host's sshd: TCP, a proxy command or jump hosts; then its key is checked."""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import paramiko

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts.ssh.authentication import log_in
from pytest_vswitch.hosts.ssh.configuration import Settings, SshOptions, resolve
from pytest_vswitch.hosts.ssh.host_keys import check, known
from pytest_vswitch.hosts.ssh.known_hosts import HostKey
from pytest_vswitch.hosts.ssh.watch import Listening, Watch

MOST_JUMPS = 8
WINDOW_BYTES = 8 << 20
"""What the host may send before we acknowledge: bulk transfers do not wait for the network."""
AUTH_S = 30.0
"""Least time for a login: sshd may look the client's name up first [s]."""
SILENT_INTERVALS = 3
CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)

log = logging.getLogger("paramiko")


@dataclass
class Route:
    """A host whose key was checked, and what leads to it."""

    settings: Settings
    transport: paramiko.Transport
    peer: str
    """`ip:port`; behind jumps or a proxy command `name:port`, as nobody else knows the IP."""
    ends: list[Callable[[], object]]
    """What ends it, the outermost first: an inner end waits for those around it."""
    via: Route | None = None
    """The jump host next to it."""
    watch: Watch | None = None

    def why_lost(self) -> str:
        """Why it ended, when it was not closed here."""
        if self.via and not self.via.transport.is_active():
            return f"that to the jump host {self.via.settings.address} was: {self.via.why_lost()}"
        error = self.transport.saved_exception
        if self.watch and self.watch.lost:
            return self.watch.lost
        if isinstance(error, OSError):
            return error.strerror or str(error)
        return "the host closed it"

    def close(self) -> None:
        """Does not wait for any host; further calls do nothing."""
        _close(self.ends)


def open_route(address: str, options: SshOptions) -> Route:
    """Connect, check the host's key, log in. Raises InputError, HostError."""
    return _logged_in(resolve(address, options), options, 0)


def shown_key(address: str, options: SshOptions) -> HostKey:
    """The key that a host shows, if it is trusted; nobody logs in, but at jump hosts.

    Raises UntrustedHost, of the first host on the way, and HostError.
    """
    settings = resolve(address, options)
    route = _reached(settings, options, 0)
    try:
        key = _shown(route.transport)
    finally:
        route.close()
    check(settings, key)
    return key


def _logged_in(settings: Settings, options: SshOptions, depth: int) -> Route:
    route = _reached(settings, options, depth)
    try:
        check(settings, _shown(route.transport))
        log_in(route.transport, settings)
    except BaseException:
        route.close()
        raise
    route.watch = Watch(route.transport, route.close, settings.keepalive_s, SILENT_INTERVALS)
    return route


def _reached(settings: Settings, options: SshOptions, depth: int) -> Route:
    """Keys exchanged, nothing checked."""
    log.addHandler(logging.NullHandler())
    log.propagate = False  # what matters of its words is in our errors
    ends: list[Callable[[], object]] = []
    via: Route | None = None
    way: socket.socket | paramiko.Channel
    peer = f"{settings.host}:{settings.port}"
    excuse = _nothing
    try:
        if settings.jumps:
            via = _jump_host(settings, options, depth)
            ends.append(via.close)
            way = _through(via, settings)
        elif settings.proxy_command:
            way, excuse = _proxy(settings, ends)
        else:
            way, peer = _tcp(settings, ends)
        return Route(settings, _exchanged(settings, way, ends, excuse), peer, ends, via)
    except BaseException:
        _close(ends)
        raise


def _nothing() -> str:
    return ""


def _close(ends: list[Callable[[], object]]) -> None:
    for end in ends:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            end()


def _jump_host(settings: Settings, options: SshOptions, depth: int) -> Route:
    """The last jump host, which is reached through those before it."""
    *before, last = settings.jumps
    if depth >= MOST_JUMPS:
        raise InputError(f"ProxyJump: {last} is reached through itself, or through too many hosts")
    host = resolve(last, replace(options, identity=None))
    if options.identity and not host.identities_named:
        host = resolve(last, options)
    if before:
        host = replace(host, jumps=tuple(before), proxy_command=())
    try:
        return _logged_in(host, options, depth + 1)
    except HostError as error:
        error.args = (f"on the way to {settings.address}: {error}",)
        raise


def _through(jump: Route, settings: Settings) -> paramiko.Channel:
    name = jump.settings.address
    try:
        return jump.transport.open_channel(
            "direct-tcpip",
            (settings.host, settings.port),
            ("127.0.0.1", 0),
            window_size=WINDOW_BYTES,
            timeout=settings.connect_timeout_s,
        )
    except paramiko.ChannelException as error:
        raise HostError(
            f"the jump host {name} cannot reach {settings.host}:{settings.port}: {error.text}"
        ) from None
    except (paramiko.SSHException, EOFError, OSError):
        raise HostError(
            f"the jump host {name} did not reach {settings.host}:{settings.port} "
            f"within {settings.connect_timeout_s:g} s"
        ) from None


def _proxy(
    settings: Settings, ends: list[Callable[[], object]]
) -> tuple[socket.socket, Callable[[], str]]:
    """The proxy command's end of a socket pair, and what it says when it fails.

    A socket, not paramiko.ProxyCommand: that one does not notice that its command ended.
    """
    ours, theirs = socket.socketpair()
    words = tempfile.TemporaryFile()  # noqa: SIM115  # closed at the route's end
    ends += [partial(_cut, ours), words.close]
    argv = list(settings.proxy_command)
    with theirs:
        end = theirs.fileno()
        try:
            process = subprocess.Popen(
                argv, stdin=end, stdout=end, stderr=words, start_new_session=True
            )
        except OSError as error:
            raise HostError(
                f"ProxyCommand for {settings.address}: cannot run `{argv[0]}`: {error.strerror}"
            ) from None
    ends.append(partial(_end, process))

    def excuse() -> str:
        words.seek(0)
        said = words.read(4096).decode(errors="replace").strip()
        return f"\nProxyCommand `{argv[0]}` said: {said}" if said else ""

    return ours, excuse


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(1.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5.0)


def _tcp(settings: Settings, ends: list[Callable[[], object]]) -> tuple[socket.socket, str]:
    where = f"{settings.host}:{settings.port}"
    what = (
        settings.address if settings.host in settings.address else f"{settings.address} ({where})"
    )
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is no host name"
        raise HostError(f"{what}: the name `{settings.host}` does not resolve: {why}") from None
    deadline = time.monotonic() + settings.connect_timeout_s
    why = ""
    for family, kind, protocol, _, place in found:
        left_s = max(deadline - time.monotonic(), 0.1)
        way = socket.socket(family, kind, protocol)
        try:
            way.settimeout(left_s)
            _notice_silence(way, settings)
            way.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            way.connect(place)
            ends.append(partial(_cut, way))
            ip, port = str(place[0]), int(place[1])
            return way, f"[{ip}]:{port}" if family == socket.AF_INET6 else f"{ip}:{port}"
        except TimeoutError:
            why = f"no answer from {where} within {settings.connect_timeout_s:g} s"
        except ConnectionRefusedError:
            why = f"nothing listens at {where} (connection refused): is sshd running there?"
        except OSError as error:
            why = f"cannot connect to {where}: {error.strerror}"
        way.close()
    raise HostError(f"{what}: {why}")


def _notice_silence(way: socket.socket, settings: Settings) -> None:
    """Let the kernel end a connection whose packets are dropped, in use or idle."""
    interval_s = max(1, round(settings.keepalive_s))
    limit_ms = int(settings.keepalive_s * SILENT_INTERVALS * 1000)
    way.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    way.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, interval_s)
    way.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval_s)
    way.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, SILENT_INTERVALS)
    way.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit_ms)


def _exchanged(
    settings: Settings,
    way: socket.socket | paramiko.Channel,
    ends: list[Callable[[], object]],
    excuse: Callable[[], str],
) -> paramiko.Transport:
    transport = paramiko.Transport(
        way, default_window_size=WINDOW_BYTES, packetizer_class=Listening
    )
    ends.append(transport.close)
    security = transport.get_security_options()
    security.key_types = known(settings).algorithms
    security.ciphers = CIPHERS
    transport.banner_timeout = settings.connect_timeout_s
    transport.handshake_timeout = settings.connect_timeout_s
    transport.channel_timeout = settings.connect_timeout_s
    transport.auth_timeout = max(AUTH_S, settings.connect_timeout_s)
    limit_s = settings.connect_timeout_s
    try:
        # Twice: for its greeting, and for the key exchange.
        transport.start_client(timeout=2 * limit_s)
    except paramiko.ssh_exception.IncompatiblePeer as error:
        raise HostError(
            f"{settings.address} and paramiko have no algorithm in common: {error}"
        ) from None
    except EOFError:
        raise HostError(
            f"{settings.address}: the connection was closed before any key was exchanged{excuse()}"
        ) from None
    except (paramiko.SSHException, OSError) as error:
        greeted = bool(transport.remote_version)
        why = f": {error}" if greeted else ""
        raise HostError(
            f"{settings.address}: what listens there does not speak SSH, or did not within "
            f"{limit_s:g} s{why}{excuse()}"
        ) from None
    if not transport.initial_kex_done:
        raise HostError(f"{settings.address}: no keys were exchanged within {2 * limit_s:g} s")
    return transport


def _cut(way: socket.socket) -> None:
    with contextlib.suppress(OSError):
        way.shutdown(socket.SHUT_RDWR)  # whoever reads or writes ends at once
    way.close()


def _shown(transport: paramiko.Transport) -> HostKey:
    key = transport.get_remote_server_key()
    return HostKey(key.get_name(), key.asbytes())
