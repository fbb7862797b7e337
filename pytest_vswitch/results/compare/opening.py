"""The history that a command reads: the store, with every run of the reports directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_vswitch.results.sample import Sample
from pytest_vswitch.results.store import open_store
from pytest_vswitch.results.store.address import VARIABLE, chosen
from pytest_vswitch.results.store.history import History, RunSummary, Selection
from pytest_vswitch.results.store.rebuild import sync


class _Nothing:
    """The history of a reports directory that does not exist."""

    def runs(self, lab: str | None = None) -> list[RunSummary]:
        return []

    def samples(self, selection: Selection) -> Iterator[Sample]:
        return iter(())


@contextmanager
def opened(store: str | None, reports: Path) -> Iterator[History]:
    """`store`: a URL, or None for the one in `reports`. Raises InputError and HostError."""
    if not (store or os.environ.get(VARIABLE) or reports.is_dir()):
        yield _Nothing()  # who only reads leaves no directory behind
        return
    with open_store(chosen(store, reports)) as history:
        sync(history, reports)
        yield history
