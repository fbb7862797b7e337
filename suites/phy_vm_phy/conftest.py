"""The checks of the Intel DPDK vSwitch's guides are for that vSwitch alone."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if collection_path.name != "test_ovdk.py":
        return None
    # Of several labs there is none here; each has a session of its own.
    lab = getattr(config.pluginmanager.get_plugin("vswitch-certifying"), "lab", None)
    is_there = lab and lab.dut.vswitch == "ovdk" and lab.dut.host != "sim"
    return None if is_there else True
