"""Files of sysfs and procfs that a host may not have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from pytest_vswitch.hosts.host import Host


def text(host: Host, path: str) -> str:
    """What the file says, without the newline at its end; nothing if there is no such file."""
    try:
        return host.read_text(path).strip()
    except OSError:
        return ""


def number(word: str) -> int | None:
    """A whole number in decimal; None if it is something else."""
    return int(word) if word.strip().lstrip("-").isdigit() else None


def directories(texts: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Files by directory, then by name, their texts stripped."""
    grouped: dict[str, dict[str, str]] = {}
    for path, content in texts.items():
        parent, name = str(PurePosixPath(path).parent), PurePosixPath(path).name
        grouped.setdefault(parent, {})[name] = content.strip()
    return grouped
