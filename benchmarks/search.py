"""How often each search finds the true rate of a DUT, and how many trials it takes.

    python benchmarks/search.py [--duts 1000] [--json]

Every DUT is drawn from a seed, so its true rates are known and the table is the same
on every machine, but for the last column. Three kinds of DUT:

    still     a load either always meets a goal or never does
    noisy     capacity varies by up to 0.5 % between trials, small bursts are lost near the NDR
    stalling  the same, and every 20 s the machine takes the CPU away for up to 10 ms

`found` is how often the interval contains the true rate (that which half of all trials
meet), `near` how often it contains a rate at which single trials contradict each other
(met by 10 to 90 % of them; a DUT that stalls in every fifth trial of 5 s has no lower end of
that range, so `NDR near` says little there). `+` marks a figure that keeps what the search
promises, `!` one that does not: then the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytest_vswitch.measure.goals import GoalResult
from pytest_vswitch.measure.options import QUICK, SearchOptions
from pytest_vswitch.measure.runner import TrialRunner
from pytest_vswitch.measure.throughput import Throughput, find_throughput
from pytest_vswitch.topologies.sim import DutModel, SimulatedDut
from pytest_vswitch.traffic.sim import SimulatedGenerator

FRAME_BYTES = 64
PROMISED_FOUND = {
    ("still", "mlrsearch", 0.05): 1.0,
    ("still", "mlrsearch", 0.01): 1.0,
    ("still", "binary", 0.05): 1.0,
    ("still", "binary", 0.01): 1.0,
    ("noisy", "mlrsearch", 0.05): 0.9,
}
"""Share of the intervals that contain the true rate, by (kind, search, precision)."""
PROMISED_NEAR = {("noisy", "mlrsearch", 0.05): 0.95, ("noisy", "mlrsearch", 0.01): 0.95}
"""Share of those that contain a rate at which single trials contradict each other."""


@dataclass(frozen=True, slots=True)
class Row:
    """Figures of one search on all DUTs of one kind. Shares are 0 to 1."""

    dut: str
    search: str
    precision: float
    ndr_found: float
    pdr_found: float
    ndr_near: float
    pdr_near: float
    trials_median: float
    trials_p90: float
    seconds_median: float
    """Sum of the trial durations of a search [s]."""
    seconds_p90: float
    own_ms: float
    """Time that search, runner and simulation together take for a trial [ms]."""

    @property
    def promised(self) -> tuple[float | None, float | None]:
        """(found, near) that the search promises, None where it promises nothing."""
        key = (self.dut, self.search, self.precision)
        return PROMISED_FOUND.get(key), PROMISED_NEAR.get(key)

    @property
    def kept(self) -> bool:
        """Whether the search keeps what it promises."""
        found, near = self.promised
        return min(self.ndr_found, self.pdr_found) >= (found or 0.0) and min(
            self.ndr_near, self.pdr_near
        ) >= (near or 0.0)


def draw(seed: int, kind: str) -> DutModel:
    model = DutModel.drawn(seed, noisy=kind != "still")
    return replace(model, stalls_per_s=0.05) if kind == "stalling" else model


def search_one(model: DutModel, options: SearchOptions) -> Throughput:
    dut = SimulatedDut(model)
    runner = TrialRunner(
        dut,
        SimulatedGenerator(dut),
        FRAME_BYTES,
        record=lambda trial: None,
        progress=lambda progress: None,
    )
    return find_throughput(runner, options)


def contains(result: GoalResult, low_pps: float, high_pps: float) -> bool:
    """Whether some rate from `low_pps` to `high_pps` lies within the interval."""
    upper = float("inf") if result.upper_pps is None else result.upper_pps
    return (result.lower_pps or 0.0) <= high_pps and low_pps <= upper


def judge(model: DutModel, result: GoalResult, duration_s: float) -> tuple[bool, bool]:
    """(found, near) of one result."""

    def rate(share: float, loss_ratio: float = result.goal.loss_ratio) -> float:
        return model.true_pps(loss_ratio, FRAME_BYTES, duration_s, share=share)

    truth = rate(0.5)
    # A trial counts whole frames: it cannot tell the goal from one frame more.
    a_frame = 1 / (truth * duration_s) if result.goal.loss_ratio else 0.0
    slack = 1 + 1e-8  # of the bisection in true_pps
    found = contains(result, truth / slack, rate(0.5, result.goal.loss_ratio + a_frame) * slack)
    return found, found or contains(result, rate(0.9), rate(0.1))


def measure(kind: str, options: SearchOptions, duts: int) -> Row:
    began = time.perf_counter()
    models = [draw(seed, kind) for seed in range(duts)]
    searches = [search_one(model, options) for model in models]
    own_s = time.perf_counter() - began
    trials = [len(found.trials) for found in searches]
    seconds = [sum(trial.duration_s for trial in found.trials) for found in searches]
    verdicts = [
        [judge(model, result, options.trial_duration_s) for result in found.results]
        for model, found in zip(models, searches, strict=True)
    ]
    ndr, pdr = zip(*verdicts, strict=True)
    return Row(
        dut=kind,
        search=options.search,
        precision=options.precision,
        ndr_found=sum(found for found, _ in ndr) / duts,
        pdr_found=sum(found for found, _ in pdr) / duts,
        ndr_near=sum(near for _, near in ndr) / duts,
        pdr_near=sum(near for _, near in pdr) / duts,
        trials_median=statistics.median(trials),
        trials_p90=percentile(trials, 0.9),
        seconds_median=statistics.median(seconds),
        seconds_p90=percentile(seconds, 0.9),
        own_ms=1e3 * own_s / sum(trials),
    )


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--duts", type=int, default=1000, help="simulated DUTs of each kind")
    parser.add_argument("--json", action="store_true", help="last line: all figures as JSON")
    arguments = parser.parse_args()
    print(
        "DUT       search     precision  NDR found  PDR found  NDR near  PDR near"
        "  trials (p90)  trial s (p90)  own ms/trial"
    )
    rows = []
    for kind in ("still", "noisy", "stalling"):
        for options in (QUICK, SearchOptions()):
            for search in ("mlrsearch", "binary"):
                row = measure(kind, replace(options, search=search), arguments.duts)
                rows.append(row)
                found, near = row.promised
                print(
                    f"{row.dut:8}  {row.search:9}  {row.precision:9.0%}"
                    f"  {share(row.ndr_found, found)}   {share(row.pdr_found, found)}"
                    f"  {share(row.ndr_near, near)}  {share(row.pdr_near, near)}"
                    f"  {row.trials_median:6.0f} ({row.trials_p90:3.0f})"
                    f"  {row.seconds_median:7.0f} ({row.seconds_p90:3.0f})"
                    f"  {row.own_ms:12.2f}",
                    flush=True,
                )
    if arguments.json:
        as_json = [
            {name: getattr(row, name) for name in Row.__slots__} | {"kept": row.kept}
            for row in rows
        ]
        print(json.dumps({"benchmark": "search", "duts": arguments.duts, "rows": as_json}))
    return 0 if all(row.kept for row in rows) else 1


def share(value: float, promised: float | None) -> str:
    kept = " " if promised is None else "+" if value >= promised else "!"
    return f"{value:7.1%} {kept}"


if __name__ == "__main__":
    sys.exit(main())
