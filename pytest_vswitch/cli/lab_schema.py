"""`vswitch lab schema`: the JSON Schema of lab files, for editors."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_vswitch.cli.command import Commands, command


def add(actions: Commands[argparse.ArgumentParser]) -> None:
    schema = command(
        actions,
        "schema",
        "print the JSON Schema of lab files, for editors",
        "Prints the JSON Schema of a lab file. An editor with a YAML language server completes\n"
        "and checks a lab whose first line is\n\n"
        "  # yaml-language-server: $schema=lab.schema.json",
        "vswitch lab schema -o labs/lab.schema.json",
    )
    schema.add_argument("-o", "--output", metavar="FILE", type=Path, help="write it to FILE")
    schema.set_defaults(command=_lab_schema)


def _lab_schema(arguments: argparse.Namespace) -> None:
    from pytest_vswitch.errors import InputError
    from pytest_vswitch.lab.json_schema import json_schema_text

    path: Path | None = arguments.output
    if path is None:
        print(json_schema_text(), end="")
        return
    try:
        path.write_text(json_schema_text(), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    print(f"{path} written")
