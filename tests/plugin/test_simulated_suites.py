"""Every suite runs on the simulated DUT, and leaves out what a model cannot be asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugin.conftest import Session

SUITES = Path(__file__).parents[2] / "suites"


@pytest.mark.parametrize(
    "suite", sorted(path.name for path in SUITES.iterdir() if path.name != "rfc2544")
)
def test_a_suite_passes(session: Session, suite: str) -> None:
    """`suites/rfc2544` is run by the tests of measurements."""
    result = session(f"suites/{suite}", "--quick", "--dut", "sim")
    assert result.ret == 0
    counts = result.parseoutcomes()
    assert set(counts) <= {"passed", "skipped"}
