"""Edits of a lab file's text, so that every other character of it stays."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Edit = tuple[int, int, str]
"""Replace the characters from, to, by."""


def put(text: str, mapping: MappingNode, name: str, value: str) -> Edit:
    """The edit that gives a key of `mapping`, which is not empty, a scalar (as YAML)."""
    for key, old in mapping.value:
        if key.value == name and isinstance(old, ScalarNode):
            if old.value:
                return (old.start_mark.index, old.end_mark.index, value)
            at = text.index(":", key.end_mark.index) + 1
            return (at, at, f" {value}")
    if mapping.flow_style:
        at = end(mapping.value[-1][1])
        return (at, at, f", {name}: {value}")
    at = line_end(text, end(mapping))
    return (at, at, f"\n{' ' * mapping.value[0][0].start_mark.column}{name}: {value}")


def edited(text: str, edits: Sequence[Edit]) -> str:
    """The edits done; of two at one place, the one that was noted first comes first."""
    line_break = "\r\n" if "\r\n" in text else "\n"
    parts, done = [], 0
    for start, end, insert in sorted(edits, key=lambda edit: edit[0]):
        parts += [text[done:start], insert.replace("\n", line_break)]
        done = end
    return "".join([*parts, text[done:]])


def end(node: Node) -> int:
    """Where the text of a node ends; a block's own mark lies beyond its trailing comments."""
    if isinstance(node, (MappingNode, SequenceNode)) and not node.flow_style and node.value:
        last = node.value[-1]
        if isinstance(last, Node):
            return end(last)
        name, item = last
        return end(item if item.value else name)
    return int(node.end_mark.index)


def line_end(text: str, index: int) -> int:
    """End of the line that a node ends in; a block scalar ends at the next line's start."""
    if text[index - 1 : index] == "\n":
        index -= 1
    elif (index := text.find("\n", index)) < 0:
        return len(text)
    return index - (text[index - 1 : index] == "\r")


def replace_file(path: Path, text: str) -> None:
    """Write beside the file, sync, and rename over it; mode and owner stay."""
    old = path.stat()
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), old.st_mode & 0o7777)
            with suppress(PermissionError):
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
