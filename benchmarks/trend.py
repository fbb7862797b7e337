"""How well the trend's change points are found, night by night, beside Otava and jumpavg.

    python -m benchmarks.trend [--years 5] [--scatter normal,...] [--beside] [--otava PYTHON]
                               [--json]

A year is 300 cases by 365 nights, one value a night, with 20 changes in 20 cases, from
`trend_cases` (seeds 1000, 1001, ...; half of the changes are for the worse, half are just 3 %,
the others up to 8 %; `all 3 %`: every one is). Each procedure runs each night on what is known:

    alarm      a change that it reports for the first time: one within 5 nights of where it had
               reported one before is that one. An alarm counts even if a later night takes it back
    true       the first alarm within 5 nights of a true change of that case, at or after its
               first night and in its direction
    false      every other alarm
    recall     true alarms by true changes
    precision  true alarms by alarms
    delay      nights at the new level, the alarm's included; of a missed change: infinite

`--beside` adds, for the scatters asked for, with changes below 2 % left out as ours does,

    otava P    `compute_change_points` on all nights so far, window 30, P the greatest p-value
    jumpavg    `classify` on the last 60 nights: 365 would take hours

on the cases with changes and 20 of the others; false alarms in these count for all others.
Otava pins numpy: `--otava` names the Python of an environment that has `apache-otava`.
`+` marks what keeps the promise (recall and precision 0.95, median delay 5, 95 % within 10),
`!` what does not; the exit status is 1 when ours does not under normal scatter.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.trend_cases import SCATTERS, Floats, TrueChange, Year, normal, year
from pytest_vswitch.results.trend.detect import MINIMUM_EFFECT, changes

Alarm = tuple[int, int, bool]
"""First night, night of the alarm, upwards?"""

NEAR = 5
FIRST_SEED = 7000
OTHERS = 20
JUMPAVG_NIGHTS = 60
OTAVA_P = ("1e-3", "1e-5", "1e-7")
LEAST, MEDIAN, NEARLY_ALL = 0.95, 5, 10


@dataclass
class Tally:
    changes: int = 0
    true: int = 0
    false: float = 0.0
    delays: list[float] = field(default_factory=list)
    exact: int = 0
    seconds: float = 0.0
    """Of all processors."""

    def add(self, truth: Sequence[TrueChange], alarms: Sequence[Alarm], weight: float) -> None:
        """Those of one case."""
        self.changes += len(truth)
        waiting = list(truth)
        for began, found, upwards in alarms:
            for change in waiting:
                if (
                    abs(began - change.night) <= NEAR
                    and found >= change.night
                    and upwards == (change.size > 0)
                ):
                    waiting.remove(change)
                    self.true += 1
                    self.exact += began == change.night
                    self.delays.append(found - change.night + 1)
                    break
            else:
                self.false += weight
        self.delays += [math.inf] * len(waiting)

    def figures(self) -> dict[str, float]:
        delays = sorted(self.delays)
        return {
            "recall": self.true / self.changes,
            "precision": self.true / max(1e-9, self.true + self.false),
            "median": delays[len(delays) // 2],
            "95 %": delays[math.ceil(0.95 * len(delays)) - 1],
            "exact": self.exact / max(1, self.true),
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--years", type=int, default=5)
    parser.add_argument("--scatter", default=",".join(["all 3 %", *SCATTERS]))
    parser.add_argument("--beside", action="store_true")
    parser.add_argument("--otava", metavar="PYTHON")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []
    print(
        f"{'scatter':11} {'procedure':12} recall   precision  median  95 %  "
        "false/year  exact  s/year"
    )
    for name in arguments.scatter.split(","):
        made = [_year(name, FIRST_SEED + number) for number in range(arguments.years)]
        procedures = {"vswitch": _of_each(_ours)}
        if arguments.beside:
            procedures["jumpavg"] = _of_each(_jumpavg)
            if arguments.otava:
                for p in OTAVA_P:
                    procedures[f"otava {p}"] = _otava(arguments.otava, p)
        for procedure, run in procedures.items():
            rows.append(_row(name, procedure, run, made))
    if arguments.json:
        print(json.dumps({"years": arguments.years, "rows": rows}))
    return int(any(row["procedure"] == "vswitch" and not row["kept"] for row in rows[:2]))


Procedure = Callable[[Sequence[Floats]], list[list[Alarm]]]


def _year(name: str, seed: int) -> Year:
    if name == "all 3 %":
        return year(normal, seed, largest=0.03)
    return year(SCATTERS[name], seed)


def _row(name: str, procedure: str, run: Procedure, made: Sequence[Year]) -> dict[str, object]:
    tally = Tally()
    for one in made:
        changed = sorted(change.case for change in one.changes)
        others = [case for case in range(len(one.values)) if case not in changed]
        looked_at = others if procedure == "vswitch" else others[:OTHERS]
        began = sum(os.times()[:4])
        alarms = run([one.values[case] for case in (*changed, *looked_at)])
        tally.seconds += sum(os.times()[:4]) - began
        for number, found in enumerate(alarms):
            case = changed[number] if number < len(changed) else None
            truth = [change for change in one.changes if change.case == case]
            tally.add(truth, found, 1.0 if truth else len(others) / len(looked_at))
    figures = tally.figures()
    good = {
        "recall": figures["recall"] >= LEAST,
        "precision": figures["precision"] >= LEAST,
        "median": figures["median"] <= MEDIAN,
        "95 %": figures["95 %"] <= NEARLY_ALL,
    }
    mark = {key: "+" if kept else "!" for key, kept in good.items()}
    false = tally.false / len(made)
    print(
        f"{name:11} {procedure:12} {figures['recall']:.3f} {mark['recall']}  "
        f"{figures['precision']:.3f} {mark['precision']}    {figures['median']:3g} "
        f"{mark['median']}  {figures['95 %']:4g} {mark['95 %']}  {false:9.1f}  "
        f"{figures['exact']:.2f}  {tally.seconds / len(made):6.1f}",
        flush=True,
    )
    told = {key: value if math.isfinite(value) else None for key, value in figures.items()}
    return {
        "scatter": name,
        "procedure": procedure,
        "kept": all(good.values()),
        "false": false,
        **told,
    }


def _of_each(one: Callable[[Floats], list[Alarm]]) -> Procedure:
    return lambda series: [one(values) for values in series]


def _ours(values: Floats) -> list[Alarm]:
    # It uses no later night than the one it is at, so once over all nights is each night once:
    # tests/results/trend/test_detect.py holds it to that.
    return [
        (
            one.began,
            one.found,
            bool(np.median(values[one.began :]) > np.median(values[: one.began])),
        )
        for one in changes(values)
    ]


def _jumpavg(values: Floats) -> list[Alarm]:
    import jumpavg

    alarms: list[Alarm] = []
    for night in range(10, len(values)):
        first = max(0, night + 1 - JUMPAVG_NIGHTS)
        groups = jumpavg.classify([float(value) for value in values[first : night + 1]])
        at = first
        before = math.nan
        for group in groups:
            average: float = group.stats.avg
            large = abs(average / before - 1) >= MINIMUM_EFFECT  # never of the first group
            if large and all(abs(at - known) > NEAR for known, _, _ in alarms):
                alarms.append((at, night, average > before))
            at, before = at + len(group.run_list), average
    return alarms


OTAVA = """
import json, sys
from otava.analysis import compute_change_points
request = json.load(sys.stdin)
answer = []
for values in request["series"]:
    alarms = []
    for night in range(10, len(values)):
        found, _ = compute_change_points(
            values[: night + 1], window_len=30, max_pvalue=request["p"],
            min_magnitude=request["minimum"],
        )
        for one in found:
            if all(abs(int(one.index) - known) > request["near"] for known, _, _ in alarms):
                upwards = bool(one.stats.mean_2 > one.stats.mean_1)
                alarms.append([int(one.index), night, upwards])
    answer.append(alarms)
json.dump(answer, sys.stdout)
"""


def _otava(python: str, p: str) -> Procedure:
    def run(series: Sequence[Floats]) -> list[list[Alarm]]:
        request = {
            "series": [values.tolist() for values in series],
            "p": float(p),
            "minimum": MINIMUM_EFFECT,
            "near": NEAR,
        }
        done = subprocess.run(
            [python, "-c", OTAVA],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            check=True,
        )
        return [[tuple(alarm) for alarm in alarms] for alarms in json.loads(done.stdout)]

    return run


if __name__ == "__main__":
    sys.exit(main())
