"""How often each measurement recovers the truth of a simulated DUT within the error it states.

    python -m benchmarks.measurements [--duts 1000] [--json]

Every DUT is drawn from a seed, so its truths are known: how much it buffers, how long it
takes to recover, and so on. Half of them are still: the same load always ends the same way;
half are noisy: capacity varies by up to 0.5 % between trials, small bursts are lost near the
NDR. `within` is how often the truth lies within the stated interval (`!` where that is less
than promised; then the exit status is 1), `off` how far the reported value is from the
truth, `stated` how wide half of the interval is; both as parts of the truth.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

from pytest_vswitch.measure.address_learning import address_learning
from pytest_vswitch.measure.back_to_back import back_to_back
from pytest_vswitch.measure.cost import Usage, cost
from pytest_vswitch.measure.frame_loss import frame_loss
from pytest_vswitch.measure.latency import latency_at_shares
from pytest_vswitch.measure.learning import learning
from pytest_vswitch.measure.mrr import mrr
from pytest_vswitch.measure.neighbour import neighbour
from pytest_vswitch.measure.options import QUICK as SEARCH
from pytest_vswitch.measure.outcome import Figure
from pytest_vswitch.measure.overlay import overlay
from pytest_vswitch.measure.procedure import QUICK, Bench
from pytest_vswitch.measure.recovery import system_recovery
from pytest_vswitch.measure.reset import reset_time
from pytest_vswitch.measure.runner import TrialRunner
from pytest_vswitch.measure.scalability import KNEE, of_each, of_flows
from pytest_vswitch.measure.soak import soak
from pytest_vswitch.results.scaling import AXES
from pytest_vswitch.topologies.sim import DutFaults, SimulatedDut
from pytest_vswitch.topologies.sim_behaviour import Behaviour
from pytest_vswitch.topologies.sim_model import DutModel
from pytest_vswitch.traffic.profile import PLAIN, Profile
from pytest_vswitch.traffic.sim import SimulatedGenerator

FRAME_BYTES = 64
OVERLAY_BYTES = 128
"""The smallest of RFC 2544 that has room for another frame."""
PROMISED = {"still": 1.0, "noisy": 0.98}
"""Share of the truths within the stated interval. A noisy DUT is looked at a few times only."""


@dataclass(frozen=True, slots=True)
class Found:
    """One figure beside the truth, in the same unit."""

    figure: Figure
    truth: float

    @property
    def within(self) -> bool:
        """Whether the truth is where the figure says."""
        low, high = self.figure.low, self.figure.high
        slack = 1e-9 * abs(self.truth)
        return (low is None or low <= self.truth + slack) and (
            high is None or self.truth - slack <= high
        )

    @property
    def off(self) -> float:
        value = self.figure.value
        return abs(value - self.truth) / self.truth if value is not None else float("inf")

    @property
    def stated(self) -> float:
        low, high = self.figure.low, self.figure.high
        if low is None or high is None:
            return float("inf")
        return (high - low) / 2 / self.truth


def runner(
    dut: SimulatedDut, profile: Profile = PLAIN, frame_bytes: int = FRAME_BYTES
) -> TrialRunner:
    return TrialRunner(
        dut,
        SimulatedGenerator(dut),
        frame_bytes,
        profile=profile,
        record=lambda trial: None,
        progress=lambda progress: None,
    )


def bench(dut: SimulatedDut) -> Bench:
    return Bench(runner(dut), QUICK)


def measured_loss(model: DutModel, drawn: Behaviour) -> Found:
    del drawn
    b = bench(SimulatedDut(model))
    figure = frame_loss(b).outcome.figures[0]
    return Found(figure, model.loss_ratio(b.line_rate_pps, FRAME_BYTES))


def measured_buffer(model: DutModel, drawn: Behaviour) -> Found:
    dut = SimulatedDut(model, behaviour=Behaviour(buffer_frames=drawn.buffer_frames))
    throughput_pps = model.capacity_pps(FRAME_BYTES) * (1 - model.knee)
    found = back_to_back(bench(dut), throughput_pps, 1.0)
    return Found(found.outcome.figures[1], drawn.buffer_frames)


def measured_delay(model: DutModel, drawn: Behaviour, number: int = 0) -> Found:
    del drawn
    found = latency_at_shares(bench(SimulatedDut(model)), model.true_pps(0.0, FRAME_BYTES, 1.0))
    share = (0.5, 0.99, 0.999)[number]
    truth_us = model.delay_us(found.loads[0].load_pps, FRAME_BYTES, share)
    return Found(found.outcome.figures[number], truth_us / 1e6)


def measured_worst_delay(model: DutModel, drawn: Behaviour) -> Found:
    return measured_delay(model, drawn, 2)


def measured_rate(model: DutModel, drawn: Behaviour) -> Found:
    del drawn
    figure = mrr(bench(SimulatedDut(model))).outcome.figures[0]
    return Found(figure, model.capacity_pps(FRAME_BYTES) * (1 - model.knee_loss))


def measured_recovery(model: DutModel, drawn: Behaviour) -> Found:
    dut = SimulatedDut(model, behaviour=Behaviour(recovery_s=drawn.recovery_s))
    figure = system_recovery(bench(dut), model.true_pps(0.0, FRAME_BYTES, 1.0)).outcome.figures[0]
    return Found(figure, drawn.recovery_s)


def measured_reset(model: DutModel, drawn: Behaviour, number: int = 0) -> Found:
    dut = SimulatedDut(model, behaviour=Behaviour(reset_s=drawn.reset_s))
    throughput_pps = model.true_pps(0.0, FRAME_BYTES, 1.0)
    found = reset_time(bench(dut), dut.components[0], throughput_pps, lambda trial: None)
    return Found(found.outcome.figures[number], drawn.reset_s)


def measured_respawn(model: DutModel, drawn: Behaviour) -> Found:
    dut = SimulatedDut(model, behaviour=Behaviour(respawn_s=drawn.respawn_s))
    throughput_pps = model.true_pps(0.0, FRAME_BYTES, 1.0)
    found = reset_time(bench(dut), "host switch process", throughput_pps, lambda trial: None)
    return Found(found.outcome.figures[0], drawn.respawn_s)


def measured_silence(model: DutModel, drawn: Behaviour) -> Found:
    return measured_reset(model, drawn, 1)


def measured_soak(model: DutModel, drawn: Behaviour) -> Found:
    one_in = drawn.buffer_frames * 100
    dut = SimulatedDut(model, DutFaults(lose_one_in=one_in))
    rate_pps = 0.8 * model.true_pps(0.0, FRAME_BYTES, 1.0)
    found = soak(bench(dut), rate_pps, 3600.0, done=(), record=lambda trial: None)
    return Found(found.outcome.figures[0], 1 / one_in)


def measured_knee(model: DutModel, drawn: Behaviour) -> Found:
    behaviour = Behaviour(cache_flows=drawn.cache_flows, miss_cost=drawn.miss_cost)
    dut = SimulatedDut(model, behaviour=behaviour)
    found = of_flows(
        (1, 100, 10_000, 1_000_000),
        lambda flows: runner(dut, Profile(flows=flows)),
        SEARCH,
        len(dut.ports),
    )
    return Found(found.outcome.figures[0], behaviour.knee_flows(KNEE))


def measured_cores(model: DutModel, drawn: Behaviour) -> Found:
    behaviour = Behaviour(useful_cores=drawn.useful_cores)
    slow = replace(model, fixed_ns=max(model.fixed_ns, 1e5))  # no wire is its limit

    def with_cores(count: int) -> TrialRunner:
        return runner(SimulatedDut(slow, behaviour=behaviour, cores=count))

    found = of_each(AXES["cores"], (1, 2, 4, 8, 16, 32, 64), with_cores, SEARCH)
    return Found(found.outcome.figures[0], drawn.useful_cores / KNEE)


def measured_learning(model: DutModel, drawn: Behaviour, number: int = 0) -> Found:
    behaviour = Behaviour(table_flows=drawn.table_flows, learning_per_s=drawn.learning_per_s)
    dut = SimulatedDut(replace(model, fixed_ns=1000.0, bursts_per_s=0.0), behaviour=behaviour)
    found = learning(
        lambda flows: runner(dut, Profile(flows=flows)),
        QUICK,
        most_flows=1_000_000,
        throughput_pps=500_000,
        longest_s=86400.0,
    )
    truth = (drawn.learning_per_s, drawn.table_flows or 0)[number]
    return Found(found.outcome.figures[number], truth)


def measured_table(model: DutModel, drawn: Behaviour) -> Found:
    return measured_learning(model, drawn, 1)


def measured_address_rate(model: DutModel, drawn: Behaviour, number: int = 0) -> Found:
    # The rate of a small table that is filled at once cannot be told.
    table_macs = drawn.table_macs if number else max(drawn.table_macs, 10_000)
    behaviour = Behaviour(table_macs=table_macs, macs_per_s=drawn.macs_per_s)
    dut = SimulatedDut(replace(model, fixed_ns=1000.0), behaviour=behaviour)
    found = address_learning(
        lambda profile: runner(dut, profile), throughput_pps=500_000, longest_s=86400.0
    )
    return Found(found.outcome.figures[number], (drawn.macs_per_s, drawn.table_macs)[number])


def measured_address_table(model: DutModel, drawn: Behaviour) -> Found:
    return measured_address_rate(model, drawn, 1)


def measured_cost(model: DutModel, drawn: Behaviour) -> Found:
    del drawn
    dut = SimulatedDut(model)

    def read() -> Usage:
        """In ticks, as Linux has them."""
        return Usage(int(dut.cpu_s * 100) / 100, 0.01)

    rules = replace(QUICK, trial_s=10.0)
    throughput_pps = model.true_pps(0.0, FRAME_BYTES, 1.0)
    found = cost(Bench(runner(dut), rules), throughput_pps, read)
    return Found(found.outcome.figures[0], 1 / model.capacity_pps(FRAME_BYTES))


def measured_neighbour(model: DutModel, drawn: Behaviour) -> Found:
    dut = SimulatedDut(model, behaviour=Behaviour(cpu_left=drawn.cpu_left))
    found = neighbour(runner(dut), SEARCH, dut.beside, "a load")
    return Found(found.outcome.figures[0], drawn.cpu_left)


def measured_overlay(model: DutModel, drawn: Behaviour) -> Found:
    dut = SimulatedDut(model, behaviour=Behaviour(overlay_left=drawn.overlay_left))
    found = overlay(lambda profile: runner(dut, profile, OVERLAY_BYTES), Profile(vxlan=1), SEARCH)
    return Found(found.outcome.figures[1], drawn.overlay_left)


MEASUREMENTS: Mapping[str, Callable[[DutModel, Behaviour], Found]] = {
    "delay p50 (26.2)": measured_delay,
    "delay p99.9 (RFC 8219)": measured_worst_delay,
    "frame loss (26.3)": measured_loss,
    "buffer (RFC 9004)": measured_buffer,
    "receive rate (MRR)": measured_rate,
    "recovery (26.5)": measured_recovery,
    "reset, by loss (RFC 6201)": measured_reset,
    "reset, by silence": measured_silence,
    "reset of a process": measured_respawn,
    "soak loss": measured_soak,
    "knee over flows (RFC 8204)": measured_knee,
    "knee over cores (RFC 8204)": measured_cores,
    "learning rate (RFC 2889)": measured_learning,
    "flows held (RFC 2889)": measured_table,
    "address rate (RFC 2889)": measured_address_rate,
    "addresses held (RFC 2889)": measured_address_table,
    "CPU time per frame": measured_cost,
    "kept beside a neighbour": measured_neighbour,
    "kept by an overlay": measured_overlay,
}


def draw(seed: int, kind: str) -> tuple[DutModel, Behaviour]:
    """Slow enough for a line of 10 Gbit/s, so that it can be overloaded."""
    model = DutModel.drawn(seed, noisy=kind == "noisy")
    return replace(model, fixed_ns=max(model.fixed_ns, 100.0)), Behaviour.drawn(seed)


@dataclass(frozen=True, slots=True)
class Row:
    """Figures of one measurement on all DUTs of one kind; shares, 0 to 1."""

    measurement: str
    dut: str
    within: float
    off_median: float
    off_p99: float
    stated_median: float
    stated_p99: float

    @property
    def kept(self) -> bool:
        return self.within >= PROMISED[self.dut]


def measure(name: str, kind: str, duts: int) -> Row:
    found = [MEASUREMENTS[name](*draw(seed, kind)) for seed in range(duts)]
    off, stated = sorted(one.off for one in found), sorted(one.stated for one in found)
    late = min(duts - 1, int(0.99 * duts))
    return Row(
        measurement=name,
        dut=kind,
        within=sum(one.within for one in found) / duts,
        off_median=statistics.median(off),
        off_p99=off[late],
        stated_median=statistics.median(stated),
        stated_p99=stated[late],
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--duts", type=int, default=1000, help="simulated DUTs of each kind")
    parser.add_argument("--json", action="store_true", help="last line: all figures as JSON")
    arguments = parser.parse_args()
    print("measurement                DUT    within      off (p99)            stated (p99)")
    rows = []
    for name in MEASUREMENTS:
        for kind in PROMISED:
            row = measure(name, kind, arguments.duts)
            rows.append(row)
            print(
                f"{name:26} {kind:5}  {row.within:6.1%} {'+' if row.kept else '!'}"
                f"  {row.off_median:8.2%} ({row.off_p99:8.2%})"
                f"  {row.stated_median:8.2%} ({row.stated_p99:8.2%})",
                flush=True,
            )
    if arguments.json:
        as_json = [asdict(row) | {"kept": row.kept} for row in rows]
        print(json.dumps({"benchmark": "measurements", "duts": arguments.duts, "rows": as_json}))
    return 0 if all(row.kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
