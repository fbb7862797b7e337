"""How often verdicts on two sides are right, beside other rules, on seeded data with known truth.

    python -m benchmarks.verdicts [--singles 2000] [--reports 200] [--only SCENE ...] [--json]
    python -m benchmarks.verdicts --quick

Each row is one way in which runs come to differ (`verdict_cases.SCENES`) and one rule. `alone`
judges one comparison at a time, `report` 300 cases at once.

    false     comparisons without a change that were called better or worse
    3 %, 5 %  drops (and, in every other comparison, rises) of that size that were called so
    covered   99 % confidence intervals that contain the true change
    alarms    reports without any change in which a case was called better or worse
    in report 3 %, 5 %   found in reports of 300 cases of which 10 changed by 3 % and 10 by 5 %

The exit status is 1 when a figure of this project's own rows is beyond what it promises
(`PROMISED`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace

import numpy as np

from benchmarks.verdict_cases import SCENES, Floats, Scene, pairs
from benchmarks.verdict_rules import RULES, Rule
from pytest_vswitch.results.statistics.judge import judge
from pytest_vswitch.results.statistics.pair import Judgement, Options, Pair

CASES = 300
CHANGED = 10
OURS = "vswitch"
LIMITS = {"false": 0.01, "alarms": 0.05}
FINDS = {"found_3": 0.9, "found_5": 0.99}
PROMISED: dict[str, dict[str, float]] = {
    "normal": LIMITS | FINDS | {"report_3": 0.7, "report_5": 0.99},
    "skew-normal": LIMITS | FINDS,
    "gamma": LIMITS,
    "exponential": LIMITS,
    "Student t3": LIMITS,
    "two modes": LIMITS,
    "outliers": LIMITS,
    "drift 3 %, ABBA": LIMITS | {"found_5": 0.99},
    "intervals 1 %": LIMITS | {"found_5": 0.99},
    "line at the rate": LIMITS,
    "line 1 % above": LIMITS,
    "runs shift together": LIMITS,
    "less is better": LIMITS | FINDS,
}
"""By scene and column: at most for `LIMITS`, else at least."""
SIGNS = {"worse": -1.0, "better": 1.0}


@dataclass(frozen=True)
class Row:
    """What a rule made of a scene; shares, or None where it was not tried."""

    scene: str
    rule: str
    false: float
    found_3: float
    found_5: float
    covered: float | None
    alarms: float | None
    report_3: float | None
    report_5: float | None


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.verdicts", description=__doc__)
    parser.add_argument("--singles", type=int, default=2000)
    parser.add_argument("--reports", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="a twentieth of all that")
    parser.add_argument("--only", nargs="+", default=[], metavar="SCENE")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    less = 20 if arguments.quick else 1
    scenes = [scene for scene in SCENES if not arguments.only or scene.name in arguments.only]
    print(HEADER)
    rows = []
    singles, reports = arguments.singles // less, arguments.reports // less
    for found in tried(scenes, singles, reports):
        for row in found:
            rows.append(row)
            print(line(row), flush=True)
    faults = [fault for row in rows for fault in broken(row, singles, reports)]
    for fault in faults:
        print(fault)
    if arguments.json:
        print(json.dumps({"benchmark": "verdicts", "rows": [asdict(row) for row in rows]}))
    return 1 if faults else 0


def broken(row: Row, singles: int, reports: int) -> Iterator[str]:
    """What of a row is beyond what is promised of its scene.

    So many tries leave an uncertainty, of which three standard errors are allowed for.
    """
    if row.rule != OURS:
        return
    found = asdict(row)
    for name, promised in PROMISED.get(row.scene, {}).items():
        tries = {"alarms": reports, "report_3": reports * CHANGED, "report_5": reports * CHANGED}
        error = 3 * (promised * (1 - promised) / tries.get(name, singles)) ** 0.5
        beyond = found[name] - promised if name in LIMITS else promised - found[name]
        if beyond > error:
            yield f"{row.scene}: {name} {found[name]:.2%}, promised {promised:.2%}"


HEADER = (
    f"{'scene':24} {'rule':12} {'false':>6} {'3 %':>6} {'5 %':>6} {'covered':>8}"
    f" {'alarms':>7} {'in report 3 %':>13} {'5 %':>6}"
)


def line(row: Row) -> str:
    def share(value: float | None) -> str:
        return "" if value is None else f"{100 * value:.1f}"

    return (
        f"{row.scene:24} {row.rule:12} {100 * row.false:6.2f} {share(row.found_3):>6}"
        f" {share(row.found_5):>6} {share(row.covered):>8} {share(row.alarms):>7}"
        f" {share(row.report_3):>13} {share(row.report_5):>6}"
    )


def tried(scenes: Sequence[Scene], singles: int, reports: int) -> Iterator[list[Row]]:
    """Both CPUs' idle time works on it; the rows do not depend on how many there are."""
    with ProcessPoolExecutor(2, initializer=_idle) as pool:
        work = [pool.submit(rows_of, scene, singles, reports) for scene in scenes]
        for done in work:
            yield done.result()


def rows_of(scene: Scene, singles: int, reports: int) -> list[Row]:
    """A row a rule, this project's first."""
    alone = [_alone(scene, singles, size, seed) for seed, size in enumerate((0.0, 0.03, 0.05))]
    # jumpavg looks at each case by itself, and slowly: in a report it finds what it finds alone.
    together = {name: rule for name, rule in RULES.items() if name != "jumpavg"}
    alarms, found = np.zeros(len(together) + 1), np.zeros((len(together) + 1, 2))
    for number in range(reports):
        random = np.random.default_rng([4, number])
        signs = _judged(scene, random, np.zeros(CASES), together)
        alarms += (signs != 0).any(axis=1)
        changes = np.zeros(CASES)
        changes[:CHANGED], changes[CHANGED : 2 * CHANGED] = -0.03, -0.05
        changes[: 2 * CHANGED : 2] *= -1
        signs = _judged(scene, random, changes, together)
        right = (signs == np.sign(changes)) & (changes != 0)
        found[:, 0] += right[:, :CHANGED].mean(axis=1)
        found[:, 1] += right[:, CHANGED : 2 * CHANGED].mean(axis=1)
    covered = float(np.mean([coverage for _, coverage in alone]))
    made = []
    for index, rule in enumerate((OURS, *RULES)):
        place = (OURS, *together).index(rule) if reports and rule != "jumpavg" else None
        made.append(
            Row(
                scene=scene.name,
                rule=rule,
                false=float(alone[0][0][index]),
                found_3=float(alone[1][0][index]),
                found_5=float(alone[2][0][index]),
                covered=None if index else covered,
                alarms=None if place is None else float(alarms[place] / reports),
                report_3=None if place is None else float(found[place, 0] / reports),
                report_5=None if place is None else float(found[place, 1] / reports),
            )
        )
    return made


def _alone(scene: Scene, count: int, size: float, seed: int) -> tuple[Floats, float]:
    """How often each rule found a change of that size, or any where there is none."""
    random = np.random.default_rng([seed, 7])
    changes = np.where(np.arange(count) % 2, size, -size)
    made, before, after = pairs(scene, random, count, changes, alone=True)
    judgements = judged_alone(made)
    signs = [_signs(made, judgements)]
    # Of one case alone there is nothing to correct.
    rules = {**RULES, "Welch, Holm": RULES["Welch"]}
    signs += [rule(before, after) for rule in rules.values()]
    hits = np.array([(sign == np.sign(changes)) if size else sign != 0 for sign in signs])
    return hits.mean(axis=1), _covered(judgements, changes)


def judged_alone(made: Sequence[Pair]) -> list[Judgement]:
    """As if each were the only pair, but quicker: none is like another, nothing is corrected."""
    unlike = [replace(pair, group=str(number)) for number, pair in enumerate(made)]
    return judge(unlike, Options(family_confidence=0.0))


def _judged(
    scene: Scene, random: np.random.Generator, changes: Floats, rules: Mapping[str, Rule]
) -> Floats:
    made, before, after = pairs(scene, random, len(changes), changes)
    return np.array([_signs(made, judge(made)), *(rule(before, after) for rule in rules.values())])


def _signs(made: Sequence[Pair], judgements: Sequence[Judgement]) -> Floats:
    """Of the change of the value."""
    return np.array(
        [
            SIGNS.get(judgement.verdict, 0.0) * (1 if pair.better == "more" else -1)
            for pair, judgement in zip(made, judgements, strict=True)
        ]
    )


def _covered(judgements: Sequence[Judgement], changes: Floats) -> float:
    inside = [
        (judgement.low is None or judgement.low <= change)
        and (judgement.high is None or change <= judgement.high)
        for judgement, change in zip(judgements, changes.tolist(), strict=True)
    ]
    return float(np.mean(inside))


def _idle() -> None:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


if __name__ == "__main__":
    sys.exit(main())
