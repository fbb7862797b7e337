"""Where a case was last time: the results of the newest earlier run that measured it.

Read from the journals of a reports directory, line by line, and only the lines that hold
results: they are few, and a run of hours has millions of others. What is there is a hint,
no result, so that nothing in it can fail a run: a file that is damaged, foreign, of another
version or gone is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytest_vswitch.measure import hint
from pytest_vswitch.measure.goals import Goal, GoalResult
from pytest_vswitch.measure.hint import Hint
from pytest_vswitch.results.run_directory import RunDirectory, list_runs

RUNS = 50
"""So many runs are looked at, the newest first; a hint from further back says little."""
LIMIT_BYTES = 64 * 2**20
"""A `results.json` above this is not read: unlike a journal, that must be done whole."""


def of_case(reports: Path, case_id: str, lab: str, *, but: str = "") -> Hint | None:
    """What the newest run in `reports`, made in the lab of this name, found for this case.

    `but` is the id of the run under way. None if there is nothing that can be read.
    """
    try:
        runs = list_runs(reports)
    except OSError:
        return None
    for run in reversed([run for run in runs if run != but][-RUNS:]):
        directory = RunDirectory(reports / run)
        newest: Hint | None = None
        # Anything may stand in a file; what it holds then is no hint.
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            for results in _searches(directory, case_id, lab):
                newest = hint.of_results(f"run {run}", _goal_results(results)) or newest
        if newest:
            return newest
    return None


def _searches(directory: RunDirectory, case_id: str, lab: str) -> Iterator[list[Any]]:
    """The results of each search of the case, oldest first, as they stand in the file."""
    if not directory.journal.exists():
        if directory.results.stat().st_size > LIMIT_BYTES:
            return
        content = json.loads(directory.results.read_bytes())
        if content["lab"]["name"] == lab:
            for case in content["cases"]:
                if case["id"] == case_id:
                    yield from (measurement["results"] for measurement in case["measurements"])
        return
    with directory.journal.open("rb") as lines:
        if json.loads(next(lines, b"null"))["lab"]["name"] != lab:
            return
        for line in lines:
            if b'"measurement ended"' in line:
                event = json.loads(line)
                if event["event"] == "measurement ended" and event["case_id"] == case_id:
                    yield event["results"]


def _goal_results(results: list[Any]) -> list[GoalResult]:
    """Those of `results` that make sense."""
    found = []
    for result in results:
        ratio, lower = result["goal"]["loss_ratio"], result["lower_pps"]
        upper = result["upper_pps"]
        if not (_is_number(ratio) and 0 <= ratio < 1 and _is_number(lower) and lower > 0):
            continue
        if upper is not None and not (_is_number(upper) and upper > lower):
            continue
        found.append(GoalResult(Goal("", float(ratio)), float(lower), upper, "dut"))
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15
