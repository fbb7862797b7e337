"""What a simulation cannot be asked."""

from __future__ import annotations

import pytest

from pytest_vswitch.lab.schema import Lab


@pytest.fixture
def movable(lab: Lab) -> None:
    """Left out where there is no guest."""
    if lab.dut.host == "sim":
        pytest.skip("a simulation has no guest that could move")
