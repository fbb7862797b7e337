"""How often `--baseline` raises a false alarm, and which drops it finds.

    python -m benchmarks.baseline [--runs 100] [--json]

Made-up histories of 1 % noise (normal, or skewed: one-sided like stalls), from a fixed seed. In
each, a run of 7 or 30 cases is held against a baseline of 1, 5 or 20 runs, before which the lab
has 20 other runs, as `pytest --baseline` does it case by case. A run without any change that
calls a case worse is a false alarm; a drop is found when the one case that has it is called so.

Promised: about one run in twenty at most has a false alarm when nothing has changed.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_vswitch.results.compare.baseline import Baseline
from pytest_vswitch.results.compare.sides import Where
from pytest_vswitch.results.sample import Environment, Sample
from pytest_vswitch.results.store.history import RunSummary, Selection

NOISE = 0.01
EARLIER = 20
"""Runs of the lab before those of the baseline."""
DROP = 0.02
SAMPLE = Sample(
    run="",
    lab="lab",
    at_s=0.0,
    order=0,
    suite="pvp",
    case="",
    metric="NDR",
    unit="frames/s",
    better="more",
    value=0.0,
    environment=Environment({"CPU model": "made up"}, {"host dpdk": "DPDK 22.11.7"}),
)


@dataclass(frozen=True)
class Past:
    """A history in a list."""

    all: Sequence[Sample]

    def runs(self, lab: str | None = None) -> list[RunSummary]:
        runs = dict.fromkeys((sample.run, sample.at_s) for sample in self.all)
        return [
            RunSummary(run=run, lab="lab", at_s=at_s, software={}, simulated=False, samples=1)
            for run, at_s in runs
        ]

    def samples(self, selection: Selection) -> Iterator[Sample]:
        return (sample for sample in self.all if sample.run in selection.runs)


def noisy(draw: random.Random, *, skewed: bool) -> float:
    """A rate around 1, with 1 % of noise (standard deviation)."""
    return 1 + NOISE * (1 - draw.expovariate(1) if skewed else draw.gauss(0, 1))


def night(number: int, cases: int, draw: random.Random, *, skewed: bool) -> list[Sample]:
    return [
        replace(
            SAMPLE,
            run=f"run-{number:03}",
            at_s=86_400.0 * number,
            order=case,
            case=f"pvp:case={case}",
            value=1e6 * noisy(draw, skewed=skewed),
        )
        for case in range(cases)
    ]


def alarms(seed: int, cases: int, before: int, drop: float, *, skewed: bool) -> int:
    """How many cases a run calls worse; with a `drop`, of the first alone, which has it."""
    draw = random.Random(seed)
    measured = 1 if drop else cases
    nights = [night(n, measured, draw, skewed=skewed) for n in range(EARLIER + before + 1)]
    *past, now = nights
    history = Past([sample for made in past for sample in made])
    names = ",".join(made[0].run for made in past[-before:])
    held = Baseline(names, Where(history=history, reports=Path("nowhere")), DROP)
    held.cases_to_come = cases
    now[0] = replace(now[0], value=now[0].value * (1 - drop))
    worse = 0
    for case, sample in enumerate(now):
        earlier = [made[case] for made in past[-before:]]
        (row,) = held.rows([(earlier, [sample])])
        worse += row.judgement.verdict == "worse"
    return worse


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=100, help="of each row (default: 100)")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    chosen = parser.parse_args(arguments)
    rows = []
    print(f"{'noise':8}{'cases':>6}{'baseline':>9}{'false alarms':>14}{'5 %':>8}{'8 %':>8}")
    for skewed in (False, True):
        for cases in (7, 30):
            for before in (1, 5, 20):
                tries = range(chosen.runs)
                false = sum(alarms(n, cases, before, 0.0, skewed=skewed) > 0 for n in tries)
                found = [
                    sum(alarms(n, cases, before, drop, skewed=skewed) for n in tries) / chosen.runs
                    for drop in (0.05, 0.08)
                ]
                row = {
                    "noise": "skewed" if skewed else "normal",
                    "cases": cases,
                    "baseline_runs": before,
                    "false_alarms": false / chosen.runs,
                    "found_5": found[0],
                    "found_8": found[1],
                }
                rows.append(row)
                print(
                    f"{row['noise']:8}{cases:6}{before:9}{row['false_alarms']:14.1%}"
                    f"{found[0]:8.0%}{found[1]:8.0%}",
                    flush=True,
                )
    if chosen.json:
        print(json.dumps({"runs": chosen.runs, "rows": rows}))


if __name__ == "__main__":
    main()
