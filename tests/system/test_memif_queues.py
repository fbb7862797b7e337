"""A real testpmd whose memif ports have several queues, and the generator's flows in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch.measure.functional import check_functional
from pytest_vswitch.measure.runner import TrialRunner
from pytest_vswitch.traffic.profile import Profile
from tests.system.running import local, opened

FLOWS = 1000


@pytest.mark.parametrize("queues", [2, 4])
def test_every_queue_carries_its_flows(tmp_path: Path, queues: int) -> None:
    """Steps: a vSwitch and a generator of so many queues; exact frames; a trial of many flows.

    Verify: all frames come back, no flow out of order; each queue had as many of them.
    """
    lab = local()
    lab = lab.model_copy(
        update={
            "guest": lab.guest.model_copy(update={"queues": queues}),
            "generator": lab.generator.model_copy(update={"queues": queues}),
        }
    )
    with opened(tmp_path, lab) as run:
        wired = run.wired("p2p")
        assert f"{queues} queues" in wired.generator.description
        check_functional(wired.topology, wired.generator, 64)
        testpmd: Any = wired.topology.vswitch.testpmd  # type: ignore[attr-defined]

        def received() -> list[int]:
            """By each queue of each port."""
            told = testpmd.command("show port xstats all")
            return [int(count) for count in re.findall(r"rx_q\d+_packets: (\d+)", told)]

        before = received()
        runner = TrialRunner(
            wired.topology,
            wired.generator,
            64,
            record=lambda _: None,
            progress=lambda _: None,
            profile=Profile(flows=FLOWS),
        )
        found = runner.run(4000, 1.0)
        assert found.lost == 0
        for direction in found.directions:
            assert direction.received == 2000
            assert not direction.reordered + direction.duplicated + direction.corrupted
        shares = [now - then for then, now in zip(before, received(), strict=True)]
        assert shares == [2000 // queues] * queues * 2
