"""What an agent has to tell its controller, over one connection after another.

Runs on the DUT: standard library only, Python 3.8.
"""

from __future__ import annotations

import collections
import socket
import threading
import time
from typing import Any

from pytest_vswitch.hosts import wire

_GLANCE_S = 0.5
"""How soon a wait notices that nobody is waited for any more [s]."""

_KEPT_BYTES = 4 << 20
"""What may be under way to the controller before programs have to wait [bytes]."""


class Outbox:
    """Messages to the controller, kept until it has them: it may have to be told again."""

    def __init__(self) -> None:
        self._kept: collections.deque[tuple[int, bytes]] = collections.deque()
        self._bytes = 0
        self._abandoned = False
        self._last = 0
        self._sent = 0
        self._connection: socket.socket | None = None
        self._news = threading.Condition()
        threading.Thread(target=self._send, name="outbox", daemon=True).start()

    def put(self, header: dict[str, Any], payload: bytes = b"", wait: bool = True) -> None:
        """Queue a message; who prints faster than the controller takes has to wait."""
        with self._news:
            while wait and self._bytes > _KEPT_BYTES and not self._abandoned:
                self._news.wait(_GLANCE_S)
            self._last += 1
            packed = wire.pack({**header, "seq": self._last}, payload)
            self._kept.append((self._last, packed))
            self._bytes += len(packed)
            self._news.notify_all()

    def abandon(self) -> None:
        """From now on nobody waits for the controller."""
        self._abandoned = True

    def acknowledge(self, last: int) -> None:
        """The controller has all up to that number."""
        with self._news:
            while self._kept and self._kept[0][0] <= last:
                self._bytes -= len(self._kept.popleft()[1])
            self._news.notify_all()

    def connect(self, connection: socket.socket | None, last: int = 0) -> None:
        """Send over that connection from now on, beginning after message `last`."""
        with self._news:
            self._connection, self._sent = connection, last
            self._news.notify_all()

    def drain(self, within_s: float) -> None:
        """Wait until all is sent."""
        deadline = time.monotonic() + within_s
        with self._news:
            while self._connection and self._kept and self._sent < self._last:
                if not self._news.wait(max(0.0, deadline - time.monotonic())):
                    return

    def _send(self) -> None:
        while True:
            with self._news:
                while not (self._connection and self._kept and self._sent < self._last):
                    self._news.wait()
                connection = self._connection
                # Numbers have no gaps.
                number, packed = self._kept[max(0, self._sent + 1 - self._kept[0][0])]
            try:
                connection.sendall(packed)
            except OSError:
                with self._news:
                    if self._connection is connection:
                        self._connection = None
                continue
            with self._news:
                if self._connection is connection:
                    self._sent = number
                    self._news.notify_all()
