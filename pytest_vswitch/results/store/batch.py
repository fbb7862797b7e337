"""Some runs on their way into the database, in one transaction.

Every transaction takes its locks in one order (what samples refer to, by table and key; then
runs, by lab and id), so that no two wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, bindparam, insert, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from pytest_vswitch.errors import InputError
from pytest_vswitch.results.sample import Environment, Sample
from pytest_vswitch.results.store import content
from pytest_vswitch.results.store.tables import (
    CASE,
    ENVIRONMENT,
    HOP,
    METRIC,
    RUN,
    RUN_ENVIRONMENT,
    SAMPLE,
    VERSIONS,
)

Key = tuple[str, ...]
Row = tuple[Any, ...]
Ids = dict[Table, dict[Key, int]]
"""Of what samples refer to, as far as they are known."""

COLUMNS = tuple(column.name for column in SAMPLE.columns if column.name != "run_id")
_PLACE, _METRIC, _CASE, _ENVIRONMENT, _VERSIONS, _SIMULATED = (
    COLUMNS.index(name)
    for name in ("place", "metric_id", "case_id", "environment_id", "versions_id", "simulated")
)
_of_measurement = itemgetter(_CASE, _ENVIRONMENT, _VERSIONS, _SIMULATED)
"""What all metrics of one measurement share."""

KEYS: dict[Table, tuple[str, ...]] = {
    CASE: ("suite", "name"),
    ENVIRONMENT: ("digest",),
    HOP: ("name",),
    METRIC: ("name", "unit", "better"),
    VERSIONS: ("versions",),
}
"""What samples refer to, in the order that it is written, and how it is told apart."""


class Batch:
    """See above."""

    def __init__(
        self,
        connection: Connection,
        ids: Ids,
        groups: dict[Key, list[Sample]],
        at_s: float | None,
        file_bytes: int | None,
    ) -> None:
        self._connection = connection
        self._ids = ids
        self._groups = dict(sorted(groups.items()))
        self._at_s = at_s
        self._file_bytes = file_bytes

    def write(self) -> int:
        for (lab, run), samples in self._groups.items():
            content.check_names((lab, run))
            for one in samples:
                content.check_numbers(one)
        self._refer()
        rows: list[dict[str, Any]] = []
        links: list[dict[str, int]] = []
        changes: list[dict[str, Any]] = []
        for there in self._locked():
            samples = self._groups[there.lab, there.run]
            fresh, digest = self._fresh(there, samples)
            rows += (dict(zip(COLUMNS, row, strict=True), run_id=there.id) for row in fresh)
            links += (
                {"run_id": there.id, "environment_id": environment}
                for environment in sorted({row[_ENVIRONMENT] for row in fresh})
            )
            change = {
                "digest": digest,
                "samples": there.samples + len(fresh),
                "simulated": there.simulated or any(row[_SIMULATED] for row in fresh),
                "file_bytes": there.file_bytes if self._file_bytes is None else self._file_bytes,
            }
            if any(getattr(there, name) != value for name, value in change.items()):
                changes.append({"of": there.id, **change})
        if rows:
            self._connection.execute(insert(SAMPLE), rows)
            self._connection.execute(self._insert_new(RUN_ENVIRONMENT), links)
        if changes:
            self._connection.execute(update(RUN).where(RUN.c.id == bindparam("of")), changes)
        return len(rows)

    def _fresh(self, there: Any, samples: list[Sample]) -> tuple[list[Row], str]:
        """The rows that the run lacks, and its digest with them."""
        if any(one.at_s != there.at_s for one in samples):
            raise _other_content(there, "it began at another time")
        digest = content.digest(samples)
        if digest == there.digest:
            return [], digest
        known: dict[tuple[int, int], Row] = {}
        measured: dict[int, Row] = {}
        if there.samples:
            columns = [SAMPLE.c[name] for name in COLUMNS]
            query = select(*columns).where(SAMPLE.c.run_id == there.id)
            for row in map(tuple, self._connection.execute(query)):
                known[row[_PLACE], row[_METRIC]] = row
                measured[row[_PLACE]] = _of_measurement(row)
        fresh: dict[Row, Sample] = {}
        for one in samples:
            row = self._row(one)
            before = known.setdefault((row[_PLACE], row[_METRIC]), row)
            if before is row:
                fresh[row] = one
            shared = _of_measurement(row)
            if before != row or measured.setdefault(row[_PLACE], shared) != shared:
                what = f"measurement {one.order}, {one.metric} of {one.case}, differs"
                raise _other_content(there, what)
        if len(fresh) < len(samples) or there.samples:
            digest = content.digest(fresh.values(), there.digest)
        return list(fresh), digest

    def _row(self, one: Sample) -> Row:
        ids = self._ids
        return (
            one.order,
            ids[METRIC][one.metric, one.unit, one.better],
            ids[CASE][one.suite, one.case],
            ids[ENVIRONMENT][(one.environment.digest,)],
            ids[VERSIONS][(content.versions_text(one.versions),)],
            ids[HOP][(one.lossy_hop,)],
            float(one.value),
            None if one.low is None else float(one.low),
            None if one.high is None else float(one.high),
            bool(one.censored),
            bool(one.simulated),
        )

    def _refer(self) -> None:
        """Have an id of all that the samples refer to."""
        wanted: dict[Table, dict[Key, Environment | None]] = {table: {} for table in KEYS}
        for samples in self._groups.values():
            for one in samples:
                wanted[CASE][one.suite, one.case] = None
                wanted[METRIC][one.metric, one.unit, one.better] = None
                wanted[HOP][(one.lossy_hop,)] = None
                wanted[VERSIONS][(content.versions_text(one.versions),)] = None
                wanted[ENVIRONMENT][(one.environment.digest,)] = one.environment
        for table, keys in wanted.items():
            if not (keys.keys() <= self._ids[table].keys()):
                self._look_up(table)
            if new := sorted(keys.keys() - self._ids[table].keys()):
                self._connection.execute(
                    self._insert_new(table), [_named(table, key, keys[key]) for key in new]
                )
                self._look_up(table)

    def _look_up(self, table: Table) -> None:
        columns = [table.c[name] for name in KEYS[table]]
        for number, *key in self._connection.execute(select(table.c.id, *columns)):
            self._ids[table][tuple(key)] = number

    def _locked(self) -> list[Any]:
        """The row of each run, which nobody else changes until this transaction ends."""
        new = [
            {
                "lab": lab,
                "run": run,
                "at_s": float(samples[0].at_s if self._at_s is None else self._at_s),
                "digest": "",
                "samples": 0,
                "simulated": False,
            }
            for (lab, run), samples in self._groups.items()
        ]
        self._connection.execute(self._insert_new(RUN), new)
        rows: list[Any] = []
        keys = list(self._groups)
        for begin in range(0, len(keys), 1000):  # a statement has a limit of values
            some = keys[begin : begin + 1000]
            query = select(RUN).where(is_one_of(some)).order_by(RUN.c.lab, RUN.c.run)
            rows += self._connection.execute(query.with_for_update()).all()
        return rows

    def _insert_new(self, table: Table) -> Any:
        dialect = sqlite if self._connection.dialect.name == "sqlite" else postgresql
        return dialect.insert(table).on_conflict_do_nothing()


def is_one_of(keys: Iterable[Key]) -> ColumnElement[bool]:
    return tuple_(RUN.c.lab, RUN.c.run).in_(list(keys))


def _named(table: Table, key: Key, environment: Environment | None) -> dict[str, object]:
    """The row of something that samples refer to. Raises InputError as `check_names` does."""
    content.check_names(key)
    row: dict[str, object] = dict(zip(KEYS[table], key, strict=True))
    if environment:
        for part in ("machine", "software", "setup"):
            texts = dict(getattr(environment, part))
            content.check_names((*texts, *texts.values()), content.ENVIRONMENT_BYTES)
            row[part] = texts
    return row


def _other_content(there: Any, what: str) -> InputError:
    return InputError(
        f"run {there.run} of lab {there.lab} is in the store with other content: {what}; "
        "`vswitch store rebuild` takes what the journals of the reports directory say"
    )
