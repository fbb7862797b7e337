"""From an address to a login: through jump hosts, every host's key checked before it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import paramiko

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts.ssh import ways
from pytest_vswitch.hosts.ssh.authentication import log_in
from pytest_vswitch.hosts.ssh.configuration import Settings, SshOptions, resolve
from pytest_vswitch.hosts.ssh.host_keys import check, known
from pytest_vswitch.hosts.ssh.known_hosts import HostKey
from pytest_vswitch.hosts.ssh.watch import Listening, Watch

MOST_JUMPS = 8
AUTH_S = 30.0
"""Least time for a login: sshd may look the client's name up first [s]."""
CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
"""Those with an authentication of their own first: they cost paramiko the least."""

# What matters of paramiko's words is in our errors; it would write to the terminal.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
logging.getLogger("paramiko").propagate = False


@dataclass
class Route:
    """A host, and what leads to it."""

    settings: Settings
    transport: paramiko.Transport
    peer: str
    """`ip:port`, or `name:port` behind jump hosts and proxy commands."""
    ends: list[Callable[[], object]]
    """What ends it, the outermost first: an inner end waits for those around it."""
    via: Route | None = None
    """The jump host next to it."""
    watch: Watch | None = None

    def why_lost(self) -> str:
        """Why it ended, when it was not closed here."""
        if self.watch and self.watch.lost:
            return self.watch.lost
        if self.via and not self.via.transport.is_active():
            return f"that to the jump host {self.via.settings.address} was: {self.via.why_lost()}"
        error = self.transport.saved_exception
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
    route.watch = Watch(route.transport, route.close, settings.keepalive_s, ways.SILENT_INTERVALS)
    return route


def _reached(settings: Settings, options: SshOptions, depth: int) -> Route:
    """Keys exchanged, nothing checked."""
    via: Route | None = None
    ends: list[Callable[[], object]] = []
    try:
        if settings.jumps:
            via = _jump_host(settings, options, depth)
            ends.append(via.close)
            way = ways.through(via.transport, via.settings.address, settings)
        elif settings.proxy_command:
            way = ways.proxy(settings)
        else:
            way = ways.tcp(settings)
        ends += way.ends
        transport = paramiko.Transport(
            way.socket,  # type: ignore[arg-type]  # a channel of ours will do
            default_window_size=ways.WINDOW_BYTES,
            packetizer_class=Listening,
        )
        ends.append(transport.close)
        _exchange(transport, settings, way.excuse)
    except BaseException:
        _close(ends)
        raise
    return Route(settings, transport, way.peer, ends, via)


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


def _exchange(transport: paramiko.Transport, settings: Settings, excuse: Callable[[], str]) -> None:
    """Greet each other and exchange keys. Raises HostError."""
    limit_s = settings.connect_timeout_s
    security = transport.get_security_options()
    security.key_types = known(settings).algorithms
    security.ciphers = tuple(name for name in CIPHERS if name in security.ciphers)
    transport.banner_timeout = limit_s
    transport.handshake_timeout = limit_s
    transport.channel_timeout = limit_s
    transport.auth_timeout = max(AUTH_S, limit_s)
    name = settings.address
    try:
        # Twice: for its greeting, and for the exchange.
        transport.start_client(timeout=2 * limit_s)
    except paramiko.ssh_exception.IncompatiblePeer as error:
        raise HostError(f"{name}: no algorithm in common: {error}") from None
    except EOFError:
        raise HostError(
            f"{name}: the connection was closed before any key was exchanged{excuse()}"
        ) from None
    except (paramiko.SSHException, OSError) as error:
        why = f": {error}" if transport.remote_version else ""
        raise HostError(
            f"{name}: what listens there does not speak SSH, or did not within "
            f"{limit_s:g} s{why}{excuse()}"
        ) from None
    if not transport.initial_kex_done:
        raise HostError(f"{name}: no keys were exchanged within {2 * limit_s:g} s")


def _shown(transport: paramiko.Transport) -> HostKey:
    key = transport.get_remote_server_key()
    return HostKey(key.get_name(), key.asbytes())
