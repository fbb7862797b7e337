"""Text that a running program writes, and waits for facts in it, each with a deadline."""

from __future__ import annotations

import codecs
import contextlib
import re
import threading
import time
from collections.abc import Callable
from typing import BinaryIO

from pytest_vswitch.errors import DeadlineError, DutError

_KEPT = 8192
"""How much of what was read stays, to be quoted in error messages [characters]."""

_WIDE = 200
"""How much of a long line is quoted [characters]."""
_UNREAD = 1 << 20
"""How much that nobody reads is held at most; all of it is in the log [characters]."""


class Console:
    """The output and input of one program, read by a thread so that nothing ever blocks it."""

    def __init__(
        self,
        name: str,
        read: Callable[[], bytes],
        write: Callable[[bytes], object],
        log: BinaryIO,
    ) -> None:
        """`read` blocks for the next bytes and returns none at the end; `write` never blocks.

        `log` is closed at the end of the output.
        """
        self.name = name
        self._read = read
        self._write = write
        self._log = log
        self._text = ""
        self._unread = 0
        self._ended = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._pump, name=f"console {name}", daemon=True)
        self._thread.start()

    def write(self, text: str, *, why: str = "") -> None:
        """Raises DutError, with the last output, when nobody reads any more.

        `why` is for the reader of a plan: here the program's own log says what became of it.
        """
        del why
        try:
            self._write(text.encode())
        except OSError as error:
            raise DutError(f"{self.name} no longer takes input ({error}){self.quote()}") from None

    def read_until(self, pattern: re.Pattern[str], *, timeout_s: float, what: str) -> str:
        """The text from the last read up to and with `pattern`.

        Raises, with the last output, DutError when the program ends first, DeadlineError
        when `what`, the fact waited for, did not appear within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        with self._news:
            while not (found := pattern.search(self._text, self._unread)):
                if self._ended:
                    raise DutError(f"{self.name} ended before {what}{self.quote()}")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise DeadlineError(
                        f"{self.name}: no {what} within {timeout_s:g} s{self.quote()}"
                    )
                self._news.wait(left)
            text = self._text[self._unread : found.end()]
            forget = max(0, found.end() - _KEPT)
            self._text = self._text[forget:]
            self._unread = found.end() - forget
            return text

    @property
    def ended(self) -> bool:
        return self._ended

    def seen(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """The first match in what has not been read yet, without waiting or reading."""
        with self._news:
            return pattern.search(self._text, self._unread)

    def tail(self, lines: int = 15) -> str:
        """The last lines it wrote, as far as a reader can take them in."""
        last = self._text.rstrip().splitlines()[-lines:]
        return "\n".join(line if len(line) <= _WIDE else f"{line[:_WIDE]}..." for line in last)

    def quote(self) -> str:
        """The last output, indented, for the end of an error message."""
        tail = self.tail()
        return (
            "; it said nothing"
            if not tail
            else "; its last output:\n    " + tail.replace("\n", "\n    ")
        )

    def close(self) -> bool:
        """Wait for the end of the output, whose other end is gone; whether it came."""
        self._thread.join(timeout=2)
        return not self._thread.is_alive()

    def _pump(self) -> None:
        # A character may arrive in two parts.
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        with self._log:
            while not self._ended:
                try:
                    data = self._read()
                except OSError:
                    data = b""
                with contextlib.suppress(OSError):  # a full disk must not stop the program
                    self._log.write(data)
                with self._news:
                    self._text += decoder.decode(data, final=not data).replace("\r", "")
                    if (surplus := len(self._text) - self._unread - _UNREAD) > 0:
                        self._text = self._text[self._unread + surplus :]
                        self._unread = 0
                    self._ended = not data
                    self._news.notify_all()
