"""What the measurements of suites/rfc2544 do to real programs: restarts, more cores, overlays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pytest_vswitch.measure.functional import check_functional
from pytest_vswitch.measure.procedure import QUICK, Bench
from pytest_vswitch.measure.reset import reset_time
from pytest_vswitch.measure.runner import TrialRunner
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.results import scaling
from pytest_vswitch.results.run import Run
from pytest_vswitch.traffic.profile import Profile
from tests.system.running import opened, trial


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with opened(tmp_path_factory.mktemp("rfc2544")) as run:
        yield run


@pytest.mark.parametrize(
    ("topology", "vswitch", "component"),
    [
        ("p2p", "testpmd", "host testpmd process"),
        ("memif", "testpmd", "peer testpmd process"),
        ("pvp", "testpmd", "guest"),
        ("pvp", "ovs-dpdk", "Open vSwitch process"),
    ],
)
def test_a_component_is_reset_amid_traffic(
    run: Run, topology: str, vswitch: str, component: str
) -> None:
    """Steps: restart it while frames are sent; exchange exact frames; one more trial.

    Verify: what is restarted as a whole is silent for as long as it takes to start; frames pass
    again, each exactly; the books of the trial afterwards balance at every hop.
    """
    dut = run.lab.dut.model_copy(update={"vswitch": vswitch})
    wired = run.rewired(topology, run.lab.model_copy(update={"dut": dut}))
    programs: Any = wired.topology
    assert component in programs.components
    trials: list[Trial] = []
    runner = TrialRunner(
        wired.topology, wired.generator, 64, record=lambda _: None, progress=lambda _: None
    )
    bench = Bench(runner, replace(QUICK, repeats=1))
    found = reset_time(bench, component, 4000.0, trials.append)
    (seen,) = found.resets
    assert len(trials) == 1
    if not programs.keeps_counters(component):
        assert seen.by_silence_s is not None
        assert seen.by_silence_s > 0.01
        assert seen.by_loss_s > 0
    check_functional(wired.topology, wired.generator, 256)
    assert trial(wired, 400, 0.5).lost == 0  # no more than the rings hold
    run.unwire()


def test_more_cores_forward(run: Run) -> None:
    """Steps: bring p2p up with two forwarding lcores, as a curve over cores does.

    Verify: testpmd forwards with two, and exact frames pass, also within VXLAN.
    """
    wired = run.rewired(*scaling.changed(run.lab, "p2p", "cores", 2))
    try:
        programs: Any = wired.topology
        assert "--nb-cores=2" in programs.vswitch.command
        config = programs.vswitch.testpmd.command("show config fwd")
        assert "cores=2" in config
        check_functional(wired.topology, wired.generator, 256)
        check_functional(wired.topology, wired.generator, 256, profile=Profile(vxlan=42))
    finally:
        run.unwire()
