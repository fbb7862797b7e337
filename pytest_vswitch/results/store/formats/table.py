"""CSV (RFC 4180) with a header; what an environment is, its first row says."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from pytest_vswitch.errors import InputError
from pytest_vswitch.results.sample import Environment, Sample
from pytest_vswitch.results.store.content import versions_text
from pytest_vswitch.results.store.formats import flat

COLUMNS = (*flat.PLAIN, "versions", "environment", *flat.PARTS)
_FLAGS = {"true": True, "false": False}


def write(file: TextIO, samples: Iterable[Sample]) -> int:
    """How many samples."""
    table = csv.writer(file, lineterminator="\n")
    table.writerow(COLUMNS)
    known: set[str] = set()
    count = 0
    for one in samples:
        values = flat.plain(one)
        for name in flat.FLAGS:
            values[name] = str(values[name]).lower()
        used, parts = one.environment, [""] * len(flat.PARTS)
        if used.digest not in known:
            known.add(used.digest)
            parts = [flat.as_json(getattr(used, name)) for name in flat.PARTS]
        table.writerow([*values.values(), versions_text(one.versions), used.digest, *parts])
        count += 1
    return count


def is_header(line: bytes) -> bool:
    return {b"run", b"case", b"metric", b"value"} <= set(line.strip().split(b","))


def read(path: Path) -> Iterator[Sample]:
    """Raises InputError, with the line, for what is none; OSError.

    Read twice: whoever sorted the rows may have put the one that says what an environment is
    behind others of it.
    """
    known: dict[str, Environment] = {}
    versions: dict[str, dict[str, str]] = {}
    for where, row in _rows(path):
        if row["machine"] and row["environment"] not in known:
            try:
                parts = {name: flat.parsed(name, row[name]) for name in flat.PARTS}
                known[row["environment"]] = flat.environment(parts)
            except InputError as error:
                raise InputError(f"{where}: {error}") from None
    for where, row in _rows(path):
        try:
            if row["environment"] not in known:
                raise InputError("no row says what its environment is")
            used = row["versions"]
            if used not in versions:
                versions[used] = flat.texts("versions", flat.parsed("versions", used))
            values = {name: _value(name, row[name]) for name in flat.PLAIN}
            yield flat.sample(values, versions[used], known[row["environment"]])
        except InputError as error:
            raise InputError(f"{where}: {error}") from None


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.reader(file, strict=True)
        try:
            columns = next(table, [])
            if missing := [name for name in COLUMNS if name not in columns]:
                raise InputError(f"{path}:1: has no column {', '.join(missing)}")
            for row in table:
                if len(row) != len(columns):
                    raise InputError(
                        f"{path}:{table.line_num}: has {len(row)} fields, not {len(columns)}"
                    )
                yield f"{path}:{table.line_num}", dict(zip(columns, row, strict=True))
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{path}:{table.line_num}: is not CSV in UTF-8: {error}") from None


def _value(name: str, text: str) -> Any:
    """Of one field, or the text itself where it is no such value: `flat.sample` tells it."""
    try:
        if name == "order":
            return int(text)
        if name in flat.BOUNDS and not text:
            return None
        if name in (*flat.NUMBERS, *flat.BOUNDS):
            return float(text)
    except ValueError:
        return text
    return _FLAGS.get(text, text) if name in flat.FLAGS else text
