"""Parquet files: partitioned by lab and month, or one file; written by PyArrow.

What repeats is dictionary-encoded, so that a sample may carry all of its environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.results.sample import Environment, Sample
from pytest_vswitch.results.store.content import LAST_S, versions_text
from pytest_vswitch.results.store.formats import flat
from pytest_vswitch.results.store.history import History, RunSummary, Selection

if TYPE_CHECKING:
    import pyarrow

EXTRA = "pip install pytest-vswitch[parquet]"
PATTERN = "lab=*/month=*/*.parquet"
FILE = "results.parquet"
ROWS = 50_000
"""Samples that are encoded together."""

_TYPES = dict.fromkeys((*flat.NUMBERS, *flat.BOUNDS), "float64")
_TYPES |= {**dict.fromkeys(flat.FLAGS, "bool"), "order": "int32"}
"""Of the columns that are no texts."""


def write(directory: Path, history: History, labs: Sequence[str] = ()) -> int:
    """Write all runs, or those of `labs`, to `directory/lab=LAB/month=MONTH/`; how many files.

    What another store has written there stays; a run that both have is taken from `history`.
    Raises InputError without PyArrow, HostError when it cannot be written.
    """
    arrow()
    parts: dict[tuple[str, str], list[RunSummary]] = {}
    for run in history.runs():
        if not labs or run.lab in labs:
            parts.setdefault((run.lab, month_of(run.at_s)), []).append(run)
    for (lab, month), runs in parts.items():
        file = directory / f"lab={_quoted(lab)}" / f"month={month}" / FILE
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HostError(f"cannot create {file.parent}: {error.strerror}") from None
        wanted = Selection(labs=(lab,), runs=tuple(run.run for run in runs))
        tables = [_table(history.samples(wanted)).drop_columns(["lab"])]
        tables += _of_others(file, {run.run for run in runs})
        write_tables(file, tables)
    return len(parts)


def write_tables(file: Path, tables: Iterable[pyarrow.Table]) -> int:
    """Write a file whole or not at all; how many rows. Raises HostError if it cannot."""
    pyarrow = arrow()
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    rest = iter(tables)
    try:
        table = next(rest)
        count: int = table.num_rows
        with draft.open("wb") as target:
            with pyarrow.parquet.ParquetWriter(target, table.schema, compression="zstd") as writer:
                writer.write_table(table)
                for table in rest:
                    writer.write_table(table)
                    count += table.num_rows
            target.flush()
            os.fsync(target.fileno())
        draft.replace(file)
    except (OSError, pyarrow.ArrowException) as error:
        raise HostError(f"cannot write {file}: {error}") from None
    finally:
        with suppress(OSError):
            draft.unlink()
    return count


def read_file(file: Path) -> Iterator[Sample]:
    """What `write_tables` wrote. Raises InputError, with the row, for what is no sample."""
    pyarrow = arrow()
    environments: dict[tuple[str, ...], Environment] = {}
    versions: dict[str, dict[str, str]] = {}
    row = 0
    try:
        names = (*flat.PLAIN, "versions", *flat.PARTS)
        with pyarrow.parquet.ParquetFile(file) as there:
            if missing := [name for name in names if name not in there.schema_arrow.names]:
                raise InputError(f"has no column {', '.join(missing)}")
            for batch in there.iter_batches(ROWS, columns=list(names)):
                columns = [_values(batch.column(name)) for name in names]
                for *plain, used, machine, software, setup in zip(*columns, strict=True):
                    row += 1
                    parts = (machine, software, setup)
                    if used not in versions:
                        versions[used] = flat.texts("versions", flat.parsed("versions", used))
                    if parts not in environments:
                        loaded = map(flat.parsed, flat.PARTS, parts)
                        environments[parts] = flat.environment(
                            dict(zip(flat.PARTS, loaded, strict=True))
                        )
                    values = dict(zip(flat.PLAIN, plain, strict=True))
                    yield flat.sample(values, versions[used], environments[parts])
    except InputError as error:
        raise InputError(f"{file}: {f'row {row}: ' if row else ''}{error}") from None
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{file}: is damaged: {error}") from None


def _values(column: Any) -> list[Any]:
    """A column as Python's values; texts that repeat are one object, so that they cost little."""
    types = arrow().types
    if types.is_string(column.type) or types.is_large_string(column.type):
        column = column.dictionary_encode()
    if not types.is_dictionary(column.type):
        return list(column.to_pylist())
    texts = column.dictionary.to_pylist()
    return [None if at is None else texts[at] for at in column.indices.to_pylist()]


def tables(samples: Iterable[Sample]) -> Iterator[pyarrow.Table]:
    """The samples in portions that fit into memory; at least one table."""
    rest = iter(samples)
    yield _table(islice(rest, ROWS))
    while portion := list(islice(rest, ROWS)):
        yield _table(portion)


def arrow() -> Any:
    """PyArrow. Raises InputError if it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(f"Parquet needs `{EXTRA}` ({error})") from None
    return pyarrow


def month_of(at_s: float) -> str:
    """E.g. `2026-11`, in UTC; of times that no run has, the first or the last."""
    return f"{datetime.fromtimestamp(min(max(at_s, 0), LAST_S - 1), timezone.utc):%Y-%m}"


def _of_others(file: Path, runs: set[str]) -> list[pyarrow.Table]:
    """What the file has of other runs than these. Raises HostError if it is damaged."""
    pyarrow = arrow()
    if not file.exists():
        return []
    try:
        there = pyarrow.parquet.ParquetFile(file).read()
        others = pyarrow.compute.invert(
            pyarrow.compute.is_in(there["run"].cast("string"), pyarrow.array(sorted(runs)))
        )
        rest = there.filter(others)
    except (OSError, KeyError, pyarrow.ArrowException) as error:
        raise HostError(f"{file}: cannot be read, move it away: {error}") from None
    return [rest] if rest.num_rows else []


def _table(samples: Iterable[Sample]) -> pyarrow.Table:
    pyarrow = arrow()
    rows = list(samples)
    columns: dict[str, Any] = {}
    for name in flat.PLAIN:
        values = [getattr(one, name) for one in rows]
        kind = _TYPES.get(name)
        columns[name] = pyarrow.array(values, kind) if kind else _repeating(values)
    columns["versions"] = _repeating([versions_text(one.versions) for one in rows])
    texts: dict[int, tuple[str, ...]] = {}
    for one in rows:
        used = one.environment
        if id(used) not in texts:
            parts = (used.machine, used.software, used.setup)
            texts[id(used)] = (used.digest, *map(flat.as_json, parts))
    for place, name in enumerate(("environment", *flat.PARTS)):
        columns[name] = _repeating([texts[id(one.environment)][place] for one in rows])
    return pyarrow.table(columns)


def _repeating(texts: list[str]) -> Any:
    """A column of few different texts."""
    pyarrow = arrow()
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    return pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([places[text] for text in texts], "int32"),
        pyarrow.array(list(places), "string"),
    )


def _quoted(lab: str) -> str:
    """As readers of such directories undo it."""
    quoted = quote(lab, safe="")
    if quoted.lower() in ("null", "__hive_default_partition__"):  # their words for nothing
        return f"%{ord(quoted[0]):02X}{quoted[1:]}"
    return quoted
