"""Percentages as options give them."""

from __future__ import annotations

import re

from pytest_vswitch.errors import InputError


def percentage(given: str, option: str) -> float:
    """`5%` or `5`, from 0 to below 100, as a ratio. Raises InputError, naming the option."""
    digits = given.strip().removesuffix("%").strip()
    if not re.fullmatch(r"\d{1,2}(\.\d+)?", digits):
        raise InputError(f"{option} {given}: give a percentage below 100, e.g. 5%")
    return float(digits) / 100
