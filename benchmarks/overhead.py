"""What a real run spent beyond the duration of its trials, and whether its books balance.

    pytest suites/pvp --dut local
    python benchmarks/overhead.py [RUN] [--json]

The overhead of a search is its wall time (waiting for stragglers, reading the counters of
every hop, writing the journal, thinking) beyond the sum of its trials' durations. A
simulated run takes no time and has none; `-` stands for a search that did not end.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pytest_vswitch.measure import books
from pytest_vswitch.results import run_directory


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", nargs="?", default=run_directory.LATEST)
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    parser.add_argument("--json", action="store_true", help="one JSON object as last line")
    options = parser.parse_args()
    record = run_directory.find(options.reports, options.run).read()
    print(f"{'case':24} {'trials':>6} {'trial time':>10} {'overhead':>9} {'books':>11}")
    rows = []
    for case in record.cases:
        trials = [trial for measurement in case.measurements for trial in measurement.trials]
        spent_s = sum(trial.duration_s for trial in trials)
        ended = [m for m in case.measurements if m.elapsed_s is not None]
        in_ended_s = sum(trial.duration_s for m in ended for trial in m.trials)
        elapsed_s = sum(m.elapsed_s or 0.0 for m in ended)
        overhead = elapsed_s / in_ended_s - 1 if in_ended_s else None
        balanced = sum(books.balanced(trial.paths) for trial in trials)
        rows.append(
            {
                "case": case.id,
                "trials": len(trials),
                "trial_time_s": spent_s,
                "overhead_ratio": overhead,
                "balanced": balanced,
            }
        )
        print(
            f"{case.id:24} {len(trials):>6} {spent_s:>8.0f} s "
            f"{'-' if overhead is None else format(overhead, '.2%'):>9} "
            f"{balanced:>4} of {len(trials)}"
        )
    if options.json:
        print(json.dumps({"run": record.run.id, "cases": rows}))


if __name__ == "__main__":
    main()
