"""The official TRex client, as it was released, satisfied by the emulated server.

Runs with `pytest -m trex` where the environment variable TREX_CLIENT names a TRex release: the
contract of generators, with nothing between that client and the emulated server.
"""

from __future__ import annotations

import os

import pytest

from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.traffic.contract import *  # noqa: F403
from pytest_vswitch.traffic.contract import Bench
from tests.traffic.trex.bench import Emulated

pytestmark = pytest.mark.trex


@pytest.fixture(scope="module")
def bench(here: LocalHost) -> Bench:
    assert os.environ.get("TREX_CLIENT"), "name a TRex release in TREX_CLIENT"
    return Emulated(here, official=True)
