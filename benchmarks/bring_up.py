"""How long a topology takes to its first frame back, and to be taken down again.

Compared with a script that starts the same programs without this package. The runs are
interleaved; the ratio of the medians is what counts, machines are noisy.

    python -m benchmarks.bring_up [ROW...] [--runs 3] [--json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.rows import ROWS, Row
from pytest_vswitch.apps import guest_image
from pytest_vswitch.hosts import hugepages
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript


def ours(row: Row, directory: Path) -> tuple[float, float]:
    """Seconds to the first frame back, and from there until nothing is left."""
    began = time.monotonic()
    with LocalHost(directory.name, Transcript(directory)) as host, row.wired(host):
        up = time.monotonic()
    return up - began, time.monotonic() - up


def bare(row: Row, directory: Path) -> float:
    """Seconds to the first frame back by shell script, on as many hugepages and the same image."""
    with LocalHost(directory.name, Transcript(directory)) as host:
        image = guest_image.prepare(host, kernel="auto", testpmd=row.lab.dut.testpmd)
        began = time.monotonic()
        with hugepages.reserve(host, "2M", row.pages_mb):
            argv = [str(row.by_hand()), image.kernel, image.initramfs, str(directory)]
            # Through the host: whatever it starts ends with it, also on expiry.
            host.run([*argv, *row.arguments], timeout_s=180)
            return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", metavar="ROW", nargs="*", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object as last line")
    arguments = parser.parse_args()
    found = {}
    print(f"{'row':<15} {'run':>4} {'script':>8} {'ours':>8} {'down':>8}   [s]")
    for name in arguments.rows or ["pvp"]:
        runs: list[tuple[float, float, float]] = []
        for number in range(-1, arguments.runs):
            with tempfile.TemporaryDirectory(prefix="bring-up-") as directory:
                script = bare(ROWS[name], Path(directory))
            with tempfile.TemporaryDirectory(prefix="bring-up-") as directory:
                up, down = ours(ROWS[name], Path(directory))
            if number < 0:
                continue  # the first builds images and probes KVM, once per machine
            runs.append((script, up, down))
            print(f"{name:<15} {number + 1:>4} {script:>8.2f} {up:>8.2f} {down:>8.2f}", flush=True)
        script, up, down = (median(column) for column in zip(*runs, strict=True))
        ratio = up / script
        print(f"{name:<15} {'med':>4} {script:>8.2f} {up:>8.2f} {down:>8.2f}   ratio {ratio:.2f}")
        found[name] = {"bare_s": script, "ours_s": up, "ratio": ratio, "down_s": down}
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
