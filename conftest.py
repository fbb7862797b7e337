"""Says what to do where the plugin, and with it `--dut`, is missing: in a clone, not yet set up."""

from __future__ import annotations

import importlib.metadata

import pytest


def pytest_addoption() -> None:
    try:
        importlib.metadata.distribution("pytest-vswitch")
    except importlib.metadata.PackageNotFoundError:
        raise pytest.UsageError(
            "pytest-vswitch is not installed for this pytest: `make setup`, then "
            ".venv/bin/pytest; or `pip install --editable .` here"
        ) from None
