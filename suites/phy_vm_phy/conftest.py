"""What a simulation cannot be asked; and the checks of the Intel DPDK vSwitch's guides, which are
for that vSwitch alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.results.certification import Wired


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if collection_path.name != "test_ovdk.py":
        return None
    # Of several labs there is none here; each has a session of its own.
    lab = getattr(config.pluginmanager.get_plugin("vswitch-certifying"), "lab", None)
    is_there = lab and lab.dut.vswitch == "ovdk" and lab.dut.host != "sim"
    return None if is_there else True


@pytest.fixture
def router(phy_vm_phy: Wired, lab: Lab) -> Wired:
    """The topology, where its guest looks at a frame before it forwards it."""
    if lab.dut.host == "sim":
        pytest.skip("a simulation does not route: it forwards every frame")
    return phy_vm_phy
