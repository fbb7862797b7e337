"""Bash for a person: commands with their reasons, and a way back that always runs.

The text of a script depends on its steps only: printed twice, it is the same.
"""

from __future__ import annotations

import base64
import importlib.resources
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field

from pytest_vswitch.hosts import knobs
from pytest_vswitch.hosts.undo import Change

_WIDTH = 100
_INDENT = "    "
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
_ESCAPES = {"\\": r"\\", "'": r"\'", "\n": r"\n", "\t": r"\t", "\r": r"\r"}

# --- words and commands -------------------------------------------------------------------


def word(text: str) -> str:
    """One word that bash reads as exactly `text` (which has no NUL)."""
    if _PLAIN.fullmatch(text):
        return text
    # `$` in single quotes is right, too, but to a reader it looks as if it was meant to expand.
    if text.isprintable() and not re.search(r"['$`\\]", text):
        return f"'{text}'"
    return "$'" + "".join(map(_escaped, text)) + "'"


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    raw = character.encode(errors="surrogateescape")
    return "".join(f"\\x{byte:02x}" for byte in raw)


def command(argv: Sequence[str]) -> str:
    """A command line; options begin new lines where it is a long one."""
    groups: list[list[str]] = [[]]
    for text in argv:
        if text.startswith("-"):
            groups.append([])
        groups[-1].append(word(text))
    lines = [""]
    for group in groups:
        # An option stays with its value.
        for part in group if len(group) > 2 else [" ".join(group)]:
            if lines[-1] and len(lines[-1]) + len(part) > _WIDTH - 12:
                lines.append("")
            lines[-1] = f"{lines[-1]} {part}".lstrip()
    return f" \\\n{2 * _INDENT}".join(lines)


def fed(line: str, data: bytes, after: str = "") -> str:
    """A command with `data` on its standard input, and what follows it, e.g. ` || true`."""
    if not data:
        return f"{line} </dev/null{after}"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return f"base64 -d <<'END' | {line}{after}\n{_base64(data)}END"
    if not text.endswith("\n"):
        return f"printf %s {word(text)} | {line}{after}"
    end = _delimiter(text)
    return f"{line} <<'{end}'{after}\n{text}{end}"


def write(path: str, data: bytes) -> str:
    """The command that makes `data` a file's content."""
    target = word(path)
    if path.startswith(("/sys/", "/proc/")):
        return f"echo {word(data.decode().strip())} >{target}"
    if b"\0" in data:
        return f"base64 -d >{target} <<'END'\n{_base64(data)}END"
    if not data.endswith(b"\n"):
        return f"printf %s {word(data.decode(errors='surrogateescape'))} >{target}"
    return fed(f"cat >{target}", data)


def _base64(data: bytes) -> str:
    return base64.encodebytes(data).decode()


def _delimiter(text: str) -> str:
    end = "END"
    while end in text.splitlines():
        end += "_"
    return end


def perl(pattern: re.Pattern[str]) -> str:
    """A regular expression as `grep -P` takes it, in one line."""
    flags = "".join(
        letter
        for letter, flag in (("s", re.DOTALL), ("m", re.MULTILINE), ("i", re.IGNORECASE))
        if pattern.flags & flag
    )
    text = pattern.pattern.replace("\\\n", r"\n").replace("\n", r"\n")
    return f"(?{flags}){text}" if flags else text


def undone(change: Change) -> str:
    """The command that undoes a change, also one that was not made, or undone before."""
    words = [change.path]
    if change.kind == "rewrote":
        before = change.before.rstrip("\n")
        text = knobs.to_write(change.path, before)
        after = "*" if change.after is None else change.after.rstrip("\n")
        words += [before, *([after] if after != "*" or text != before else [])]
        words += [text] if text != before else []
    elif change.kind == "rewrote_in":
        values = [change.before] if change.after is None else [change.before, change.after]
        words = [*change.path.split(":", 1), *(value.rstrip("\n") for value in values)]
    elif change.kind in ("bound", "functions"):
        words += [change.before, *([] if change.after is None else [change.after])]
    elif change.kind in ("linked", "containers", "delegated", "domain"):
        words += [] if change.after is None else [change.after]
    elif change.kind in ("filtered", "feature"):
        words = [*change.path.split(" "), *([change.before] if change.before else [])]
    elif change.kind == "mounted":
        words += [change.before or "0"]
    return " ".join([_UNDO[change.kind], *map(word, words)])


_UNDO = {
    "made": "rm -rf --",
    "rewrote": "put_back",
    "rewrote_in": "put_back_in",
    "bound": "rebind",
    "functions": "functions",
    "linked": "delete_interface",
    "namespace": "ip netns delete",
    "filtered": "delete_filter",
    "feature": "set_feature",
    "mounted": "unmount",
    "containers": "remove_containers",
    "delegated": "take_back",
    "directory": "rmdir --ignore-fail-on-non-empty --",
    "domain": "remove_domain",
}


# --- the script ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """One command, ready to be read."""

    text: str
    why: str = ""


@dataclass
class Check:
    """What a test asks of what is up: a person carries it out, the script only says how."""

    name: str
    about: str = ""
    """Its steps and what they must show, as the suite says it."""
    steps: list[Step] = field(default_factory=list)
    """Commands; one without text is a remark: what is sent, what is expected."""

    def lines(self) -> list[str]:
        about = [line for line in self.about.splitlines() if line.strip()]
        found = [self.name, *(f"  {line}" for line in about)]
        for step in self.steps:
            found += [f"    # {line}" for line in textwrap.wrap(step.why, _WIDTH - 12)]
            found += [f"    {line}" for line in step.text.splitlines()]
        return found


@dataclass
class Script:
    """What is done on one host, and undone at the end."""

    title: str
    """What the script is, for its first lines."""
    node: str
    """The host's own name (`uname -n`): the script refuses to run elsewhere."""
    run: str
    """Directory on the host for sockets, pipes and logs; it must not exist, and goes at the end."""
    up: list[Step] = field(default_factory=list)
    undo: list[Step] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """What is said when everything is up."""
    aside: list[Step] = field(default_factory=list)
    """What a run goes on with, and this script only mentions."""
    needs: list[str] = field(default_factory=list)
    """What must be there before, a sentence each."""
    traffic: list[str] = field(default_factory=list)
    """What the generator sends and how it is counted, a line each."""
    checks: list[Check] = field(default_factory=list)
    """What the suite then asks, test by test."""

    def text(self) -> str:
        up = [_step(step) for step in self.up]
        if self.aside:
            up.append(_aside(self.aside))
        if self.checks:
            up.append(_checks(self))
        up += [f"{_INDENT}say {word(line)}" for line in self.told]
        undo = [_step(step) for step in self.undo]
        body = "\n".join(["up() {", *up, "}", "", "undo() {", _BEFORE_UNDO, *undo])
        asked = "\n".join(step.text for check in self.checks for step in check.steps)
        return "\n".join(
            [
                "#!/usr/bin/env bash",
                *textwrap.wrap(self.title, 98, initial_indent="# ", subsequent_indent="# "),
                "# First comes what is done, then what undoes it: at the end, after Ctrl-C or",
                "# SIGTERM, or when a command fails. Above both: the words that they use.",
                *_needs(self.needs),
                "set -eEu",
                "export LC_ALL=C.UTF-8",
                "declare -A pids inputs from",
                f"run={word(self.run)}",
                "",
                _words(f"{body}\n{asked}") + body,
                f'{_INDENT}rm -rf -- "$run"',
                "}",
                "",
                f"[[ $(uname -n) = {word(self.node)} ]] || fail "
                + word(f"this was planned for the host {self.node}"),
                "[[ $EUID = 0 ]] || fail 'run this as root'",
                'mkdir -m 711 "$run" ||',
                f"{_INDENT}fail \"one is up; was it killed, 'bash $run/undo' cleans up\"",
                "# The way back, should this shell be killed.",
                '{ declare -p run pids inputs from; declare -f; echo undo; } >"$run/undo"',
                "trap undo EXIT",
                "trap 'exit 130' INT",
                "trap 'exit 143' TERM HUP",
                "trap 'say \"failed: $BASH_COMMAND\"' ERR",
                "up",
                "hold",
                "",
            ]
        )


_BEFORE_UNDO = f"""\
{_INDENT}trap '' INT TERM HUP
{_INDENT}trap - ERR
{_INDENT}set +e"""


def _step(step: Step) -> str:
    return _comment(step.why) + _INDENT + step.text


def _comment(text: str) -> str:
    lines = textwrap.wrap(text, _WIDTH - 6)
    return "".join(f"{_INDENT}# {line}\n" for line in lines)


def _aside(steps: Sequence[Step]) -> str:
    lines = ["The run then attaches its traffic generator. Here you attach yours; the run's own:"]
    lines += [f"  {line}" for step in steps for line in step.text.splitlines()]
    return "\n".join(f"{_INDENT}# {line}".rstrip() for line in lines)


def _needs(needs: Sequence[str]) -> list[str]:
    """A paragraph of the head."""
    lines = ["#", "# Before:"] if needs else []
    for need in needs:
        lines += textwrap.wrap(
            need,
            98,
            initial_indent="# - ",
            subsequent_indent="#   ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


_CHECKS = """\
What the suite then asks, test by test. From another terminal, `tell NAME TEXT` is
  printf '%s\\n' 'TEXT' >RUN/NAME.in
and the answer is at the end of RUN/NAME.log; other lines are typed
as they are. After a # is what is sent, and what is to be expected: else the test fails."""


def _checks(script: Script) -> str:
    lines = [*script.traffic, "", *_CHECKS.replace("RUN", script.run).splitlines()]
    for check in script.checks:
        lines += ["", *check.lines()]
    return "\n".join(f"{_INDENT}# {line}".rstrip() for line in ["", *lines, ""])


def _words(body: str) -> str:
    """The functions of `plan.bash` that `body` needs, and those that they need."""
    text = (importlib.resources.files("pytest_vswitch") / "hosts/plan.bash").read_text()
    functions = {
        found[1]: block.strip("\n")
        for block in re.split(r"\n\n(?=#|\w+\(\))", text)
        if (found := re.search(r"^(\w+)\(\)", block, re.MULTILINE))
    }
    needed = {"say", "fail", "hold", *_called(body, functions)}
    while (more := _called("\n".join(functions[name] for name in needed), functions)) - needed:
        needed |= more
    return "".join(f"{functions[name]}\n\n" for name in functions if name in needed)


def _called(text: str, names: Sequence[str] | dict[str, str]) -> set[str]:
    calls = set(re.findall(r"(?:^|[|&;({!]|then|else|do)\s*(\w+) ", text, re.MULTILINE))
    return calls & set(names)
