"""Mixes of frame sizes, as people write them (RFC 6985), as the sizes to be sent in turn.

    simple             64, 594 and 1518 bytes, 7 : 4 : 1
    aafgz              a genome (section 4): a letter for each size, see `LETTERS`; z is the
                       largest frame that the MTU allows
    7a4bg              the same with runs of one size counted (section 6)
    aaAAg,A=594        a custom size (section 5): an upper-case letter that is explained
    7x64,4x594,1518    sizes, with how many of each in a row

Sizes are in bytes and include the FCS and VLAN tags.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from pytest_vswitch.errors import InputError

SIMPLE = (64, 594, 64, 64, 594, 64, 594, 64, 64, 594, 64, 1518)
"""7 : 4 : 1, spread out; the mean is 361.83 bytes."""
LETTERS = {
    "a": 64,
    "b": 128,
    "c": 256,
    "d": 512,
    "e": 1024,
    "f": 1280,
    "g": 1518,
    "h": 2112,
    "i": 9000,
    "j": 16000,
}
"""RFC 6985 section 4."""
MOST = 4096
"""Frames of a mix until it begins anew."""

_HOW = "give `simple`, a genome such as 7a4dg, or sizes such as 7x64,4x594,1518"


def parse(text: str, largest: int) -> tuple[int, ...]:
    """The sizes in turn [bytes]; `largest` is what `z` stands for.

    Raises InputError for what is none of the above, and for more than `MOST` frames.
    """
    words = [word.strip() for word in text.split(",")]
    if words == ["simple"]:
        return SIMPLE
    sizes = _listed(text, words) if words[0][-1:].isdigit() else _genome(text, words, largest)
    if len(set(sizes)) == 1:
        raise InputError(f"IMIX {text!r}: all frames have {sizes[0]} bytes; a mix has two sizes")
    return sizes


def name(sizes: Sequence[int]) -> str:
    """One name for each sequence of sizes, e.g. `simple` or `7x64+4x594+1518`."""
    if tuple(sizes) == SIMPLE:
        return "simple"
    words = []
    for size, run in itertools.groupby(sizes):
        count = len(list(run))
        words.append(f"{count}x{size}" if count > 1 else str(size))
    return "+".join(words)


def _listed(text: str, words: Sequence[str]) -> tuple[int, ...]:
    runs = []
    for word in words:
        found = re.fullmatch(r"(?:(\d{1,6})x)?(\d{1,6})", word)
        if not found:
            raise InputError(f"IMIX {text!r}: cannot read {word!r}; {_HOW}")
        runs.append((int(found[1] or 1), int(found[2])))
    return _unrolled(text, runs)


def _genome(text: str, words: Sequence[str], largest: int) -> tuple[int, ...]:
    genome, *explained = words
    sizes = {**LETTERS, "z": largest}
    for word in explained:
        found = re.fullmatch(r"([A-Zz])=(\d{1,6})", word)
        if not found:
            raise InputError(
                f"IMIX {text!r}: cannot read {word!r}; after a genome, custom sizes are "
                "explained: an upper-case letter (or z) and bytes, e.g. A=594"
            )
        sizes[found[1]] = int(found[2])
    if not re.fullmatch(r"(\d{0,6}[A-Za-z])+", genome):
        raise InputError(f"IMIX {text!r}: cannot read {genome!r}; {_HOW}")
    runs = []
    for count, letter in re.findall(r"(\d*)([A-Za-z])", genome):
        if letter not in sizes:
            standard = ", ".join(f"{key} is {size}" for key, size in LETTERS.items())
            raise InputError(
                f"IMIX {text!r}: no size is called {letter!r}: {standard}, z is the largest; "
                f"a custom size is an upper-case letter that is explained, e.g. {genome},A=594"
            )
        runs.append((int(count or 1), sizes[letter]))
    return _unrolled(text, runs)


def _unrolled(text: str, runs: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    total = sum(count for count, _ in runs)
    if not 0 < total <= MOST or any(not count for count, _ in runs):
        raise InputError(
            f"IMIX {text!r}: {total:,} frames until it begins anew; from 1 to {MOST:,} can be, "
            "and at least one of each size"
        )
    return tuple(size for count, size in runs for _ in range(count))
