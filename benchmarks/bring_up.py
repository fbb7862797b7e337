"""How long a PVP takes to its first frame back, and to be taken down again.

Compared with `bare_pvp.sh`, which starts the same programs without this package. The
runs are interleaved; the ratio of the medians is what counts, machines are noisy.

    python benchmarks/bring_up.py [--runs 3] [--json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import cast

from pytest_vswitch.apps import guest_image
from pytest_vswitch.hosts import hugepages
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.lab import loader
from pytest_vswitch.measure.functional import wait_until_forwarding
from pytest_vswitch.topologies import pvp
from pytest_vswitch.traffic.memif.generator import MemifTopology, attach

BARE = Path(__file__).with_name("bare_pvp.sh")


def ours(directory: Path) -> tuple[float, float]:
    """Seconds to the first frame back, and from there until nothing is left."""
    lab = loader.load("local")
    began = time.monotonic()
    with (
        LocalHost(directory.name, Transcript(directory)) as host,
        pvp.provision(lab, host) as topology,
        attach(lab, host, cast("MemifTopology", topology)) as generator,
    ):
        wait_until_forwarding(topology, generator, 30)
        up = time.monotonic()
    return up - began, time.monotonic() - up


def bare(directory: Path) -> float:
    """Seconds to the first frame back by shell script, on the same hugepages and image."""
    lab = loader.load("local")
    with LocalHost(directory.name, Transcript(directory)) as host:
        image = guest_image.prepare(host, kernel="auto", testpmd=lab.dut.testpmd)
        needs_mb = (lab.dut.memory_mb, lab.guest.memory_mb)
        with hugepages.reserve(host, "2M", needs_mb):
            began = time.monotonic()
            # Through the host: whatever it starts ends with it, also on expiry.
            host.run([str(BARE), image.kernel, image.initramfs, str(directory)], timeout_s=120)
            return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object as last line")
    arguments = parser.parse_args()
    rows: list[tuple[float, float, float]] = []
    print(f"{'run':>4} {'bare script':>12} {'pytest-vswitch':>15} {'tear-down':>10}   [s]")
    for number in range(-1, arguments.runs):
        with tempfile.TemporaryDirectory(prefix="bring-up-") as directory:
            script = bare(Path(directory))
        with tempfile.TemporaryDirectory(prefix="bring-up-") as directory:
            up, down = ours(Path(directory))
        if number < 0:
            continue  # the first builds the guest image and probes KVM, once per machine
        rows.append((script, up, down))
        print(f"{number + 1:>4} {script:>12.2f} {up:>15.2f} {down:>10.2f}", flush=True)
    script, up, down = (median(column) for column in zip(*rows, strict=True))
    print(f"{'med':>4} {script:>12.2f} {up:>15.2f} {down:>10.2f}   ratio {up / script:.2f}")
    if arguments.json:
        print(json.dumps({"bare_s": script, "ours_s": up, "ratio": up / script, "down_s": down}))


if __name__ == "__main__":
    main()
