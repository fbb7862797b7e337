from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.hosts.local import LocalHost
from tests.hosts.machine import machine


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LocalHost]:
    """This machine; transcript and logs are in `tmp_path`."""
    with machine(tmp_path) as here:
        yield here
