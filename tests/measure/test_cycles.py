"""Cycles per frame: as testpmd tells them, as a simulation knows them, as they are kept."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from benchmarks.measurements import FRAME_BYTES, runner
from pytest_vswitch.apps.testpmd import Testpmd
from pytest_vswitch.hosts.host import Process
from pytest_vswitch.measure.cost import Usage, cost
from pytest_vswitch.measure.cycles import cycles_per_frame
from pytest_vswitch.measure.procedure import QUICK, Bench
from pytest_vswitch.results.record import Measurement
from pytest_vswitch.results.sample import samples
from pytest_vswitch.topologies.sim import CLOCK_HZ, SimulatedDut
from pytest_vswitch.topologies.sim_model import DutModel
from pytest_vswitch.topologies.vswitches import Reading
from pytest_vswitch.topologies.vswitches.testpmd import Switch
from tests.records import case, measurement, record

SWITCH = Switch(cast(Process, None), cast(Testpmd, None), (), (), frozenset())


def reading(cycles: int, frames: int) -> Reading:
    return Reading({}, {"cycles": cycles, "cycled frames": frames})


def told(ended: Measurement, cycles: float) -> Measurement:
    """With what the vSwitch said of each trial."""
    facts = {"PMD cycles per frame": f"{cycles:.0f}"}
    trials = []
    for trial in ended.trials:
        paths = tuple(
            tuple(replace(hop, facts=facts if "host" in hop.name else {}) for hop in path)
            for path in trial.paths
        )
        trials.append(replace(trial, paths=paths))
    return replace(ended, trials=tuple(trials))


def test_between_two_readings_of_testpmd() -> None:
    facts = SWITCH.facts_between(reading(1_000, 10), reading(51_000, 110))
    assert facts == {"cycles per frame": "500.0"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Reading({}), Reading({})),
        (reading(1_000, 10), reading(1_000, 10)),
        (reading(1_000, 10), reading(500, 5)),
    ],
)
def test_without_frames_or_across_a_restart_nothing_is_told(
    before: Reading, after: Reading
) -> None:
    assert SWITCH.facts_between(before, after) == {}


def test_a_simulated_frame_costs_what_its_model_says() -> None:
    model = DutModel(seed=5)
    dut = SimulatedDut(model)
    throughput_pps = model.true_pps(0.0, FRAME_BYTES, 1.0)
    found = cost(Bench(runner(dut), QUICK), throughput_pps, lambda: Usage(dut.cpu_s, 0.0))
    figure = next(one for one in found.outcome.figures if one.name == "cycles per frame")
    assert figure.unit == "cycles"
    truth = CLOCK_HZ / model.capacity_pps(FRAME_BYTES)
    assert figure.value == pytest.approx(truth, rel=1e-3)


def test_of_several_trials_it_is_the_mean_by_frames() -> None:
    assert cycles_per_frame([]) is None
    silent = measurement().trials
    assert cycles_per_frame(silent) is None
    one, other = (told(measurement(), cycles).trials[0] for cycles in (100, 200))
    assert cycles_per_frame([one, other, *silent]) == 150


def test_a_search_keeps_it_as_a_witness_of_its_ndr() -> None:
    found = {
        one.metric: one for one in samples(record(case(measurements=[told(measurement(), 512)])))
    }
    kept = found["cycles per frame at NDR"]
    assert (kept.value, kept.unit, kept.better) == (512, "cycles", "less")


def test_the_measurement_of_cost_keeps_it_beside_its_first_figure() -> None:
    dut = SimulatedDut(DutModel())
    found = cost(Bench(runner(dut), QUICK), 1e6, lambda: Usage(dut.cpu_s, 0.0))
    made = Measurement(1, "cost", (), (), outcome=found.outcome)
    kept = {one.metric: one.better for one in samples(record(case(measurements=[made])))}
    assert kept == {"cost: CPU time per frame": "less", "cost: cycles per frame": "less"}
