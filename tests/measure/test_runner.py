"""One trial after the other: watched, reconciled, recorded before the next one starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from pytest_vswitch.errors import BooksError, DutError, HostError
from pytest_vswitch.measure.runner import Focus, Progress, TrialRunner
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.topologies.sim import DutFaults, SimulatedDut
from pytest_vswitch.traffic.generator import DirectionCounts, Offer
from pytest_vswitch.traffic.sim import SimulatedGenerator


@dataclass(slots=True)
class Bench:
    """A runner on a simulated DUT, and what it told."""

    dut: SimulatedDut
    generator: SimulatedGenerator
    recorded: list[Trial] = field(default_factory=list)
    told: list[Progress] = field(default_factory=list)

    def runner(self, margin_s: float = 30.0) -> TrialRunner:
        return TrialRunner(
            self.dut,
            self.generator,
            64,
            record=self.recorded.append,
            progress=self.told.append,
            margin_s=margin_s,
            settle_s=0.05,
        )


def bench(**faults: int | float) -> Bench:
    dut = SimulatedDut(faults=DutFaults(**faults))  # type: ignore[arg-type]
    return Bench(dut, SimulatedGenerator(dut))


def test_a_trial_is_recorded_with_its_paths_and_told() -> None:
    b = bench()
    trial = b.runner().run(1e5, 2.0, Focus("NDR", 1.0, 2.0, 3.0))
    assert b.recorded == [trial]
    assert (trial.number, trial.frame_bytes, trial.intended, trial.lost) == (1, 64, 200_000, 0)
    assert [len(path) for path in trial.paths] == [5, 5]
    assert trial.paths[1][0].name == "generator -> sim1"
    assert [progress.loss_ratio for progress in b.told] == [None, 0.0]
    assert all(progress.focus.phase == "NDR" for progress in b.told)


def test_the_lossy_hop_is_the_one_that_loses() -> None:
    trial = bench(lossy_hop=2, lose_one_in=100).runner().run(1e5, 1.0)
    assert trial.lossy_hop is not None
    assert trial.lossy_hop.name == "host switch: vhost1 -> sim1"
    assert trial.loss_ratio == pytest.approx(0.01)


def test_counters_are_read_once_between_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    b = bench()
    readings = []
    read = SimulatedDut.snapshot

    def snapshot(dut: SimulatedDut) -> object:
        readings.append(dut.clock_s)
        return read(dut)

    monkeypatch.setattr(SimulatedDut, "snapshot", snapshot)
    runner = b.runner()
    for _ in range(3):
        runner.run(1e5, 1.0)
    assert readings == [0.0, 1.0, 2.0, 3.0]
    assert [trial.number for trial in runner.trials] == [1, 2, 3]


def test_frames_in_flight_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    b = bench()
    runner = b.runner()
    runner.run(1e5, 1.0)
    stale = [b.dut.snapshot()] * 2
    read = SimulatedDut.snapshot
    monkeypatch.setattr(SimulatedDut, "snapshot", lambda dut: stale.pop() if stale else read(dut))
    assert runner.run(1e5, 1.0).lost == 0
    assert not stale


def test_books_that_never_balance_are_an_error_and_no_result() -> None:
    b = bench(miscounting_hop=1)
    with pytest.raises(BooksError, match=r">> guest forwarder: virtio0 -> virtio1"):
        b.runner().run(1e5, 1.0)
    assert b.recorded == []


def test_a_dead_program_is_named_rather_than_its_counters() -> None:
    b = bench(dies_after_s=1.5)
    runner = b.runner()
    runner.run(1e5, 1.0)
    with pytest.raises(DutError, match="guest forwarder"):
        runner.run(1e5, 1.0)
    assert len(b.recorded) == 1


@dataclass(slots=True)
class StuckGenerator(SimulatedGenerator):
    """Its trial never ends."""

    aborted: int = 0

    def poll(self, timeout_s: float) -> Sequence[DirectionCounts] | None:
        return None

    def abort(self) -> None:
        self.aborted += 1


def test_a_generator_that_never_ends_is_stopped() -> None:
    dut = SimulatedDut()
    generator = StuckGenerator(dut)
    b = Bench(dut, generator)
    with pytest.raises(HostError, match="did not end its trial"):
        b.runner(margin_s=0.0).run(1e5, 0.01)
    assert generator.aborted == 1


@dataclass(slots=True)
class InterruptedGenerator(StuckGenerator):
    """The user presses Ctrl-C as it starts."""

    def start(self, offer: Offer) -> None:
        raise KeyboardInterrupt


def test_an_interrupt_stops_the_generator() -> None:
    dut = SimulatedDut()
    generator = InterruptedGenerator(dut)
    with pytest.raises(KeyboardInterrupt):
        Bench(dut, generator).runner().run(1e5, 1.0)
    assert generator.aborted == 1


def test_after_a_failed_trial_the_counters_are_read_anew() -> None:
    b = bench()
    b.generator = StuckGenerator(b.dut)
    runner = b.runner(margin_s=0.0)
    with pytest.raises(HostError):
        runner.run(1e5, 0.01)
    b.dut.carry([1000, 1000], 64, 1.0)  # what the stuck generator may have sent
    runner.generator = SimulatedGenerator(b.dut)
    assert runner.run(1e5, 1.0).number == 1


@dataclass(slots=True)
class HastyGenerator(SimulatedGenerator):
    """Takes its trial for ended while the last ten frames are still under way."""

    def poll(self, timeout_s: float) -> Sequence[DirectionCounts] | None:
        counts = SimulatedGenerator.poll(self, timeout_s)  # slots: no bare super()
        assert counts is not None
        return [replace(c, received=c.received - 10) for c in counts]


def test_stragglers_are_counted_when_the_books_say_that_frames_were_under_way() -> None:
    dut = SimulatedDut()
    trial = Bench(dut, HastyGenerator(dut)).runner().run(1e5, 1.0)
    assert (trial.sent, trial.lost) == (100_000, 0)
