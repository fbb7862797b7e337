"""Reading and writing `results.json`: validation, its errors, its JSON Schema."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.results.record import SCHEMA_VERSION, Record

SCHEMA_FILE = Path(__file__).with_name(f"results-{SCHEMA_VERSION}.schema.json")
"""The packaged JSON Schema, for readers in other languages."""


def load(path: Path) -> Record:
    """The record in a results file.

    Raises InputError, with one message, when the file is missing, empty, damaged, not a
    results file, or written by a newer version.
    """
    raw = read_bytes(path)
    if not raw.strip():
        raise InputError(f"{path}: is empty; `vswitch report RUN` writes it again")
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: {_not_json(error)}") from None
    version = content.get("schema_version") if isinstance(content, dict) else None
    if type(version) is not int:
        raise InputError(f"{path}: is not a results file: it has no `schema_version`")
    refuse_newer(version, str(path))
    try:
        return adapter().validate_json(raw, strict=True)
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error, content)}") from None


def dump(record: Record, path: Path) -> None:
    """Write `record` to `path`, whole or not at all. Raises HostError if it cannot."""
    write_atomically(path, adapter().dump_json(record, indent=1).decode() + "\n")


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of `results.json`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"pytest-vswitch results, version {SCHEMA_VERSION}",
        **{k: v for k, v in adapter().json_schema().items() if k != "title"},
    }


def json_schema_text() -> str:
    """The content of `SCHEMA_FILE`."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def refuse_newer(version: int, where: str) -> None:
    """Raise InputError if `version` of the schema is newer than this package's."""
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{where}: written by a newer pytest-vswitch (schema {version}; this one reads "
            f"up to {SCHEMA_VERSION}): upgrade"
        )


def read_bytes(path: Path) -> bytes:
    """The file's content. Raises InputError if it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: does not exist") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def write_atomically(path: Path, text: str) -> None:
    """Write a file whole or not at all, power cuts included. Raises HostError if it cannot."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise HostError(f"cannot write {path}: {error.strerror}") from error


def explain(
    error: ValidationError, content: object, *, within: str = "the file", skip: int = 0
) -> str:
    """The first fault of `content`: where it is, what it is, what would be right.

    The first `skip` steps of each location are names of the schema, not of the content.
    """
    faults = error.errors(include_url=False)
    first = faults[0]
    places = [_place(fault["loc"][skip:], content) for fault in faults]
    place, value = places[0]
    match first["type"]:
        case "missing" | "missing_argument":
            what = "is missing"
        case "unexpected_keyword_argument" | "extra_forbidden":
            what = "is not a field of this schema: remove it, or upgrade pytest-vswitch"
        case "union_tag_not_found" | "union_tag_invalid":
            what = f"is no event of this journal: {_short(value)}"
        case _:
            should = first["msg"].removeprefix("Input should be ")
            what = f"should be {should}, but is {_short(value)}"
    others = len({path for path, _ in places} - {place})
    more = f" (and {others} more fault{'s' * (others > 1)})" if others else ""
    return f"{place or within} {what}{more}"


def _place(location: tuple[int | str, ...], content: object) -> tuple[str, object]:
    """A path such as `cases[0].measurements[1].sent`, and the value that is there.

    Pydantic appends which member of a union it tried: such steps lead nowhere.
    """
    path = ""
    for step in location:
        if isinstance(content, list) and isinstance(step, int):
            path += f"[{step}]"
            content = content[step] if step < len(content) else None
        elif isinstance(content, dict):
            path += f".{step}" if path else str(step)
            content = content.get(step)
        else:
            break
    return path, content


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _not_json(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        rest = error.doc[error.pos :].rstrip()
        # A word, or a number: of `1.5` and `1e-7` the reader takes the `1`.
        unfinished = ("null", "true", "false", "-", ".", "e-", "e+", "E-", "E+")
        cut = any(word.startswith(rest) for word in unfinished)
        if cut or error.msg.startswith("Unterminated"):
            return (
                f"ends in the middle, at line {error.lineno}; `vswitch report RUN` writes it again"
            )
        return f"line {error.lineno}, column {error.colno}: is not JSON: {error.msg}"
    if isinstance(error, UnicodeDecodeError):
        return "is not text: a results file is JSON in UTF-8"
    return f"is not JSON: {error}"


@cache
def adapter() -> TypeAdapter[Record]:
    """Pydantic's validator of a record, built on first use."""
    return TypeAdapter(Record)
