"""What TRex finds on the local P2P over memif, and what our memif generator finds there.

    python -m benchmarks.trex --path /opt/trex/v3.08 [--rounds 3] [--ring-size 1024] [--json]

Each round searches with the one, then with the other (`pytest suites/p2p --quick`, 64 bytes):
the same testpmd on the same ports and rings, so that what else the machine does meets both.
Prints the NDR and the PDR of each round, the ratio of the medians, and how far a search with
one generator may lie from the next with the same: a ratio within that is no difference.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from pytest_vswitch.results import run_directory

LAB = """
dut: {{host: local}}
ports: [{{kind: memif}}, {{kind: memif}}]
generator: {{kind: {kind}, ring_size: {ring}}}
"""
KINDS = ("trex", "memif")
GOALS = ("NDR", "PDR")


def search(lab: Path, reports: Path) -> dict[str, float]:
    """The rate of each goal, in the middle of its interval [frames/s]."""
    words = [
        "--quick",
        "--wait",
        "20m",
        "--dut",
        str(lab),
        "--reports",
        str(reports),
        "-q",
        "-k",
        "throughput",
    ]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "suites/p2p", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        sys.exit(ended.stdout + ended.stderr)
    (case,) = run_directory.find(reports, run_directory.LATEST).read().cases
    (measurement,) = case.measurements
    rates = {}
    for result in measurement.results:
        ends = [end for end in (result.lower_pps, result.upper_pps) if end is not None]
        rates[result.goal.name] = statistics.fmean(ends)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--path", type=Path, required=True, help="folder of a TRex release")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ring-size", type=int, default=1024, help="frames of a memif ring")
    parser.add_argument("--json", action="store_true", help="one JSON object as last line")
    options = parser.parse_args()
    found: dict[str, dict[str, list[float]]] = {
        kind: {goal: [] for goal in GOALS} for kind in KINDS
    }
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(1, options.rounds + 1):
            for kind in KINDS:
                lab = Path(scratch, f"{kind}.yaml")
                text = LAB.format(kind=kind, ring=options.ring_size)
                lab.write_text(text + f"trex: {{path: {options.path}}}\n" * (kind == "trex"))
                rates = search(lab, Path(scratch, "reports"))
                for goal in GOALS:
                    found[kind][goal].append(rates[goal])
                told = ", ".join(f"{goal} {rates[goal]:,.0f}" for goal in GOALS)
                print(f"round {number}  {kind:5}  {told} frames/s", flush=True)
    ratios = {}
    for goal in GOALS:
        middle = {kind: statistics.median(found[kind][goal]) for kind in KINDS}
        spread = {kind: max(found[kind][goal]) / min(found[kind][goal]) for kind in KINDS}
        ratios[goal] = middle["trex"] / middle["memif"]
        print(
            f"{goal}: trex / memif = {ratios[goal]:.2f}; highest / lowest of "
            + ", ".join(f"{kind} {spread[kind]:.2f}" for kind in KINDS)
        )
    if options.json:
        print(json.dumps({"ring": options.ring_size, "found": found, "ratios": ratios}))


if __name__ == "__main__":
    main()
