"""A run's end: its results into the store that was named.

The store in the reports directory is not touched here: it catches up when it is read.
"""

from __future__ import annotations

import os

from pytest_vswitch.errors import VswitchError
from pytest_vswitch.results.record import Record
from pytest_vswitch.results.run_directory import RunDirectory
from pytest_vswitch.results.store.address import PARQUET, VARIABLE


def named(given: str | None) -> str:
    """What `--store` or the variable name that can be added to; empty if neither does.

    Raises InputError for a URL that is wrong or whose driver is missing: before the run.
    """
    place = given or os.environ.get(VARIABLE, "")
    if not place or place.startswith(PARQUET):
        return ""
    from pytest_vswitch.results.store.database import check

    check(place)
    return place


def keep(place: str, record: Record, directory: RunDirectory) -> str:
    """Add a run that has ended. What went wrong, for a reader: it fails nothing, and the
    journal has it all.
    """
    if not place:
        return ""
    from pytest_vswitch.results.store.rebuild import add_record, size_of
    from pytest_vswitch.results.store.sql import SqlStore

    try:
        with SqlStore(place) as store:
            add_record(store, record, size_of(directory))
    except (VswitchError, OSError) as error:
        return (
            f"not in the store: {error}; nothing is lost: `vswitch store sync --reports "
            f"{directory.path.parent}` with the same --store (or {VARIABLE}) catches up"
        )
    return ""
