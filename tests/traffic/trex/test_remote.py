"""TRex on another host: its server is started there, its client comes from there."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.traffic.generator import Offer
from pytest_vswitch.traffic.trex.generator import attach
from tests.hosts.pipes import piped
from tests.traffic.trex.release import make_release
from tests.traffic.trex.test_server import Memif, free_port, servers

DEADLINE_S = 60.0


def test_a_trial_behind_the_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that the lab's machine has of it goes through the one door, as over SSH."""
    monkeypatch.delenv("TREX_CLIENT", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    release = make_release(tmp_path / "v3.08")
    ports = {"sync_port": free_port(), "async_port": free_port()}
    lab = Lab.model_validate(
        {
            "name": "remote",
            "dut": {"host": "root@dut"},
            "ports": [{"kind": "memif"}, {"kind": "memif"}],
            "trex": {"path": str(release), **ports},
        }
    )
    with piped(tmp_path / "log") as host, attach(lab, host, Memif()) as generator:
        assert len(servers(release)) == 1
        place = f"on {host.name}, memif ports, low end, CPU 0"
        assert generator.description.endswith(place)
        generator.start(Offer(2000.0, 0.2, 64))
        counts = generator.poll(DEADLINE_S)
        assert counts
        assert [(c.sent, c.received) for c in counts] == [(200, 200), (200, 200)]
        back = generator.exchange({0: [bytes(60)]}, wait_s=DEADLINE_S)
        assert back == {0: [], 1: [bytes(60)]}
    assert servers(release) == []
    kept = tmp_path / "cache" / "pytest-vswitch" / "trex"
    assert [path.name[:6] for path in kept.iterdir()] == ["v3.08-"]
