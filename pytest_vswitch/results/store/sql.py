"""The store in a database: SQLite or PostgreSQL, by SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter

from sqlalchemy import and_, delete, select

from pytest_vswitch.results.sample import Sample
from pytest_vswitch.results.store.batch import KEYS, Batch, Ids, Key, is_one_of
from pytest_vswitch.results.store.database import Database
from pytest_vswitch.results.store.history import RunSummary, Selection, joined
from pytest_vswitch.results.store.known import Known
from pytest_vswitch.results.store.tables import ENVIRONMENT, RUN, RUN_ENVIRONMENT

BATCH = 50_000
"""Samples that are written together when many come: memory and locks are bounded by it."""

ROWS = 10_000
"""Samples that are read together."""

_RUN_KEY = attrgetter("lab", "run")


class SqlStore:
    """See `open_store`. Also a `History`."""

    def __init__(self, place: str) -> None:
        self._database = Database(place)
        self.shown = self._database.shown
        """Its URL without a password."""
        self._ids: Ids = {table: {} for table in KEYS}

    def __enter__(self) -> SqlStore:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    # --- writing ---

    def add(self, samples: Iterable[Sample]) -> int:
        """Keep what is not there yet; how many that were.

        A run is written whole or not at all when its samples come one after the other. Raises
        InputError for a run that is there with other content, or a sample that is none: what
        came in earlier batches is kept then.
        """
        added, waiting, count = 0, dict[Key, list[Sample]](), 0
        for key, group in groupby(samples, _RUN_KEY):
            if count >= BATCH:
                added += self._put(waiting)
                waiting, count = {}, 0
            batch = list(group)
            waiting.setdefault(key, []).extend(batch)
            count += len(batch)
        return added + self._put(waiting)

    def add_run(
        self, lab: str, run: str, at_s: float, samples: Sequence[Sample], *, file_bytes: int
    ) -> int:
        """As `add`, of a run whose journal is that long: `sync` reads it again when it grows."""
        return self._put({(lab, run): list(samples)}, at_s=at_s, file_bytes=file_bytes)

    def replace_run(
        self, lab: str, run: str, at_s: float, samples: Sequence[Sample], *, file_bytes: int
    ) -> int:
        """As `add_run`, in the place of whatever was there."""
        return self._put({(lab, run): list(samples)}, at_s=at_s, file_bytes=file_bytes, anew=True)

    def _put(
        self,
        groups: dict[Key, list[Sample]],
        *,
        at_s: float | None = None,
        file_bytes: int | None = None,
        anew: bool = False,
    ) -> int:
        if not groups:
            return 0
        try:
            with self._database.writing() as connection:
                if anew:
                    connection.execute(delete(RUN).where(is_one_of(groups)))
                return Batch(connection, self._ids, groups, at_s, file_bytes).write()
        except BaseException:
            # Some ids may have been of rows that are not there after all.
            self._ids = {table: {} for table in KEYS}
            raise

    # --- reading ---

    def read_from(self) -> dict[str, int]:
        """How long the file of each run was when it was read; of those that were read here."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(RUN.c.run, RUN.c.file_bytes).where(RUN.c.file_bytes.is_not(None))
            )
            return {row.run: row.file_bytes for row in rows}

    def began_s(self, lab: str, run: str) -> float | None:
        """When that run began [Unix time, s]; None if it is not there."""
        with self._database.reading() as connection:
            found: float | None = connection.scalar(
                select(RUN.c.at_s).where(is_one_of([(lab, run)]))
            )
            return found

    def runs(self, lab: str | None = None) -> list[RunSummary]:
        wanted = and_(RUN.c.samples > 0, *([] if lab is None else [RUN.c.lab == lab]))
        with self._database.reading() as connection:
            software = {
                one.id: one.software
                for one in connection.execute(select(ENVIRONMENT.c.id, ENVIRONMENT.c.software))
            }
            used: dict[int, list[dict[str, str]]] = {}
            for run, environment in connection.execute(
                select(RUN_ENVIRONMENT).join(RUN).where(wanted)
            ):
                used.setdefault(run, []).append(software[environment])
            rows = connection.execute(select(RUN).where(wanted)).all()
        return sorted(
            (
                RunSummary(
                    run=row.run,
                    lab=row.lab,
                    at_s=row.at_s,
                    software=joined(used[row.id]),
                    simulated=row.simulated,
                    samples=row.samples,
                )
                for row in rows
            ),
            key=lambda one: (one.at_s, one.run, one.lab),
        )

    def samples(self, selection: Selection) -> Iterator[Sample]:
        with self._database.reading() as connection:
            known = Known(connection, selection)
            rows = connection.execution_options(yield_per=ROWS).execute(known.query())
            for row in rows:
                yield known.sample(row)
