"""A connection to a host over SSH, and streams to programs that it starts there."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.ssh.configuration import SshOptions
from pytest_vswitch.hosts.ssh.library import require

if TYPE_CHECKING:
    import paramiko

    from pytest_vswitch.hosts.ssh.route import Route

TAIL_BYTES = 4096
"""How much of a program's standard error is kept."""
CHUNK_BYTES = 32768
"""Largest piece that SSH servers must take (RFC 4253, section 6.1)."""
ENDING_S = 0.5
"""paramiko ends the streams of a connection a moment before it says so of the connection [s]."""
CLOSE_S = 2.0
"""How long the host is given to be told that a stream ends [s]."""


class ConnectionLost(HostError):
    """The connection to a host ended, or nothing comes through it any more."""


def connect(address: str, options: SshOptions) -> Connection:
    """Connect to `[user@]name[:port]`, check its key, log in.

    Raises InputError for what is wrong on this side (the address, a configuration file),
    HostError for the rest: UntrustedHost and ChangedHostKey (hosts.ssh.host_keys) if its key is
    not known or another. Nothing is ever asked on the terminal.
    """
    require(address)
    from pytest_vswitch.hosts.ssh.route import open_route

    return Connection(open_route(address, options))


class Connection:
    """A login on a host. Streams may be opened and used by several threads."""

    def __init__(self, route: Route) -> None:
        self.address = route.settings.address
        """As the lab names it."""
        self.peer = route.peer
        """`ip:port`, or `name:port` behind jump hosts and proxy commands."""
        self.username = route.settings.username
        self._route = route
        self._transport = route.transport
        self._closed = False

    def open_stream(self, command: str) -> Stream:
        """Start a program; `command` is read by the user's login shell, whichever that is.

        Raises HostError.
        """
        import paramiko

        try:
            channel = self._transport.open_session()
            channel.exec_command(command)
        except paramiko.ChannelException as error:
            raise HostError(
                f"{self.address} refuses another session ({error.text}): see MaxSessions in its "
                "sshd_config"
            ) from None
        except (paramiko.SSHException, EOFError, OSError) as error:
            self.check()
            raise HostError(f"{self.address} does not run commands: {error}") from None
        return Stream(self, channel)

    def alive(self) -> bool:
        """Whether nothing is known to be wrong with it."""
        return self._transport.is_active()

    def check(self) -> None:
        """For when a stream ended unasked: raise ConnectionLost if that is why."""
        self._transport.join(ENDING_S)
        if not self.alive():
            why = "it was closed here" if self._closed else self._route.why_lost()
            raise ConnectionLost(f"the connection to {self.address} was lost: {why}")

    def close(self) -> None:
        """End it, with its streams; does not wait for the host. Further calls do nothing."""
        if not self._closed:
            self._closed = True
            self._route.close()

    def __repr__(self) -> str:
        return f"<Connection to {self.username} at {self.peer}>"


class Stream:
    """A program on the host: its standard input and output as bytes."""

    def __init__(self, connection: Connection, channel: paramiko.Channel) -> None:
        self._connection = connection
        self._channel = channel
        self._closed = False
        self._tail = b""
        # Standard error shares its window with standard output: unread, it would stop both.
        self._tailing = threading.Thread(
            target=self._keep_tail, name="vswitch-ssh-stderr", daemon=True
        )
        self._tailing.start()

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; blocks until there are some. b"" at the end, or after `close`.

        Raises ConnectionLost.
        """
        try:
            data = self._channel.recv(size)
        except OSError:
            data = b""
        if not data and not self._closed and not self._channel.eof_received:
            self._connection.check()
        return data

    def write(self, data: bytes) -> None:
        """All of it; blocks while the program does not read.

        Raises ConnectionLost, or HostError when the program ended.
        """
        view = memoryview(data)
        try:
            while view:
                sent = self._channel.send(bytes(view[:CHUNK_BYTES]))
                if not sent:
                    raise EOFError  # it was closed meanwhile
                view = view[sent:]
        except (OSError, EOFError):
            self._connection.check()
            raise HostError(
                f"what runs on {self._connection.address} takes no more input: it ended"
            ) from None

    def close_input(self) -> None:
        """Let the program see the end of its input; its output can still be read."""
        with contextlib.suppress(OSError, EOFError):
            self._channel.shutdown_write()

    def stderr_tail(self) -> str:
        """The last few KB of its standard error so far."""
        return self._tail.decode(errors="replace")

    def exit_status(self, within_s: float) -> int | None:
        """Its exit status, waited for up to `within_s`; None if it runs, or none was told."""
        self._channel.status_event.wait(within_s)
        status = self._channel.exit_status
        if status >= 0:
            self._tailing.join(ENDING_S)  # so that its last words are in the tail
        return status if status >= 0 else None

    def close(self) -> None:
        """End the stream; whoever reads or writes it in another thread returns.

        The program gets no signal: it sees the end of its input. Never blocks for long.
        """
        self._closed = True
        # The channel is closed here at once; a dead network holds up the word to the host.
        telling = threading.Thread(target=self._tell_end, name="vswitch-ssh-end", daemon=True)
        telling.start()
        telling.join(CLOSE_S)

    def _tell_end(self) -> None:
        import paramiko

        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            self._channel.close()

    def _keep_tail(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._channel.recv_stderr(CHUNK_BYTES):
                self._tail = (self._tail + data)[-TAIL_BYTES:]
