"""Values of another tool's JSON, asked for by their path; a wrong one is told by it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from hashlib import sha256
from json import dumps
from typing import Any

from pytest_vswitch.errors import InputError
from pytest_vswitch.results.store.formats.flat import short


def at(document: Mapping[str, Any], *path: str) -> Any:
    """What stands there; None if nothing does. Raises InputError where it cannot stand."""
    value: Any = document
    for depth, name in enumerate(path):
        if value is None:
            return None
        if not isinstance(value, dict):
            raise _wrong(path[:depth], "an object", value)
        value = value.get(name)
    return value


def objects(document: Mapping[str, Any], *path: str) -> dict[str, Any]:
    value = at(document, *path)
    if value is not None and not isinstance(value, dict):
        raise _wrong(path, "an object", value)
    return value or {}


def number(document: Mapping[str, Any], *path: str) -> float | None:
    """None if there is none."""
    value = at(document, *path)
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            if math.isfinite(value):
                return float(value)
        except OverflowError:
            pass
    raise _wrong(path, "a finite number", value)


def text(document: Mapping[str, Any], *path: str) -> str:
    """Empty if there is none; a number is taken as its digits."""
    value = at(document, *path)
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, int | float):
        return str(value)
    raise _wrong(path, "text", value)


def digest(document: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits of the content, for the id of a run that has none."""
    return sha256(dumps(document, sort_keys=True).encode()).hexdigest()[:8]


def _wrong(path: tuple[str, ...], should: str, value: object) -> InputError:
    return InputError(f"`{'.'.join(path)}` should be {should}, but is {short(value)}")
