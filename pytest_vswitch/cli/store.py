"""`vswitch store`: what is in the store, catching up, and moving results in and out."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_vswitch.cli.command import Commands, add_store, command
from pytest_vswitch.errors import InputError

if TYPE_CHECKING:
    from pytest_vswitch.results.store.sql import SqlStore


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    store = command(
        commands,
        "store",
        "the results of all runs: look, catch up, export, import",
        "The store keeps the numbers of all runs, for `compare`, `trend` and `bisect`: by\n"
        "default an SQLite file in the reports directory, or a team's PostgreSQL. The journals\n"
        "of the runs stay the truth: the store can be made from them again.",
        "vswitch store show\n  vswitch store import old/*.json",
    )
    actions = store.add_subparsers(title="actions", metavar="ACTION", required=True)
    _action(
        actions,
        "show",
        _show,
        "the runs that are in the store, oldest first",
        "Adds the runs of the reports directory that the store lacks, and lists all it has.",
    )
    _action(
        actions,
        "sync",
        _sync,
        "add the runs that the store lacks",
        "Adds each run of the reports directory that the store lacks or that has grown. A run\n"
        "whose journal is damaged is told and passed over.",
    )
    _action(
        actions,
        "rebuild",
        _rebuild,
        "put the runs of the reports directory into the store anew",
        "Puts each run of the reports directory into the store anew, whatever the store has of\n"
        "it. What was imported stays.",
    )
    export = _action(
        actions,
        "export",
        _export,
        "write results to a file",
        "Writes results as JSON lines, CSV or Parquet, by the ending of the file's name:\n"
        ".jsonl, .csv or .parquet. With --partitioned, DIR holds Parquet files by lab and\n"
        "month, to be read as `--store parquet:DIR`; what others have written there stays.",
        "FILE.jsonl --lab lab1\n  vswitch store export --partitioned /shared/results",
    )
    target = export.add_mutually_exclusive_group(required=True)
    target.add_argument("file", metavar="FILE", nargs="?", type=Path, help="what to write")
    target.add_argument("--partitioned", metavar="DIR", type=Path, help="a directory of Parquet")
    export.add_argument(
        "--lab", metavar="NAME", action="append", default=[], help="only of this lab; repeatable"
    )
    importing = _action(
        actions,
        "import",
        _import,
        "add the results in files",
        "Adds results that were exported, and those of other tools: CSIT's test JSON,\n"
        "NFVbench's JSON, and statistics of TRex's `get_stats`. What a file is, is seen from its\n"
        "content. What the store has already is passed over.",
        "results.csv\n  vswitch store import --lab csit-3n-icx csit/*.info.json",
    )
    importing.add_argument("files", metavar="FILE", nargs="+", type=Path, help="what to read")
    importing.add_argument(
        "--lab",
        metavar="NAME",
        help="lab of what another tool measured (default: csit, nfvbench or trex)",
    )


def _action(
    actions: Commands[argparse.ArgumentParser],
    name: str,
    action: Callable[[argparse.Namespace], None],
    short: str,
    long: str,
    example: str = "",
) -> argparse.ArgumentParser:
    parser = command(actions, name, short, long, f"vswitch store {name} {example}".rstrip())
    add_store(parser)
    parser.set_defaults(command=action)
    return parser


def _show(arguments: argparse.Namespace) -> None:
    from datetime import datetime, timezone

    from pytest_vswitch.results.store import open_store
    from pytest_vswitch.results.store.rebuild import sync

    with open_store(_place(arguments)) as store:
        sync(store, arguments.reports)
        runs = store.runs()
    for one in runs:
        began = datetime.fromtimestamp(one.at_s, timezone.utc)
        software = ", ".join(f"{role} {version}" for role, version in one.software.items())
        simulated = "simulated, " if one.simulated else ""
        lab, run, versions = map(_printable, (one.lab, one.run, software))
        print(f"{began:%Y-%m-%d %H:%M}  {lab}  {run}  {simulated}{one.samples} results  {versions}")
    print(f"{store.shown}: {len(runs)} run{'s' * (len(runs) != 1)}")


def _sync(arguments: argparse.Namespace) -> None:
    from pytest_vswitch.results.store.rebuild import sync

    with _writable(arguments) as store:
        print(f"{store.shown}: {sync(store, arguments.reports)} results added")


def _rebuild(arguments: argparse.Namespace) -> None:
    from pytest_vswitch.results.store.rebuild import rebuild

    with _writable(arguments) as store:
        print(f"{store.shown}: {rebuild(store, arguments.reports)} results from the journals")


def _export(arguments: argparse.Namespace) -> None:
    from pytest_vswitch.results.store import export, open_store, partitions
    from pytest_vswitch.results.store.rebuild import sync

    with open_store(_place(arguments)) as store:
        sync(store, arguments.reports)
        known = {run.lab for run in store.runs()}
        for lab in arguments.lab:
            if lab not in known:
                there = ", ".join(sorted(known)) or "none"
                raise InputError(f"--lab {lab}: the store has no such lab; there is: {there}")
        if arguments.partitioned:
            count = partitions.write(arguments.partitioned, store, arguments.lab)
            print(f"{arguments.partitioned}: {count} files")
        else:
            count = export.write(arguments.file, store, arguments.lab)
            print(f"{arguments.file}: {count} results")


def _import(arguments: argparse.Namespace) -> None:
    from pytest_vswitch.results.store import importing

    with _writable(arguments) as store:
        for file in arguments.files:
            kind, added = importing.add(store, file, arguments.lab)
            print(f"{file}: {kind}, {added} results added")


def _place(arguments: argparse.Namespace) -> str:
    from pytest_vswitch.results.store.address import chosen

    return chosen(arguments.store, arguments.reports)


def _writable(arguments: argparse.Namespace) -> SqlStore:
    from pytest_vswitch.results.store import open_store
    from pytest_vswitch.results.store.sql import SqlStore

    store = open_store(_place(arguments))
    if not isinstance(store, SqlStore):
        raise InputError(f"{store.shown} is for reading only; name a database with --store")
    return store


def _printable(text: str) -> str:
    """Without what would move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
