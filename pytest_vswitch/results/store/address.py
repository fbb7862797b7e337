"""Where the store is: option, environment variable or default; and never its password."""

from __future__ import annotations

import os
import re
from pathlib import Path

VARIABLE = "PYTEST_VSWITCH_STORE"
"""Keeps a URL with a password out of command lines."""

PARQUET = "parquet:"
"""Stands before the directory of partitioned Parquet files."""

FILE = "store.sqlite"

_SECRETS = (
    # The last `@` ends the password: people forget to quote what they have in it.
    re.compile(r"(?<=://)([^:/@\s]*):\S*(?=@)"),
    re.compile(r"(?i)\b((?:ssl)?password|passfile)=([^&\s]*)"),
)


def chosen(given: str | None, reports: Path) -> str:
    """The store's URL: what the option says, or the variable, or a file in `reports`."""
    return given or os.environ.get(VARIABLE) or f"sqlite:///{reports / FILE}"


def without_password(text: str) -> str:
    """`text`, e.g. a URL or an argument, as it may be shown."""
    user, parameter = _SECRETS
    return parameter.sub(r"\1=***", user.sub(r"\1:***", text))
