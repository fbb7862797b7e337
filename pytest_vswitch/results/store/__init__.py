"""Where results of many runs are kept: a database, or Parquet files to read.

SQLAlchemy, DuckDB and their drivers are imported when a store is opened, not before.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_vswitch.results.store.address import PARQUET

if TYPE_CHECKING:
    from pytest_vswitch.results.store.parquet import ParquetHistory
    from pytest_vswitch.results.store.sql import SqlStore


def open_store(place: str | Path) -> SqlStore | ParquetHistory:
    """A `History`: of `sqlite:///FILE`, the path of an SQLite file, `postgresql://...`, or
    `parquet:DIR`, which is for reading only.

    A database is made, or brought to today's schema, where that is needed. To be closed, or
    used in a `with`. Raises InputError for a place that is none, HostError for one that
    cannot be reached or is of a newer version.
    """
    text = str(place)
    if text.startswith(PARQUET):
        from pytest_vswitch.results.store.parquet import ParquetHistory

        return ParquetHistory(text.removeprefix(PARQUET))
    from pytest_vswitch.results.store.sql import SqlStore

    return SqlStore(text)
