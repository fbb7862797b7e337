"""The same frames on the same loop count the same, whatever carries them: to the frame."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.traffic.contract import EVERY, FAULTS, counted, wrong
from pytest_vswitch.traffic.generator import Offer
from pytest_vswitch.traffic.profile import Profile
from tests.traffic.benches import BENCHES

EACH = 250
MIXED = Profile(sizes=(64, 594, 64, 1400), flows=1000)
TAGGED = Profile(sizes=(68, 594, 1500), flows=100, tags=(100,), burst_frames=5)
TRIALS = (
    ("drop", MIXED),
    ("corrupt", TAGGED),
    ("longer", MIXED),
    ("duplicate", TAGGED),
    ("reorder", MIXED),
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHost]:
    """This machine; sockets go to a short path of its own."""
    log = Transcript(tmp_path_factory.mktemp("mixed"))
    with (
        tempfile.TemporaryDirectory(prefix="vswitch-", dir="/var/tmp") as state,
        LocalHost(f"mixed{os.getpid()}", log, Path(state)) as host,
    ):
        yield host


@pytest.mark.parametrize("kind", ["memif", "af_packet"])
def test_faults_among_mixed_frames(here: LocalHost, kind: str) -> None:
    """Every tenth frame meets the fault."""
    bench = BENCHES[kind](here)
    with bench.loop() as loop:
        for fault, profile in TRIALS:
            met = dict.fromkeys(FAULTS[fault], EACH // EVERY)
            loop.err(fault)
            offer = Offer(bench.rate_pps, 2 * EACH / bench.rate_pps, 64, profile)
            for counts in counted(loop.generator, offer, lost=met.get("lost", 0)):
                assert counts.sent == counts.intended == EACH
                assert wrong(counts) == met, fault
