"""Finding and reading a lab file; every fault is one message with file and line."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML

from pytest_vswitch.errors import InputError
from pytest_vswitch.lab.container import Container
from pytest_vswitch.lab.document import Document, Key, parse, read_text
from pytest_vswitch.lab.dpdk import DpdkVersion, QemuVersion
from pytest_vswitch.lab.limits import Limits
from pytest_vswitch.lab.ports import KINDS
from pytest_vswitch.lab.remote import Ssh
from pytest_vswitch.lab.schema import (
    Dut,
    Generator,
    Guest,
    Lab,
    SimModel,
    Target,
    shown,
)

PACKAGE = Path(__file__).resolve().parent.parent

MAX_FAULTS = 8
"""More than these in one file are only counted."""

_PORT_KINDS = "`nic`, `memif` or `sim`"
_SUFFIXES = (".yaml", ".yml")
_SECTIONS: dict[str, type[BaseModel]] = {
    "dut": Dut,
    "guest": Guest,
    "container": Container,
    "dpdk": DpdkVersion,
    "qemu": QemuVersion,
    "target": Target,
    "generator": Generator,
    "sim": SimModel,
    "thresholds": Limits,
}


def search_path(rootdir: Path | None = None) -> list[Path]:
    """Where labs are looked up by name: `labs/` here, `labs/` of `rootdir`, the packaged ones."""
    folders = [Path.cwd() / "labs"]
    if rootdir is not None:
        folders.append(rootdir / "labs")
    folders.append(packaged())
    return list(dict.fromkeys(folders))


def packaged() -> Path:
    """The labs that come with the plugin: inside the package, or beside it in a checkout."""
    inside = PACKAGE / "labs"
    return inside if inside.is_dir() else PACKAGE.parent / "labs"


def known(search: Sequence[Path]) -> dict[str, Path]:
    """Lab files by name, in the folders of `search`; the first of a name counts."""
    found: dict[str, Path] = {}
    for folder in search:
        try:
            files = sorted(f for f in folder.iterdir() if f.suffix == ".yaml" and f.is_file())
        except OSError:
            continue
        for file in files:
            found.setdefault(file.stem, file)
    return found


def find(name_or_path: str, search: Sequence[Path]) -> Path:
    """The lab file meant by a name (`local`) or a path (`labs/local.yaml`, `./mine.yaml`).

    Raises InputError, listing the known labs, when there is none.
    """
    if "/" in name_or_path or name_or_path.endswith(_SUFFIXES):
        path = Path(os.path.expanduser(name_or_path))
        try:
            path.stat()
        except FileNotFoundError:
            missing = f"lab file {shown(path)} does not exist"
            raise InputError(missing + _suggest(path.stem, search)) from None
        except (OSError, ValueError):
            pass  # told, with its reason, when the file is read
        return path
    for folder in search:
        path = folder / f"{name_or_path}.yaml"
        if name_or_path and os.path.isfile(path):
            return path
    raise InputError(f"there is no lab `{name_or_path}`{_suggest(name_or_path, search)}")


def load(name_or_path: str, search: Sequence[Path] | None = None) -> Lab:
    """Read a lab by name or path; `lab.path` says where it came from.

    Args:
        name_or_path: a path if it has a `/` or ends in `.yaml`, else a name.
        search: folders for names, first match counts; default `search_path()`.

    Raises:
        InputError: no such lab, not readable, not YAML, or against the schema: what,
            where (`file:line:column`) and what would be right.
    """
    path = find(name_or_path, search_path() if search is None else search)
    return parse_lab(read_text(path), path)


def parse_lab(text: str, path: Path) -> Lab:
    """The lab that is written in `text`; its name is that of the file `path`."""
    document = parse(text, path)
    data = document.data
    if not isinstance(data, dict):
        raise InputError(
            f"{shown(path)}:{document.marks[()][0]}: a lab file is a mapping with keys such as "
            f"`dut:` and `ports:`, not {_kind(data)}"
        )
    if "name" in data:
        raise InputError(
            f"{_place(document, ('name',))}: a lab is called by its file's name "
            f"(`{path.stem}`); take `name` out, or write `description`"
        )
    try:
        lab = Lab.model_validate({"name": path.stem, **data}, context={"folder": path.parent})
    except ValidationError as error:
        raise InputError(_faults(error, document)) from None
    lab._path = path
    lab._marks = document.marks
    return lab


def as_yaml(lab: Lab) -> str:
    """The lab as a lab file with every default filled in; it loads as the same lab."""
    out = io.StringIO()
    YAML(pure=True).dump(lab.model_dump(mode="json", exclude={"name"}, exclude_none=True), out)
    return out.getvalue()


def _suggest(name: str, search: Sequence[Path]) -> str:
    labs = sorted(known(search))
    if not labs:
        folders = ", ".join(shown(folder) for folder in search)
        return f", and no lab at all in {folders or 'any folder'}"
    close = get_close_matches(name, labs, n=1)
    meant = f"; did you mean `{close[0]}`?" if close else ";"
    return f"{meant} known labs: {', '.join(labs)}"


def _faults(error: ValidationError, document: Document) -> str:
    lines: dict[tuple[Key, str], str] = {}
    for fault in error.errors(include_url=False):
        key = _key(fault["loc"], document)
        path = "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in key).lstrip(".")
        label = f"{path}: " if path else ""
        # One message for each place: the first is the one that matters.
        absent = str(fault["loc"][-1]) if fault["type"] == "missing" else ""
        lines.setdefault((key, absent), f"{_place(document, key)}: {label}{_explain(fault, key)}")
    faults = [lines[at] for at in sorted(lines, key=lambda at: _mark(document, at[0]))]
    if len(faults) > MAX_FAULTS:
        faults[MAX_FAULTS:] = [f"... and {len(faults) - MAX_FAULTS} more in {shown(document.path)}"]
    return "\n".join(faults)


def _key(loc: tuple[str | int, ...], document: Document) -> Key:
    """Pydantic's location without what is not in the file, such as a union's branch."""
    key: Key = ()
    for step in loc:
        if (*key, step) in document.marks:
            key = (*key, step)
    return key


def _mark(document: Document, key: Key) -> tuple[int, int]:
    return document.marks.get(key, (1, 1))


def _place(document: Document, key: Key) -> str:
    line, column = _mark(document, key)
    return f"{shown(document.path)}:{line}:{column}"


def _explain(fault: Any, key: Key) -> str:
    """One pydantic fault in the words of someone who writes lab files."""
    given, limits = fault["input"], fault.get("ctx", {})
    name = str(fault["loc"][-1]) if fault["loc"] else ""
    match fault["type"]:
        case "extra_forbidden":
            keys = _keys_beside(fault["loc"])
            close = get_close_matches(name, keys, n=1)
            meant = f"did you mean `{close[0]}`? " if close else ""
            return f"unknown key; {meant}known here: {', '.join(keys)}"
        case "missing":
            what = "is empty" if key[-1:] == (name,) else f"`{name}` is missing"
            return f"{what}{_MISSING.get(name, '')}"
        case "literal_error":
            return f"must be {_code(limits['expected'])}, not {_value(given)}"
        case "union_tag_invalid":
            return f"`kind` must be {_PORT_KINDS}, not `{limits['tag']}`"
        case "union_tag_not_found":
            return f"`kind` is missing: {_PORT_KINDS}"
        case "int_type" | "int_from_float":
            return f"must be a whole number, not {_value(given)}"
        case "float_type" | "finite_number":
            return f"must be a number, not {_value(given)}"
        case "string_type":
            return f"must be text, not {_value(given)}{_quote(given)}"
        case "list_type":
            return f"must be a list (lines that begin with `- `), not {_kind(given)}"
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"must be a mapping (lines of `key: value`), not {_kind(given)}"
        case "greater_than":
            return f"must be more than {limits['gt']:g}, not {_value(given)}"
        case "greater_than_equal":
            return f"must be at least {limits['ge']:g}, not {_value(given)}"
        case "less_than":
            return f"must be less than {limits['lt']:g}, not {_value(given)}"
        case "less_than_equal":
            return f"must be at most {limits['le']:g}, not {_value(given)}"
        case "too_short":
            return "is an empty list; give at least one entry, e.g. `- kind: memif`"
        case _:
            return str(fault["msg"])


_MISSING = {
    "dut": ": say where the data plane runs, e.g. `dut: {host: local}`",
    "host": ": `local`, `sim`, or over SSH `[user@]name[:port]`",
    "bdf": ": say which port it is, e.g. `bdf: 0000:11:00.0` (`lspci -D`)",
    "line_rate_gbps": ": say how fast the link is, e.g. `line_rate_gbps: 10`",
    "ports": ": list where the generator attaches, e.g. `- kind: memif`",
}


def _keys_beside(loc: tuple[str | int, ...]) -> list[str]:
    """The keys that the schema knows where an unknown one was found."""
    if len(loc) == 1:
        return [key for key in Lab.model_fields if key != "name"]
    if loc[0] == "ports":
        return list(KINDS[str(loc[2])].model_fields)
    section: type[BaseModel] = Ssh if loc[1] == "ssh" and len(loc) > 2 else _SECTIONS[str(loc[0])]
    return list(section.model_fields)


def _code(expected: str) -> str:
    return expected.replace("'", "`")


def _value(given: object) -> str:
    if given is None or isinstance(given, (dict, list)):
        return _kind(given)
    if isinstance(given, bool):
        return f"`{str(given).lower()}`"
    text = str(given)
    return f"`{text if len(text) <= 40 else text[:40] + '...'}`"


def _quote(given: object) -> str:
    scalar = isinstance(given, (int, float))
    return "; put it in quotes" if scalar else ""


def _kind(given: object) -> str:
    if given is None:
        return "nothing"
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true or false"}
    return names.get(type(given), "a number")
