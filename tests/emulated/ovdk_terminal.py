"""What an emulated program says and is told, in virtual time."""

from __future__ import annotations

import re
from collections.abc import Callable

from pytest_vswitch.errors import DeadlineError, DutError


class Terminal:
    """A process, or a console of the guest, in virtual time: what does not come, never comes."""

    pid = 4711

    def __init__(self, name: str, answer: Callable[[str], str] = lambda text: "") -> None:
        self.name = name
        self.ended = False
        self._text = ""
        self._answer = answer

    def say(self, text: str) -> None:
        self._text += text

    def write(self, text: str, *, why: str = "") -> None:
        if self.ended:
            raise DutError(f"{self.name} no longer takes input")
        said = self._answer(text)  # which may say more of its own accord, before
        self._text += said

    def read_until(self, pattern: re.Pattern[str], *, timeout_s: float, what: str) -> str:
        if found := pattern.search(self._text):
            text, self._text = self._text[: found.end()], self._text[found.end() :]
            return text
        if self.ended:
            raise DutError(f"{self.name} ended before {what}; its last output: {self._text}")
        raise DeadlineError(f"{self.name}: no {what} within {timeout_s:g} s")

    def status(self, *, within_s: float = 0.0) -> int | None:
        return 1 if self.ended else None

    def signal(self, number: int) -> None:
        self.ended = True

    def pin(self, thread: str, cpu: int, *, why: str = "") -> None: ...

    def seen(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        return pattern.search(self._text)

    def quote(self) -> str:
        return ""

    def tail(self, lines: int = 15) -> str:
        return self._text

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.ended = True
