"""A sample as named plain values: what JSON lines, CSV and Parquet have in common."""

from __future__ import annotations

from collections.abc import Mapping
from json import dumps, loads
from typing import Any

from pytest_vswitch.errors import InputError
from pytest_vswitch.results.sample import Environment, Sample
from pytest_vswitch.results.store.content import check_numbers

TEXTS = ("run", "lab", "suite", "case", "metric", "unit", "better")
NUMBERS = ("at_s", "value")
BOUNDS = ("low", "high")
FLAGS = ("censored", "simulated")
PLAIN = (
    *("run", "lab", "at_s", "order", "suite", "case", "metric", "unit", "better"),
    *("value", "low", "high", "censored", "lossy_hop", "simulated"),
)
"""The fields of a sample that are plain values, in the order of its definition."""

PARTS = ("machine", "software", "setup")
"""Of an environment."""


def plain(one: Sample) -> dict[str, Any]:
    return {name: getattr(one, name) for name in PLAIN}


def sample(values: Mapping[str, Any], versions: object, environment: Environment) -> Sample:
    """Made of `PLAIN`. Raises InputError for what is missing, unknown or of a wrong type."""
    for name in TEXTS:
        if type(values.get(name)) is not str:
            raise _wrong(name, "text", values)
    for name in NUMBERS:
        if type(values.get(name)) not in (int, float):
            raise _wrong(name, "a number", values)
    for name in BOUNDS:
        if values.get(name) is not None and type(values[name]) not in (int, float):
            raise _wrong(name, "a number or nothing", values)
    for name in FLAGS:
        if type(values.get(name, False)) is not bool:
            raise _wrong(name, "true or false", values)
    if type(values.get("order")) is not int:
        raise _wrong("order", "a whole number", values)
    if type(values.get("lossy_hop", "")) is not str:
        raise _wrong("lossy_hop", "text", values)
    if values["better"] not in ("more", "less"):
        raise _wrong("better", "`more` or `less`", values)
    try:
        made = Sample(**values, versions=texts("versions", versions), environment=environment)
        check_numbers(made)
    except TypeError:
        unknown = ", ".join(sorted(values.keys() - set(PLAIN)))
        raise InputError(f"has {unknown[:100]}, which is no field of a result") from None
    except OverflowError:
        raise InputError("a number is too large") from None
    return made


def environment(parts: Mapping[str, object]) -> Environment:
    """Made of `PARTS`. Raises InputError if they are none."""
    return Environment(*(texts(name, parts.get(name)) for name in PARTS))


def texts(name: str, value: object) -> dict[str, str]:
    """`value`, if that is a JSON object of texts. Raises InputError if it is not."""
    if isinstance(value, dict) and all(
        isinstance(word, str) for pair in value.items() for word in pair
    ):
        return value
    raise InputError(f"`{name}` should be an object of texts, but is {short(value)}")


def parsed(name: str, text: object) -> object:
    """`text` as JSON. Raises InputError if it is none."""
    try:
        return loads(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, RecursionError):
        raise InputError(f"`{name}` should be a JSON object, but is {short(text)}") from None


def as_json(value: Mapping[str, str]) -> str:
    return dumps(dict(value), sort_keys=True)


def short(value: object) -> str:
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # e.g. an integer of more digits than Python prints
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:60]}..."


def _wrong(name: str, should: str, values: Mapping[str, Any]) -> InputError:
    if name not in values:
        return InputError(f"has no `{name}`")
    return InputError(f"`{name}` should be {should}, but is {short(values[name])}")
