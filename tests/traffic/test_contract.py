"""Each generator keeps the contract; see pytest_vswitch/traffic/contract.py and benches.py."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.traffic.contract import *  # noqa: F403
from pytest_vswitch.traffic.contract import Bench
from tests.traffic.benches import BENCHES


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHost]:
    """This machine; sockets go to a short path of its own."""
    log = Transcript(tmp_path_factory.mktemp("contract"))
    with (
        tempfile.TemporaryDirectory(prefix="vswitch-", dir="/var/tmp") as state,
        LocalHost(f"contract{os.getpid()}", log, Path(state)) as host,
    ):
        yield host


@pytest.fixture(scope="module", params=BENCHES)
def bench(request: pytest.FixtureRequest, here: LocalHost) -> Bench:
    """One after the other."""
    return BENCHES[request.param](here)
