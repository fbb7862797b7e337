"""What a sample must be to be kept, and the digest that tells two contents apart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from json import dumps
from struct import Struct

from pytest_vswitch.errors import InputError
from pytest_vswitch.results.sample import Sample

NAME_BYTES = 1000
"""The longest name [bytes of UTF-8]: longer ones, PostgreSQL could not index."""

ENVIRONMENT_BYTES = 2**20
"""What is told of one environment at most [bytes]."""

ORDERS = 2**31
LAST_S = 253402300800.0
"""The end of the year 9999 [Unix time, s]: what is beyond has no date."""

_MODULUS = 2**128
_NUMBERS = Struct("<qddd??")
_NOTHING = math.nan
"""No sample has it as a number."""


def digest(samples: Iterable[Sample], before: str = "") -> str:
    """32 hexadecimal digits, alike for alike samples in any order.

    With the digest of samples `before`, that of both together: so a run that grows need not
    be read again. The sum of digests is no proof against someone who wants two contents to
    look alike; nobody gains by that here.
    """
    total = int(before or "0", 16)
    for one in samples:
        names = (
            *(one.suite, one.case, one.metric, one.unit, one.better, one.lossy_hop),
            *(versions_text(one.versions), one.environment.digest),
        )
        hashed = blake2b("\0".join(names).encode(), digest_size=16)
        # SQLite keeps no sign of a zero.
        numbers = (
            _NOTHING if number is None else number + 0.0
            for number in (one.value, one.low, one.high)
        )
        hashed.update(_NUMBERS.pack(one.order, *numbers, one.censored, one.simulated))
        total += int.from_bytes(hashed.digest(), "big")
    return f"{total % _MODULUS:032x}"


def versions_text(versions: Mapping[str, str]) -> str:
    return dumps(dict(versions), sort_keys=True) if versions else "{}"


def check_numbers(one: Sample) -> None:
    """Raises InputError for a number that is none or that no date or place can be made of."""
    finite = math.isfinite
    if not (
        finite(one.value)
        and finite(one.at_s)
        and (one.low is None or finite(one.low))
        and (one.high is None or finite(one.high))
    ):
        raise InputError(f"{_where(one)}: a number is not finite")
    if one.low is not None and one.high is not None and one.low > one.high:
        raise InputError(f"{_where(one)}: its low end, {one.low}, lies above its high, {one.high}")
    if not 0 <= one.order < ORDERS:
        raise InputError(f"{_where(one)}: order {one.order} is not between 0 and {ORDERS - 1}")
    if not 0 <= one.at_s < LAST_S:
        raise InputError(f"{_where(one)}: {one.at_s} is no time of a run [Unix time, s]")


def check_names(names: Iterable[str], limit: int = NAME_BYTES) -> None:
    """Raises InputError for a text that no database takes, or only some do."""
    for name in names:
        try:
            size = len(name.encode())
        except UnicodeEncodeError:
            raise InputError(f"{name[:50]!a} is not Unicode text") from None
        if size > limit:
            raise InputError(f"{name[:50]!r}... is {size} bytes long; at most {limit} are kept")
        if "\0" in name:
            raise InputError(f"{name[:50]!r} has a NUL character in it")


def _where(one: Sample) -> str:
    return f"run {one.run[:100]!r}, case {one.case[:100]!r}, {one.metric[:100]!r}"
