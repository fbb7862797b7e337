"""YAML text to plain data, with the line and column of every key.

The text is only composed to nodes: no tag ever makes an object, and an alias
costs nothing until it is followed, which is counted.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from pytest_vswitch.errors import InputError
from pytest_vswitch.lab.schema import shown

MAX_BYTES = 1_000_000
MAX_NODES = 20_000
"""Values after aliases are followed: far beyond any lab, far below any harm."""
MAX_DEPTH = 20

Key = tuple[str | int, ...]

_CORE = "tag:yaml.org,2002:"

_SECRET = re.compile(r"pass(?:word|phrase)")
"""Names of keys whose values no message repeats."""


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML file, as plain dicts, lists, str, int, float, bool and None."""

    path: Path
    data: object
    marks: dict[Key, tuple[int, int]] = field(default_factory=dict)
    """Line and column, from 1, where each key or list item begins."""


def read_text(path: Path) -> str:
    """The text of a lab file; InputError when it is not a readable text file."""
    name = shown(path)
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            raise InputError(f"{name}: not a file; give the path of a lab file (YAML)")
        if status.st_size > MAX_BYTES:
            raise InputError(
                f"{name}: {status.st_size} bytes is too large for a lab file "
                f"(at most {MAX_BYTES}); is it the right file?"
            )
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{name}: cannot be read: {reason}") from None
    if b"\0" in raw:
        line = raw[: raw.index(b"\0")].count(b"\n") + 1
        raise InputError(f"{name}:{line}: holds binary data; a lab file is YAML text in UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(
            f"{name}:{line}: byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from None


def compose(text: str, path: Path) -> Node:
    """The nodes of the YAML in `text`; `path` is for messages. Raises InputError, with its line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            root: Node | None = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        raise InputError(_syntax(error, text, path)) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(
            f"{shown(path)}:{line}: holds a control character (U+{error.character:04X}); "
            "a lab file is plain text"
        ) from None
    except RecursionError:
        raise InputError(f"{shown(path)}:1: nested too deeply for a lab file") from None
    except (YAMLError, ValueError, AssertionError, TypeError, AttributeError) as error:
        # The parser fails in other ways than its own errors on some malformed input.
        raise InputError(f"{shown(path)}:1: not valid YAML: {_one_line(error)}") from None
    if root is None or root.tag == f"{_CORE}null":
        raise InputError(f"{shown(path)}:1: is empty; a lab needs at least `dut` and `ports`")
    return root


def parse(text: str, path: Path) -> Document:
    """The document in `text` as plain data. Raises InputError as `compose` does."""
    root = compose(text, path)
    reader = _Reader(path)
    return Document(path, reader.value(root, ()), reader.marks)


def _syntax(error: MarkedYAMLError, text: str, path: Path) -> str:
    mark = error.problem_mark or error.context_mark
    place = f"{shown(path)}:{mark.line + 1}:{mark.column + 1}" if mark else f"{shown(path)}:1"
    problem = _one_line(error.problem or error.context or "not valid YAML")
    lines = text.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if _SECRET.search(line):
        problem = re.sub(r" ['`\"].*", "", problem)
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return f"{place}: not valid YAML: a tab in the indentation; indent with spaces"
    if "another document" in problem:
        return f"{place}: a second YAML document begins here; a lab file holds one"
    if "not allowed here" in problem:
        problem += "; look at the indentation of this line and of the one above"
    return f"{place}: not valid YAML: {problem}"


def _one_line(problem: object) -> str:
    return " ".join(str(problem).split())


class _Reader:
    """Walks the nodes once; every value it meets is counted."""

    def __init__(self, path: Path) -> None:
        self.marks: dict[Key, tuple[int, int]] = {}
        self._path = path
        self._scalars = YAML(typ="safe", pure=True).constructor
        self._count = 0

    def value(self, node: Node, key: Key) -> object:
        self.marks.setdefault(key, (node.start_mark.line + 1, node.start_mark.column + 1))
        self._count += 1
        if self._count > MAX_NODES or len(key) > MAX_DEPTH:
            raise self._wrong(node, "holds too many or too deeply nested values (an alias?)")
        if isinstance(node, MappingNode) and node.tag == f"{_CORE}map":
            return self._mapping(node, key)
        if isinstance(node, SequenceNode) and node.tag == f"{_CORE}seq":
            return [self.value(item, (*key, index)) for index, item in enumerate(node.value)]
        if isinstance(node, ScalarNode):
            return self._scalar(node, key)
        raise self._tagged(node, key)

    def _mapping(self, node: MappingNode, key: Key) -> dict[str, object]:
        result: dict[str, object] = {}
        for name, value in node.value:
            if not isinstance(name, ScalarNode) or name.tag != f"{_CORE}str":
                raise self._wrong(name, "a key must be plain text; put it in quotes")
            inner = (*key, name.value)
            if name.value in result:
                first = self.marks[inner][0]
                raise self._wrong(
                    name, f"key `{name.value}` is here twice, first in line {first}; keep one"
                )
            self.marks[inner] = (name.start_mark.line + 1, name.start_mark.column + 1)
            result[name.value] = self.value(value, inner)
        return result

    def _scalar(self, node: ScalarNode, key: Key) -> object:
        text: str = node.value
        kind = str(node.tag).removeprefix(_CORE)
        if kind in ("str", "timestamp"):
            return text
        if kind == "null":
            return None
        try:
            if kind == "bool":
                return bool(self._scalars.construct_yaml_bool(node))
            if kind == "int":
                return int(self._scalars.construct_yaml_int(node))
            if kind == "float":
                return float(self._scalars.construct_yaml_float(node))
        except (ValueError, KeyError, IndexError):
            given = "this" if _is_secret(key) else f"`{text[:40]}`"
            raise self._wrong(node, f"{given} is not a usable number ({kind})") from None
        raise self._tagged(node, key)

    def _tagged(self, node: Node, key: Key) -> InputError:
        tag = "a tag" if _is_secret(key) else f"tag `{_tag(node)}`"
        return self._wrong(node, f"{tag} is not allowed; write a plain value")

    def _wrong(self, node: Node, what: str) -> InputError:
        mark = node.start_mark
        return InputError(f"{shown(self._path)}:{mark.line + 1}:{mark.column + 1}: {what}")


def _is_secret(key: Key) -> bool:
    return bool(key) and _SECRET.search(str(key[-1])) is not None


def _tag(node: Node) -> str:
    return str(node.tag).replace(_CORE, "!!")
