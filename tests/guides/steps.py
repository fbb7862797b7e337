"""A command of a guide, and what carries it out here."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ruamel.yaml import YAML

Kind = Literal["same", "otherwise", "yours", "hole"]
"""`same`: said as the guide says it, for this lab. `otherwise`: done by other means. `yours`: of
whoever owns the lab; nothing here does it. `hole`: nobody does it yet."""


@dataclass(frozen=True, slots=True)
class Step:
    """One row of the table."""

    section: str
    command: str
    """As in the guide; several of one kind on one line."""
    kind: Kind
    test: str = ""
    """`DIRECTORY/FILE::TEST` below `suites/`: which shows it. Empty: none needs it alone."""
    source: str = ""
    """Module below `pytest_vswitch/` that says it; a pattern where several share it."""
    words: str = ""
    """Literal text in that module: what the plan's line is made of."""
    note: str = ""


@functools.cache
def steps() -> tuple[Step, ...]:
    """Those of howto.yaml and ovdk.yaml, in order."""
    files = (Path(__file__).with_name(f"{name}.yaml") for name in ("howto", "ovdk"))
    return tuple(Step(**row) for file in files for row in YAML(typ="safe").load(file))
