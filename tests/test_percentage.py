"""What is a percentage, and what is none."""

from __future__ import annotations

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.percentage import percentage


@pytest.mark.parametrize(
    ("text", "ratio"), [("5%", 0.05), ("5", 0.05), (" 2.5 % ", 0.025), ("0", 0), ("99.9", 0.999)]
)
def test_percentages(text: str, ratio: float) -> None:
    assert percentage(text, "--margin") == pytest.approx(ratio)


@pytest.mark.parametrize("text", ["-1", "100", "100%", "", "%", "five", "5%%", "nan", "1e1", "5 6"])
def test_what_is_no_percentage(text: str) -> None:
    with pytest.raises(InputError, match=r"^--margin .*: give a percentage below 100, e.g. 5%"):
        percentage(text, "--margin")
