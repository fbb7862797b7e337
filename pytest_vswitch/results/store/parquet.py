"""A history in partitioned Parquet files, read through DuckDB.

`DIR/lab=LAB/month=2026-11/*.parquet`, as `partitions.write` makes them: what is not selected
by lab or time is not opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from json import loads
from pathlib import Path
from typing import Any

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.results.sample import Environment, Sample
from pytest_vswitch.results.store.formats.flat import PLAIN
from pytest_vswitch.results.store.history import RunSummary, Selection, joined
from pytest_vswitch.results.store.partitions import EXTRA, PATTERN, month_of

ROWS = 10_000
"""Samples that are read together."""

_TABLE = (
    "read_parquet(?, hive_partitioning = true, union_by_name = true, "
    "hive_types = {'lab': VARCHAR, 'month': VARCHAR})"
)


class ParquetHistory:
    """See `open_store`."""

    def __init__(self, directory: str) -> None:
        """Raises InputError where there are no such files, or DuckDB is not installed."""
        self.shown = f"parquet:{directory}"
        self._files = f"{directory}/{PATTERN}"
        try:
            import duckdb
        except ImportError as error:
            raise InputError(f"{self.shown}: needs `{EXTRA}` ({error})") from None
        self._error = duckdb.Error
        if "://" not in directory and not any(Path(directory).glob(PATTERN)):
            raise InputError(
                f"{self.shown}: has no {PATTERN.replace('*', '...')}; "
                f"`vswitch store export --partitioned {directory}` writes them"
            )
        self._connection = duckdb.connect()

    def __enter__(self) -> ParquetHistory:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def runs(self, lab: str | None = None) -> list[RunSummary]:
        where, values = _conditions(Selection(labs=() if lab is None else (lab,)))
        query = (
            "SELECT run, lab, min(at_s) AS began_s, bool_or(simulated), count(*), "
            f"list(DISTINCT software) FROM {_TABLE} {where} GROUP BY run, lab "
            "ORDER BY began_s, run, lab"
        )
        return [
            RunSummary(
                run=run,
                lab=lab,
                at_s=at_s,
                software=joined(map(loads, software)),
                simulated=simulated,
                samples=samples,
            )
            for run, lab, at_s, simulated, samples, software in self._rows(query, values)
        ]

    def samples(self, selection: Selection) -> Iterator[Sample]:
        where, values = _conditions(selection)
        # Apart: environments are long and few.
        query = (
            "SELECT environment, any_value(machine), any_value(software), any_value(setup) "
            f"FROM {_TABLE} {where} GROUP BY environment"
        )
        environments = {
            digest: Environment(*map(loads, parts)) for digest, *parts in self._rows(query, values)
        }
        versions: dict[str, dict[str, str]] = {}
        plain = ", ".join(f'"{name}"' for name in PLAIN)
        query = (
            f"SELECT environment, versions, {plain} FROM {_TABLE} {where} "
            'ORDER BY at_s, run, lab, "order", metric'
        )
        for digest, used, *values_of in self._rows(query, values):
            if used not in versions:
                versions[used] = loads(used)
            yield Sample(
                **dict(zip(PLAIN, values_of, strict=True)),
                versions=versions[used],
                environment=environments[digest],
            )

    def _rows(self, query: str, values: Sequence[object]) -> Iterator[tuple[Any, ...]]:
        # A cursor of its own: one query may be under way while another one begins.
        with self._told(), self._connection.cursor() as cursor:
            cursor.execute(query, [self._files, *values])
            while rows := cursor.fetchmany(ROWS):
                yield from rows

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Raises HostError, e.g. for a file that is none of Parquet."""
        try:
            yield
        except self._error as error:
            raise HostError(f"{self.shown}: {' '.join(str(error).split())}") from None


def _conditions(selection: Selection) -> tuple[str, list[object]]:
    """A WHERE clause with its values. Labs and months let whole files be passed over."""
    words: list[str] = []
    values: list[object] = []
    for column, names in (
        ("lab", selection.labs),
        ("run", selection.runs),
        ('"case"', selection.cases),
        ("metric", selection.metrics),
    ):
        if names:
            words.append(f"{column} IN ({', '.join('?' * len(names))})")
            values += names
    if selection.since_s is not None:
        words += ["at_s >= ?", "month >= ?"]
        values += [selection.since_s, month_of(selection.since_s)]
    if selection.until_s is not None:
        words += ["at_s < ?", "month <= ?"]
        values += [selection.until_s, month_of(selection.until_s)]
    if selection.simulated is not None:
        words.append("simulated = ?")
        values.append(selection.simulated)
    return (f"WHERE {' AND '.join(words)}" if words else ""), values
