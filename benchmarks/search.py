"""How often each search finds the true rate of a DUT, and how long its trials take.

    python -m benchmarks.search [--duts 1000] [--json]

DUT number n is drawn from seed n and is of kind n modulo 7 (`DutModel.drawn_as`), so its
true rates are known, and the table is the same on every machine, but for the last column:

    still     a load either always meets a goal or never does
    step      the same, and loss rises in steps
    noisy     capacity varies by up to 0.5 % between trials, small bursts are lost near the NDR
    bursty    a burst of lost frames every 0.5 to 2 s at the NDR, fewer below it
    stalling  noisy, and every 20 s the machine takes the CPU away for up to 10 ms
    drifting  capacity changes by up to 1 % a minute
    warming   5 to 30 % of the capacity is missing at first; it comes within seconds

and so many ways to search:

    mlrsearch   without a hint: what all others are compared with
    binary      RFC 2544: one trial decides a load
    nfvbench    NFVbench's rule: one trial, linear halves down to 0.1 % of the line rate
    history     mlrsearch, hinted by what it found on the same DUT in an earlier run
    neighbour   mlrsearch, hinted by what it found with frames of 128 bytes in this run
    changed     history, but the DUT is 5 % slower or faster now
    too high    history that is 3 times too high
    too low     history that is 3 times too low

`found` is how often the interval contains the true rate (that which half of all trials
meet; of a drifting DUT, one that was true at some moment of the search; of a warming one,
that at its end), `near` how often it contains a rate at which single trials contradict
each other (met by 10 to 90 % of them; a DUT that stalls in every fifth trial of 5 s has no
lower end of that range, so `NDR near` says little there). `cost` are the trial seconds of
all searches, as part of mlrsearch's on the same DUTs. `+` marks a figure that keeps what
the search promises, `!` one that does not: then the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from pytest_vswitch.measure import hint
from pytest_vswitch.measure.goals import GoalResult
from pytest_vswitch.measure.hint import Hint, HintedInterval, Neighbour
from pytest_vswitch.measure.options import QUICK, SearchOptions
from pytest_vswitch.measure.runner import TrialRunner
from pytest_vswitch.measure.throughput import Throughput, find_throughput
from pytest_vswitch.topologies.sim import SimulatedDut
from pytest_vswitch.topologies.sim_model import KINDS, DutModel, Kind
from pytest_vswitch.traffic.sim import SimulatedGenerator

Way = Literal[
    "mlrsearch", "binary", "nfvbench", "history", "neighbour", "changed", "too high", "too low"
]
FRAME_BYTES, NEIGHBOUR_BYTES = 64, 128
HINTED: Sequence[Way] = ("history", "neighbour", "changed", "too high", "too low")
WRONG = {"too high": 3.0, "too low": 1 / 3}
DETERMINISTIC: Sequence[Kind] = ("still", "step")
SAME_LOAD_SAME_ANSWER = 1.0
"""Promised on deterministic DUTs, by every search."""
FOUND = {
    ("noisy", 0.05): 0.9,
    ("drifting", 0.05): 0.98,
    ("drifting", 0.01): 0.98,
    ("warming", 0.01): 0.95,
}
"""Promised of mlrsearch, hinted or not: share that contains the true rate."""
NEAR = {(kind, precision): 0.95 for kind in ("noisy", "bursty") for precision in (0.05, 0.01)}
"""Promised of the same: share that contains a rate at which trials contradict each other."""
COST: dict[Way, float] = {"history": 0.7, "too high": 1.2, "too low": 1.2}
"""The most that the trials may take, over all kinds, as part of mlrsearch's."""


@dataclass(frozen=True, slots=True)
class Search:
    """One search of one DUT."""

    trials: int
    seconds: float
    """Sum of the trial durations [s]."""
    widths: tuple[float, ...]
    """Of the intervals, as part of their upper ends; 1 without a lower end."""
    ndr: tuple[bool, bool]
    """(found, near)."""
    pdr: tuple[bool, bool]


@dataclass(frozen=True, slots=True)
class Row:
    """Figures of one way on all DUTs of one kind (or of all). Shares are 0 to 1."""

    dut: str
    way: Way
    precision: float
    duts: int
    ndr_found: float
    pdr_found: float
    ndr_near: float
    pdr_near: float
    trials_median: float
    trials_p90: float
    seconds_mean: float
    cost: float
    """Trial seconds, as part of mlrsearch's on the same DUTs."""
    width_median: float

    @property
    def promised(self) -> tuple[float | None, float | None, float | None]:
        """(found, near, cost) that are promised, None where nothing is."""
        if self.dut == "all":
            return None, None, COST.get(self.way)
        if self.dut in DETERMINISTIC:
            return SAME_LOAD_SAME_ANSWER, None, None
        if self.way in ("binary", "nfvbench"):
            return None, None, None
        key = (self.dut, self.precision)
        return FOUND.get(key), NEAR.get(key), None

    @property
    def kept(self) -> bool:
        """Whether the search keeps what it promises."""
        found, near, cost = self.promised
        return (
            min(self.ndr_found, self.pdr_found) >= (found or 0.0)
            and min(self.ndr_near, self.pdr_near) >= (near or 0.0)
            and (cost is None or self.cost <= cost)
        )


def search_one(
    model: DutModel, options: SearchOptions, known: Hint | None = None, size: int = FRAME_BYTES
) -> tuple[SimulatedDut, Throughput]:
    dut = SimulatedDut(model)
    runner = TrialRunner(
        dut,
        SimulatedGenerator(dut),
        size,
        record=lambda trial: None,
        progress=lambda progress: None,
    )
    return dut, find_throughput(runner, options, known)


def hint_for(way: Way, model: DutModel, options: SearchOptions, earlier: Throughput) -> Hint | None:
    """What is known before the search of `model`; `earlier` found the same DUT's rates."""
    if way == "neighbour":
        _, found = search_one(model, options, size=NEIGHBOUR_BYTES)
        beside = Neighbour("beside", "sim", {"frame_bytes": NEIGHBOUR_BYTES}, found.results)
        return hint.of_neighbours("sim", {"frame_bytes": FRAME_BYTES}, (beside,))
    known = hint.of_results("an earlier run", earlier.results)
    if known is None:
        return None
    if way == "changed":
        return scaled(known, 1.05 if model.seed % 2 else 0.95)
    return scaled(known, WRONG.get(way, 1.0))


def scaled(known: Hint, factor: float) -> Hint:
    intervals = tuple(
        HintedInterval(
            i.loss_ratio,
            i.lower_pps * factor,
            None if i.upper_pps is None else i.upper_pps * factor,
        )
        for i in known.intervals
    )
    return replace(known, intervals=intervals)


def contains(result: GoalResult, low_pps: float, high_pps: float) -> bool:
    """Whether some rate from `low_pps` to `high_pps` lies within the interval."""
    upper = float("inf") if result.upper_pps is None else result.upper_pps
    return (result.lower_pps or 0.0) <= high_pps and low_pps <= upper


def judge(
    dut: SimulatedDut, kind: Kind, result: GoalResult, duration_s: float
) -> tuple[bool, bool]:
    """(found, near) of one result."""
    model, ratio = dut.model, result.goal.loss_ratio
    times = (0.0, dut.clock_s) if kind == "drifting" else (dut.clock_s,)
    weakest = min(model.strength(at_s) for at_s in times)
    strongest = max(model.strength(at_s) for at_s in times)

    def rate(share: float, loss_ratio: float = ratio) -> float:
        return model.true_pps(loss_ratio, FRAME_BYTES, duration_s, share=share)

    truth = rate(0.5)
    # A trial sends and counts whole frames: it cannot tell a load or a goal from one
    # frame more in each direction.
    a_frame = len(dut.ports) / (truth * duration_s)
    slack = 1 + a_frame + 1e-8  # of the bisection in true_pps
    above = rate(0.5, ratio + a_frame) if ratio else truth
    found = contains(result, truth * weakest / slack, above * strongest * slack)
    return found, found or contains(result, rate(0.9) * weakest, rate(0.1) * strongest)


def judged(dut: SimulatedDut, kind: Kind, options: SearchOptions, done: Throughput) -> Search:
    ndr, pdr = (judge(dut, kind, r, options.trial_duration_s) for r in done.results)
    widths = tuple(1 - (r.lower_pps or 0.0) / r.upper_pps for r in done.results if r.upper_pps)
    seconds = sum(trial.duration_s for trial in done.trials)
    return Search(len(done.trials), seconds, widths, ndr, pdr)


def search_all(seed: int, options: SearchOptions) -> dict[Way, Search]:
    """Every way on DUT number `seed`."""
    kind = KINDS[seed % len(KINDS)]
    model = DutModel.drawn_as(seed, kind)
    searches: dict[Way, Search] = {}
    for way in ("mlrsearch", "binary", "nfvbench"):
        dut, done = search_one(model, replace(options, search=way))
        searches[way] = judged(dut, kind, options, done)
    # The earlier run met the same DUT, but not the same luck.
    _, earlier = search_one(replace(model, seed=seed + 10**9), options)
    for hinted_way in HINTED:
        known = hint_for(hinted_way, model, options, earlier)
        dut, done = search_one(model, options, known)
        searches[hinted_way] = judged(dut, kind, options, done)
    return searches


def row(dut: str, way: Way, precision: float, done: Sequence[dict[Way, Search]]) -> Row:
    found = [searches[way] for searches in done]
    seconds = sum(search.seconds for search in found)
    trials = [search.trials for search in found]
    return Row(
        dut=dut,
        way=way,
        precision=precision,
        duts=len(done),
        ndr_found=share(search.ndr[0] for search in found),
        pdr_found=share(search.pdr[0] for search in found),
        ndr_near=share(search.ndr[1] for search in found),
        pdr_near=share(search.pdr[1] for search in found),
        trials_median=statistics.median(trials),
        trials_p90=percentile(trials, 0.9),
        seconds_mean=seconds / len(done),
        cost=seconds / sum(searches["mlrsearch"].seconds for searches in done),
        width_median=statistics.median(width for search in found for width in search.widths),
    )


def share(verdicts: Iterable[bool]) -> float:
    return statistics.fmean(verdicts)


def percentile(values: Sequence[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--duts", type=int, default=1000, help="simulated DUTs, of all kinds")
    parser.add_argument("--json", action="store_true", help="last line: all figures as JSON")
    arguments = parser.parse_args()
    print(
        "DUT       precision  search     NDR found  PDR found  NDR near  PDR near"
        "  trials (p90)  trial s      cost   width"
    )
    rows: list[Row] = []
    began, trials = time.perf_counter(), 0
    for options in (QUICK, SearchOptions()):
        done = [search_all(seed, options) for seed in range(arguments.duts)]
        trials += sum(search.trials for searches in done for search in searches.values())
        groups: dict[str, list[dict[Way, Search]]] = {
            kind: done[place :: len(KINDS)] for place, kind in enumerate(KINDS)
        }
        groups["all"] = done
        for dut, group in groups.items():
            for way in group[0]:
                rows.append(row(dut, way, options.precision, group))
                show(rows[-1])
    own_ms = 1e3 * (time.perf_counter() - began) / trials
    print(f"{own_ms:.2f} ms of this machine's time per trial, everything included")
    if arguments.json:
        as_json = [asdict(r) | {"kept": r.kept} for r in rows]
        print(json.dumps({"benchmark": "search", "duts": arguments.duts, "rows": as_json}))
    return 0 if all(r.kept for r in rows) else 1


def show(r: Row) -> None:
    found, near, cost = r.promised
    print(
        f"{r.dut:8}  {r.precision:9.0%}  {r.way:9}"
        f"  {marked(r.ndr_found, found)}  {marked(r.pdr_found, found)}"
        f"  {marked(r.ndr_near, near)} {marked(r.pdr_near, near)}"
        f"  {r.trials_median:6.0f} ({r.trials_p90:3.0f})  {r.seconds_mean:7.1f}"
        f"  {r.cost:6.1%} {mark(cost is None or r.cost <= cost, promised=cost is not None)}"
        f"  {r.width_median:5.1%}",
        flush=True,
    )


def marked(value: float, promised: float | None) -> str:
    return f"{value:7.1%} {mark(value >= (promised or 0.0), promised=promised is not None)}"


def mark(kept: bool, *, promised: bool) -> str:
    return " " if not promised else "+" if kept else "!"


if __name__ == "__main__":
    sys.exit(main())
