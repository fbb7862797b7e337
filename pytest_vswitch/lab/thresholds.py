"""Writing thresholds into a lab file, with its comments and order kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from pytest_vswitch.errors import InputError
from pytest_vswitch.lab import loader
from pytest_vswitch.lab.document import compose, read_text
from pytest_vswitch.lab.edit import Edit, edited, end, line_end, replace_file
from pytest_vswitch.lab.limits import LIMITS
from pytest_vswitch.lab.loader import parse_lab
from pytest_vswitch.lab.schema import shown

Thresholds = Mapping[str, Mapping[str, float]]


def updated(path: Path, thresholds: Thresholds) -> str:
    """The text of the lab file `path` with `thresholds` (limits by case id) put in.

    Limits that are given replace those of the file, by case and name; every other
    character stays. Raises InputError when the file is no valid lab, or is written in
    a way that cannot be edited so (e.g. with aliases among its thresholds), or when it
    belongs to the installed package.
    """
    if path.resolve().parent == loader.PACKAGE / "labs":
        raise InputError(
            f"lab `{path.stem}` comes with the plugin and would be lost with its next version; "
            f"copy {shown(path)} to labs/{path.name} and set thresholds there"
        )
    text = read_text(path)
    before = parse_lab(text, path)
    edits: list[Edit] = []
    _merge(text, None, compose(text, path), {"thresholds": thresholds}, edits)
    result = edited(text, edits)
    expected = before.model_dump()
    for case, limits in thresholds.items():
        old = expected["thresholds"].get(case, dict.fromkeys(LIMITS))
        expected["thresholds"][case] = {**old, **limits}
    try:
        correct = parse_lab(result, path).model_dump() == expected
    except InputError:
        correct = False
    if not correct:
        wanted = "\n".join(_lines({"thresholds": thresholds}, 0))
        raise InputError(
            f"{before.where('thresholds')}: these thresholds cannot be put in without changing "
            f"something else; write them by hand:\n{wanted}"
        )
    return result


def write(path: Path, thresholds: Thresholds) -> None:
    """Put `thresholds` (limits by case id) into the lab file `path`, at once or not at all.

    Raises InputError when the file is no valid lab or cannot be replaced.
    """
    text = updated(path, thresholds)
    try:
        replace_file(path.resolve(), text)
    except OSError as error:
        raise InputError(f"{shown(path)}: cannot be written: {error.strerror}") from None


def _merge(
    text: str, key: Node | None, value: Node, new: Mapping[str, Any], edits: list[Edit]
) -> None:
    """Note the edits that put `new` into the mapping `value` below `key` (None: the root)."""
    if key is not None and (isinstance(value, ScalarNode) or not value.value):
        written = bool(value.value) or isinstance(value, MappingNode)  # `{}`, `~` or `null`
        if written:
            start = value.start_mark.index
            edits.append((start - (text[start - 1] == " "), value.end_mark.index, ""))
        at = line_end(text, (value if written else key).end_mark.index)
        edits.append((at, at, _below(new, key.start_mark.column + 2)))
        return
    present = {name.value: (name, item) for name, item in value.value}
    for name in (name for name in new if name in present):
        old_key, old = present[name]
        if isinstance(new[name], Mapping):
            _merge(text, old_key, old, new[name], edits)
        elif old.value:
            edits.append((old.start_mark.index, old.end_mark.index, _number(new[name])))
        else:
            at = text.index(":", old_key.end_mark.index) + 1
            edits.append((at, at, f" {_number(new[name])}"))
    fresh = {name: item for name, item in new.items() if name not in present}
    if fresh and isinstance(value, MappingNode) and value.flow_style:
        at = end(value.value[-1][1])
        edits.append((at, at, f", {_flow(fresh)[1:-1]}"))
    elif fresh:
        at = line_end(text, end(value))
        gap = "\n" if key is None else ""
        edits.append((at, at, gap + _below(fresh, value.value[0][0].start_mark.column)))


def _below(entries: Mapping[str, Any], indent: int) -> str:
    return "".join(f"\n{line}" for line in _lines(entries, indent))


def _lines(entries: Mapping[str, Any], indent: int) -> Iterator[str]:
    for name, item in entries.items():
        if isinstance(item, Mapping):
            yield f"{' ' * indent}{name}:"
            yield from _lines(item, indent + 2)
        else:
            yield f"{' ' * indent}{name}: {_number(item)}"


def _flow(item: Any) -> str:
    if isinstance(item, Mapping):
        return "{" + ", ".join(f"{json.dumps(n)}: {_flow(i)}" for n, i in item.items()) + "}"
    return _number(item)


def _number(limit: float) -> str:
    """A whole number is written as one: `37000`, not `37000.0` or `3.7e+04`."""
    return str(int(limit)) if float(limit).is_integer() else repr(float(limit))
