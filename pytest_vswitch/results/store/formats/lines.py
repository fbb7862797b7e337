"""JSON lines: a header, each environment once, then its samples; readable with `jq`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from json import dumps, loads
from pathlib import Path
from typing import Any, TextIO

from pytest_vswitch.errors import InputError
from pytest_vswitch.results.sample import Environment, Sample
from pytest_vswitch.results.store.formats import flat

FORMAT = "pytest-vswitch results"
VERSION = 1
LINE_BYTES = 4 * 2**20
"""No line of ours is longer."""

_DEFAULTS = {"low": None, "high": None, "censored": False, "lossy_hop": "", "simulated": False}
_ENVIRONMENT = "defines"


def write(file: TextIO, samples: Iterable[Sample]) -> int:
    """How many samples."""
    known: set[str] = set()
    count = 0
    print(dumps({"format": FORMAT, "version": VERSION}), file=file)
    for one in samples:
        used = one.environment
        if used.digest not in known:
            known.add(used.digest)
            parts = {name: dict(getattr(used, name)) for name in flat.PARTS}
            print(dumps({_ENVIRONMENT: used.digest, **parts}), file=file)
        values: dict[str, Any] = flat.plain(one)
        for name, default in _DEFAULTS.items():
            if values[name] == default:
                del values[name]
        if one.versions:
            values["versions"] = dict(one.versions)
        print(dumps({**values, "environment": used.digest}), file=file)
        count += 1
    return count


def is_header(line: bytes) -> bool:
    return line.startswith(b'{"format": "pytest-vswitch')


def read(path: Path) -> Iterator[Sample]:
    """Raises InputError, with the line, for what is none; OSError."""
    known: dict[str, Environment] = {}
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LINE_BYTES + 1):
            number += 1
            try:
                one = _read(line, known)
            except InputError as error:
                raise InputError(f"{path}:{number}: {error}") from None
            if one:
                yield one


def _read(line: bytes, known: dict[str, Environment]) -> Sample | None:
    """None for a line that is no sample."""
    if len(line) > LINE_BYTES:
        raise InputError(f"is longer than {LINE_BYTES} bytes")
    try:
        values = loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"should be a JSON object, but is {flat.short(values)}")
    if "format" in values:
        if values.get("format") != FORMAT or values.get("version") != VERSION:
            raise InputError(
                f"is of format {flat.short(values['format'])}, version "
                f"{flat.short(values.get('version'))}; this pytest-vswitch reads `{FORMAT}`, "
                f"version {VERSION}"
            )
        return None
    if _ENVIRONMENT in values:
        known[str(values[_ENVIRONMENT])] = flat.environment(values)
        return None
    used, versions = values.pop("environment", None), values.pop("versions", {})
    if not isinstance(used, str) or used not in known:
        raise InputError(f"its environment, {flat.short(used)}, stands in no line before it")
    return flat.sample(values, versions, known[used])
