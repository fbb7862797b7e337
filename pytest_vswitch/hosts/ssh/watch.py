"""Notices that a host fell silent, behind jump hosts and proxy commands, too.

TCP notices that for a connection of ours only. So the host is asked a question that every SSH
server answers (RFC 4254, section 4), and what is heard from it is timed. paramiko's own
keep-alive does not ask for an answer, and goes by a clock that may be set.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import paramiko
from paramiko.common import cMSG_GLOBAL_REQUEST
from paramiko.packet import Packetizer

QUESTION = "keepalive@openssh.com"


class Listening(Packetizer):
    """Reads and writes packets as paramiko does, and counts those that came."""

    heard = 0

    def read_message(self) -> tuple[int, paramiko.Message]:
        message = super().read_message()
        self.heard += 1
        return message


class Watch:
    """Ends a transport after `intervals` of silence, each `interval_s` long."""

    def __init__(
        self,
        transport: paramiko.Transport,
        close: Callable[[], None],
        interval_s: float,
        intervals: int,
    ) -> None:
        self.lost = ""
        """Why the transport was ended, or empty."""
        self._transport = transport
        self._close = close
        self._interval_s = interval_s
        self._limit_s = interval_s * intervals
        self._asking: threading.Thread | None = None
        threading.Thread(target=self._run, name="vswitch-ssh-watch", daemon=True).start()

    def _run(self) -> None:
        tick_s = self._interval_s / 4
        packetizer = self._transport.packetizer
        assert isinstance(packetizer, Listening)
        heard, silent_s, asked_s = packetizer.heard, 0.0, 0.0
        before = time.monotonic()
        while self._transport.is_active():
            time.sleep(tick_s)
            now = time.monotonic()
            # This process may have been stopped meanwhile: that is not the host's silence.
            silent_s += min(now - before, 2 * tick_s)
            before = now
            if packetizer.heard != heard:
                heard, silent_s, asked_s = packetizer.heard, 0.0, 0.0
            elif silent_s >= self._limit_s:
                self.lost = f"nothing was heard for {self._limit_s:g} s"
                self._close()
            elif silent_s - asked_s >= self._interval_s:
                asked_s = silent_s
                self._ask()

    def _ask(self) -> None:
        """In a thread: where the network swallows everything, writing does not return."""
        if self._asking is None or not self._asking.is_alive():
            self._asking = threading.Thread(target=self._write, name="vswitch-ssh-ask", daemon=True)
            self._asking.start()

    def _write(self) -> None:
        question = paramiko.Message()
        question.add_byte(cMSG_GLOBAL_REQUEST)
        question.add_string(QUESTION)
        question.add_boolean(True)
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            self._transport._send_user_message(question)  # type: ignore[attr-defined]
