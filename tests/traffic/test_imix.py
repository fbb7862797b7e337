"""Mixes of frame sizes, in every notation, and what is no mix."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.traffic import imix
from pytest_vswitch.traffic.profile import PLAIN, Profile


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("aafg", (64, 64, 1280, 1518)),
        ("abcdefghij", (64, 128, 256, 512, 1024, 1280, 1518, 2112, 9000, 16000)),
        ("2a1fg", (64, 64, 1280, 1518)),
        ("az", (64, 9018)),
        ("az,z=1522", (64, 1522)),
        ("2aB3A,A=594,B=70", (64, 64, 70, 594, 594, 594)),
        ("64,594,1518", (64, 594, 1518)),
        ("2x64, 594,1x1518", (64, 64, 594, 1518)),
    ],
)
def test_notations(text: str, sizes: tuple[int, ...]) -> None:
    assert imix.parse(text, 9018) == sizes


def test_the_simple_mix() -> None:
    """7 : 4 : 1, and no two neighbours of the longer ones."""
    sizes = imix.parse("simple", 1518)
    assert Counter(sizes) == {64: 7, 594: 4, 1518: 1}
    assert sum(sizes) / len(sizes) == pytest.approx(361.83, abs=0.01)
    assert all(64 in pair for pair in itertools.pairwise(sizes))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", r"cannot read ''"),
        ("Simple", "no size is called 'S'"),
        ("aak", "no size is called 'k': a is 64, b is 128"),
        ("aaA", "no size is called 'A'.*e.g. aaA,A=594"),
        ("aaA,594", "cannot read '594'; after a genome, custom sizes are explained"),
        ("aA,a=70,A=80", "cannot read 'a=70'"),
        ("a-b", "cannot read 'a-b'; give `simple`"),
        ("64,x,1518", "cannot read 'x'"),
        ("3x", "no size is called 'x'"),
        ("0x64,128", "at least one of each size"),
        ("0ab", "at least one of each size"),
        ("4096ab", "4,097 frames until it begins anew; from 1 to 4,096"),
        ("aaa", "all frames have 64 bytes"),
        ("64", "all frames have 64 bytes"),
    ],
)
def test_what_is_no_mix(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        imix.parse(text, 1518)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("simple", "simple"),
        ("64,594,64,64,594,64,594,64,64,594,64,1518", "simple"),
        ("7a4A1g,A=594", "7x64+4x594+1518"),
        ("7x64,4x594,1518", "7x64+4x594+1518"),
    ],
)
def test_one_mix_has_one_name(text: str, name: str) -> None:
    """It names the case: results of the same mix are comparable, however it was written."""
    assert imix.name(imix.parse(text, 1518)) == name


def test_what_tells_cases_apart() -> None:
    assert PLAIN.parameters == {}
    assert PLAIN.mean_bytes(64) == 64
    profile = Profile(sizes=(64, 65), flows=7, burst_frames=32, tags=(100, 200))
    assert profile.parameters == {"imix": "64+65", "flows": 7, "burst": 32, "vlan": "100.200"}
    assert profile.mean_bytes(0) == 64.5
