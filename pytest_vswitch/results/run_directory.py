"""Where a run is kept: `reports/<run id>/`, its files, and how it is found again."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.results import journal, schema, template
from pytest_vswitch.results.record import Record

LATEST = "latest"


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The files of one run."""

    path: Path

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def transcript(self) -> Path:
        return self.path / "transcript.log"

    @property
    def cases(self) -> Path:
        return self.path / "cases"

    def read(self) -> Record:
        """The run, from its journal, or from `results.json` where only that was copied.

        Raises InputError as `journal.read` and `schema.load` do.
        """
        if self.journal.exists() or not self.results.exists():
            return journal.read(self.journal)
        return schema.load(self.results)

    def write(self, record: Record) -> None:
        """Write `results.json` and each case's template. Raises HostError if it cannot."""
        schema.dump(record, self.results)
        for name, case in zip(slugs([c.id for c in record.cases]), record.cases, strict=True):
            lines = case.template or template.render(case, record.host)
            try:
                (self.cases / name).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise HostError(f"cannot create {self.cases / name}: {error.strerror}") from error
            schema.write_atomically(self.cases / name / "template.txt", template.text(lines))


def new_id(began: datetime | None = None) -> str:
    """A run id: UTC time and process id, e.g. `20261121-024500-1234`; sorts by time."""
    moment = (began or datetime.now(timezone.utc)).astimezone(timezone.utc)
    return f"{moment:%Y%m%d-%H%M%S}-{os.getpid()}"


def create(reports: Path, run_id: str) -> RunDirectory:
    """Make `reports/<run_id>/` and point `reports/latest` at it.

    Raises HostError if it cannot be made or exists already.
    """
    path = reports / run_id
    try:
        (path / "cases").mkdir(parents=True)
        link = reports / f".{LATEST}-{run_id}"
        link.symlink_to(run_id, target_is_directory=True)
        link.replace(reports / LATEST)
    except FileExistsError:
        raise HostError(f"{path} exists already: a run never writes over another") from None
    except OSError as error:
        raise HostError(f"cannot create {error.filename or path}: {error.strerror}") from error
    return RunDirectory(path)


def find(reports: Path, run: str) -> RunDirectory:
    """A run by its id, by the path of its directory or of a file in it, or by `latest`.

    Raises InputError, with the runs that there are, if there is none such.
    """
    for path in (reports / run, Path(run)):
        directory = path.parent if path.is_file() else path
        found = RunDirectory(directory.resolve())
        if run and (found.journal.exists() or found.results.exists()):
            return found
    known = list_runs(reports)
    there = ", ".join(known[-5:]) if known else "none"
    there += f" and {len(known) - 5} older" if len(known) > 5 else ""
    raise InputError(f"no run `{run}` in {reports}; there {'are' if known else 'is'}: {there}")


def list_runs(reports: Path) -> list[str]:
    """The ids of all runs in `reports`, oldest first."""
    if not reports.is_dir():
        return []
    return sorted(
        path.name
        for path in reports.iterdir()
        if not path.is_symlink()
        and ((path / "journal.jsonl").exists() or (path / "results.json").exists())
    )


def slugs(case_ids: Sequence[str]) -> list[str]:
    """A directory name for each case id, e.g. `pvp-frame_bytes-64`; no two alike."""
    names: list[str] = []
    for case_id in case_ids:
        base = re.sub(r"[^A-Za-z0-9_.]+", "-", case_id).strip("-.")[:100] or "case"
        name, number = base, 1
        while name in names:
            number += 1
            name = f"{base}-{number}"
        names.append(name)
    return names
