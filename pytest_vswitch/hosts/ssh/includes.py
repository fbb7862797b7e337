"""The text of an OpenSSH configuration with its `Include` lines carried out.

Source: ssh_config(5). paramiko reads everything else, but passes over `Include`.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path

from pytest_vswitch.errors import InputError

DEEPEST = 16
"""How deep files may include others, as in OpenSSH."""

_LINE = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)(.+?)\s*")
_EVERY_HOST = "Host *"


def text_of(path: Path, *, depth: int = 0) -> str:
    """The file and what it includes as one text. Raises InputError."""
    return "\n".join(_lines(path, depth)) + "\n"


def _lines(path: Path, depth: int) -> Iterator[str]:
    if depth > DEEPEST:
        raise InputError(f"{path}: `Include` goes deeper than {DEEPEST} files")
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(f"cannot read the SSH configuration {path}: {why}") from None
    block = _EVERY_HOST
    for number, line in enumerate(text.splitlines(), 1):
        found = _LINE.fullmatch(line)
        keyword = found[1].lower() if found else ""
        if keyword in ("host", "match"):
            block = line
        if found is None or keyword != "include":
            yield line
            continue
        for included in _files(found[2], path):
            inner = list(_lines(included, depth + 1))
            if block != _EVERY_HOST and any(_opens_block(text) for text in inner):
                raise InputError(
                    f"{path}:{number}: this `Include` stands within a `Host` block, and "
                    f"{included} has such blocks, too; write it at the top of the file"
                )
            yield from inner
            yield block  # what follows belongs to the block that it stood in


def _opens_block(line: str) -> bool:
    found = _LINE.fullmatch(line)
    return found is not None and found[1].lower() in ("host", "match") and line != _EVERY_HOST


def _files(patterns: str, path: Path) -> Iterator[Path]:
    """The files of an Include line; names are relative to ~/.ssh, or to /etc/ssh there."""
    base = Path("/etc/ssh") if path.is_relative_to("/etc") else Path("~/.ssh").expanduser()
    for pattern in patterns.replace('"', "").split():
        for name in sorted(glob.glob(str(base / os.path.expanduser(pattern)))):
            yield Path(name)
