"""What every section of the lab file is built from: strict mappings and checked texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


def wrong(message: str) -> PydanticCustomError:
    # Braces would be taken for fields of pydantic's message template.
    return PydanticCustomError("lab", "{message}", {"message": message})


@dataclass(frozen=True)
class Matching:
    """A text that matches a pattern as a whole; editors learn the pattern, people the hint."""

    pattern: str
    hint: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "pattern": f"^(?:{self.pattern})$"}

    def _check(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise wrong(f"{text!r} will not do: {self.hint}")
        return text


class Section(BaseModel):
    """A mapping of the lab file: no unknown keys, no silent conversions."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_is_absent(cls, data: object) -> object:
        """A known key without a value (all below it commented out) takes its default."""
        if not isinstance(data, Mapping):
            return data
        return {k: v for k, v in data.items() if v is not None or k not in cls.model_fields}


def on_off(value: object) -> object:
    """QEMU's words for YAML's: `true` is `on`, and a number is its digits."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) if isinstance(value, int) else value
