"""Results from a file into the store; what the file is, its content tells."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from json import loads
from pathlib import Path
from typing import Any

from pytest_vswitch.errors import InputError
from pytest_vswitch.results import schema
from pytest_vswitch.results.sample import Sample
from pytest_vswitch.results.store import open_store, partitions
from pytest_vswitch.results.store.address import PARQUET
from pytest_vswitch.results.store.formats import csit, lines, nfvbench, table, trex
from pytest_vswitch.results.store.formats.flat import short
from pytest_vswitch.results.store.history import Selection
from pytest_vswitch.results.store.rebuild import content_of
from pytest_vswitch.results.store.sql import SqlStore

DOCUMENT_BYTES = 64 * 2**20
"""The longest JSON of another tool that is read."""

_KNOWN = (
    "JSON lines, CSV or Parquet of `vswitch store export`, a results.json, CSIT's test JSON, "
    "NFVbench's JSON or TRex's get_stats as JSON"
)


@dataclass(frozen=True)
class _Foreign:
    """How the JSON of another tool is told and read."""

    name: str
    is_one: Callable[[dict[str, Any]], bool]
    samples: Callable[[dict[str, Any], str, Path], list[Sample]]


_FOREIGN = (
    _Foreign("CSIT", csit.is_one, csit.samples),
    _Foreign("NFVbench", nfvbench.is_one, nfvbench.samples),
    _Foreign("TRex", trex.is_one, trex.samples),
)


def add(store: SqlStore, path: Path, lab: str | None = None) -> tuple[str, int]:
    """What the file is, and how many of its results were new.

    `lab` is that of results whose file does not name one. Raises InputError, with the place,
    for a file that is not understood; what a long file has before that place is kept.
    """
    try:
        kind, found = _read(store, path, lab)
        return kind, store.add(found)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except InputError as error:
        where = str(path)
        text = str(error)
        raise InputError(text if text.startswith(where) else f"{where}: {text}") from None


def _read(store: SqlStore, path: Path, lab: str | None) -> tuple[str, Iterable[Sample]]:
    if path.is_dir():
        return "partitioned Parquet", open_store(f"{PARQUET}{path}").samples(Selection())
    with path.open("rb") as file:
        first = file.readline(lines.LINE_BYTES)
    if first.startswith(b"PAR1"):
        return "Parquet", partitions.read_file(path)
    if lines.is_header(first):
        return "JSON lines", lines.read(path)
    if table.is_header(first):
        return "CSV", table.read(path)
    document = _document(path)
    if "schema_version" in document:
        return "results.json", content_of(schema.load(path))[2]
    for tool in _FOREIGN:
        if tool.is_one(document):
            return tool.name, _as_before(
                store, tool.samples(document, lab or tool.name.lower(), path)
            )
    raise InputError(f"is none of {_KNOWN}: it has {short(sorted(document)[:5])}")


def _as_before(store: SqlStore, found: list[Sample]) -> list[Sample]:
    """With the time that a run has in the store: a copy of a file is younger than its content."""
    at_s = store.began_s(found[0].lab, found[0].run) if found else None
    return found if at_s is None else [replace(one, at_s=at_s) for one in found]


def _document(path: Path) -> dict[str, Any]:
    if path.stat().st_size > DOCUMENT_BYTES:
        raise InputError(f"is none of {_KNOWN}, or longer than {DOCUMENT_BYTES} bytes")
    try:
        document = loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"is none of {_KNOWN}: as JSON, {error}") from None
    if not isinstance(document, dict):
        raise InputError(f"is none of {_KNOWN}: it is {short(document)}")
    return document
