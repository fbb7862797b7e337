"""Hosts for the tests of TRex."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHost]:
    """This machine; sockets go to a short path of its own."""
    log = Transcript(tmp_path_factory.mktemp("trex"))
    with (
        tempfile.TemporaryDirectory(prefix="vswitch-", dir="/var/tmp") as state,
        LocalHost(f"trex{os.getpid()}", log, Path(state)) as host,
    ):
        yield host
