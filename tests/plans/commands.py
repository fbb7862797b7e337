"""The commands of a plan, as bash hands them to programs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

_BEGIN, _END = "\nup() {\n", "\n[[ $(uname -n)"
_ASKED = "    #     "
"""How a line begins that a person types for a test."""
_PIECE = re.compile(
    r"""\$'(?P<ansi>(?:[^'\\]|\\.)*)'|'(?P<plain>[^']*)'|"(?P<soft>[^"]*)"|(?P<bare>[^\s'"|<>;&]+)""",
    re.DOTALL,
)
_OPERATOR = re.compile(r"\|\||[|<>;&]+")
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|(.))", re.DOTALL)
_NAMED = {"n": "\n", "t": "\t", "r": "\r"}


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a plan."""

    words: tuple[str, ...]
    stdin: str
    """Of a here document; else empty."""
    name: str = ""
    """Of a program that stays: what the script calls it."""

    @property
    def program(self) -> str:
        return PurePosixPath(self.words[0]).name

    def __str__(self) -> str:
        return " ".join(self.words)


def commands(text: str) -> Iterator[Command]:
    """Those of a script's `up` and `undo`, and those that a person types for its tests."""
    body = text[text.index(_BEGIN) + len(_BEGIN) : text.index(_END)]
    lines = iter(body.splitlines())
    for line in lines:
        if line.startswith(f"{_ASKED}# ") or not (line.startswith(_ASKED) or _is_done(line)):
            continue
        said = _unmarked(line)
        while said.endswith("\\"):
            said = f"{said[:-1].rstrip()} {_unmarked(next(lines))}"
        stdin = ""
        if found := re.search(r"<<'(END_*)'", said):
            said = said.replace(found[0], "")
            mark = _ASKED if line.startswith(_ASKED) else ""
            here = []
            while (more := next(lines).removeprefix(mark)) != found[1]:
                here.append(f"{more}\n")
            stdin = "".join(here)
        for part in _pipeline(said):
            if command := _unwrapped(part, stdin):
                yield command


def _is_done(line: str) -> bool:
    return line.startswith("    ") and not line.lstrip().startswith("#")


def _unmarked(line: str) -> str:
    return re.sub(r"^ *(# +)?", "", line)


def _pipeline(said: str) -> Iterator[tuple[str, ...]]:
    """The words of each command; where it reads from and writes to is left out."""
    words: list[str] = []
    at, redirected = 0, False
    while at < len(said):
        if said[at].isspace():
            at += 1
        elif operator := _OPERATOR.match(said, at):
            at = operator.end()
            if operator[0] in ("|", "||", "&", ";", "&&"):
                yield tuple(words)
                words = []
            else:
                redirected = True
        else:
            word = ""
            while piece := _PIECE.match(said, at):
                at = piece.end()
                word += _read(piece)
            if not redirected:
                words.append(word)
            redirected = False
    yield tuple(words)


def _read(piece: re.Match[str]) -> str:
    if piece["ansi"] is None:
        return piece["plain"] or piece["soft"] or piece["bare"] or ""

    def character(found: re.Match[str]) -> str:
        return chr(int(found[1], 16)) if found[1] else _NAMED.get(found[2], found[2])

    return _ESCAPE.sub(character, piece["ansi"])


def _unwrapped(words: tuple[str, ...], stdin: str) -> Command | None:
    """Without what only says where, and how, a program is started."""
    name = ""
    while words:
        match words:
            case ["start", name, *rest]:
                words = tuple(rest)
            case ["stdbuf", "-oL", *rest] | ["ip", "netns", "exec", _, *rest]:
                words = tuple(rest)
            case ["env", "-C", _, *rest]:
                words = tuple(rest)
            case ["env", *rest]:
                words = tuple(rest)
                while words and re.match(r"[A-Z_]+=", words[0]):
                    words = words[1:]
            case _:
                return Command(words, stdin, name)
    return None
