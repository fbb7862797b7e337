"""What the plugin costs a pytest that does not use it.

    python benchmarks/plugin_startup.py [--json] [--runs 30]

Compared, in interleaved runs of `pytest` on a file with one empty test:

- without the plugin (`-p no:vswitch`),
- with it, as every pytest of its environment is once it is installed,
- without pytest-html and pytest-metadata either, which come with it as dependencies.

Run it with the Python of the environment that is asked about. A run is one process, from
its start to its end. A difference is the median of those found round by round, so that a
machine that becomes slower meanwhile does not show as one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROMISED_MS = 50.0
"""What the plugin may add [ms]."""

PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
WITHOUT, WITH, BARE = "without the plugin", "with the plugin", "without its dependencies too"
OPTIONS = {
    WITHOUT: ("-p", "no:vswitch"),
    WITH: (),
    BARE: ("-p", "no:vswitch", "-p", "no:html", "-p", "no:metadata"),
}


def seconds(directory: Path, options: tuple[str, ...]) -> float:
    began = time.perf_counter()
    subprocess.run([*PYTEST, *options], cwd=directory, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def measure(runs: int) -> dict[str, list[float]]:
    """Times of each kind [ms], in the order they were measured."""
    times: dict[str, list[float]] = {kind: [] for kind in OPTIONS}
    with tempfile.TemporaryDirectory(prefix="plugin-startup-") as name:
        directory = Path(name)
        (directory / "test_empty.py").write_text("def test_nothing():\n    pass\n")
        kinds = list(OPTIONS)
        for run in range(-1, runs):
            for kind in kinds[run % 3 :] + kinds[: run % 3]:  # none is always the first
                took = seconds(directory, OPTIONS[kind])
                if run >= 0:  # the first round compiles and fills caches
                    times[kind].append(1e3 * took)
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=30, help="runs of each kind (default: 30)")
    parser.add_argument("--json", action="store_true", help="last line: all figures as JSON")
    arguments = parser.parse_args()
    times = measure(arguments.runs)
    medians = {kind: statistics.median(values) for kind, values in times.items()}
    base = medians[WITHOUT]
    differences = {
        kind: statistics.median(
            value - before for value, before in zip(values, times[WITHOUT], strict=True)
        )
        for kind, values in times.items()
    }
    print(f"{'pytest on an empty test':30}  median ms  fastest  slowest  difference   ratio")
    for kind, values in times.items():
        print(
            f"{kind:30}  {medians[kind]:9.1f}  {min(values):7.1f}  {max(values):7.1f}"
            f"  {differences[kind]:+7.1f} ms  {1 + differences[kind] / base:6.3f}"
        )
    added = differences[WITH]
    kept = added <= PROMISED_MS
    print(f"the plugin adds {added:.1f} ms; promised: at most {PROMISED_MS:g} ms")
    if arguments.json:
        figures = {
            "benchmark": "plugin_startup",
            "runs": arguments.runs,
            "without_ms": base,
            "with_ms": medians[WITH],
            "without_dependencies_ms": medians[BARE],
            "added_ms": added,
            "ratio": 1 + added / base,
            "promised_ms": PROMISED_MS,
            "kept": kept,
        }
        print(json.dumps(figures))
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
