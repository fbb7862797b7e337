"""Results into a file: what the ending of its name says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.results.store import partitions
from pytest_vswitch.results.store.formats import lines, table
from pytest_vswitch.results.store.history import History, Selection

_TEXT = {".jsonl": lines.write, ".json": lines.write, ".csv": table.write}


def write(file: Path, history: History, labs: Sequence[str] = ()) -> int:
    """Write all results, or those of `labs`, whole or not at all; how many.

    Raises InputError for an ending that is none of ours, HostError if it cannot be written.
    """
    samples = history.samples(Selection(labs=tuple(labs)))
    if file.suffix == ".parquet":
        return partitions.write_tables(file, partitions.tables(samples))
    if file.suffix not in _TEXT:
        raise InputError(f"{file}: end it with .jsonl, .csv or .parquet to say what it shall be")
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8", newline="") as target:
            count = _TEXT[file.suffix](target, samples)
            target.flush()
            os.fsync(target.fileno())
        draft.replace(file)
    except OSError as error:
        raise HostError(f"cannot write {file}: {error.strerror}") from None
    finally:
        with suppress(OSError):
            draft.unlink()
    return count
