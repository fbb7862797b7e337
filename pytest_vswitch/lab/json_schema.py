"""The JSON Schema of a lab file, with which editors complete and check it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_vswitch.lab.schema import Lab

SCHEMA_FILE = Path(__file__).with_name("lab.schema.json")
"""The packaged JSON Schema."""

_NULL = {"type": "null"}


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a lab file, as it is written.

    Rules between sections, such as that simulated and real parts do not mix, are beyond it:
    `vswitch lab show` knows them.
    """
    raw = Lab.model_json_schema()
    sections = raw.pop("$defs")
    del raw["properties"]["name"]  # the file's own name
    for section, filled_in in ((raw, {"name", "generator"}), (sections["Generator"], {"kind"})):
        section["required"] = [key for key in section["required"] if key not in filled_in]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_section(raw),
        "title": "pytest-vswitch lab file",
        "$defs": {name: _section(section) for name, section in sections.items()},
    }


def json_schema_text() -> str:
    """The content of `SCHEMA_FILE`."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _section(section: dict[str, Any]) -> dict[str, Any]:
    required = [key for key in section.pop("required", []) if key]
    section.pop("title")
    section["properties"] = {
        name: _key(field) if name in required else _or_nothing(_key(field))
        for name, field in section["properties"].items()
    }
    return {**section, "required": required} if required else section


def _key(field: dict[str, Any]) -> dict[str, Any]:
    field.pop("title", None)
    if not isinstance(field.get("default"), (str, int, float)):
        field.pop("default", None)
    field.get("items", {}).pop("discriminator", None)  # OpenAPI's, no part of JSON Schema
    if "patternProperties" in field:
        field["additionalProperties"] = False
    return field


def _or_nothing(field: dict[str, Any]) -> dict[str, Any]:
    """A key without a value takes its default."""
    if "$ref" in field:
        field["anyOf"] = [{"$ref": field.pop("$ref")}]
    if "anyOf" in field:
        if _NULL not in field["anyOf"]:
            field["anyOf"].append(_NULL)
    else:
        field["type"] = [field["type"], "null"]
        if "enum" in field:
            field["enum"].append(None)
    return field
