"""Live migrations one after the other, under traffic: what the generator sees, and QEMU says.

python -m benchmarks.migrations [live_migration | bonded_migration] [--runs 10] [--json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.rows import Row
from pytest_vswitch.errors import VswitchError
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.measure import bonded, migration, outage
from pytest_vswitch.measure.functional import check_functional
from pytest_vswitch.measure.outage import Outage
from pytest_vswitch.topologies.move import Moved
from pytest_vswitch.topologies.topology import Topology
from pytest_vswitch.traffic.generator import Generator

SCRIPT = "bare_live_migration.sh"


@dataclass(frozen=True, slots=True)
class Line:
    """One migration; times in ms."""

    downtime_ms: int
    events_ms: float
    silence_ms: float
    resolution_ms: float
    lost: int
    doubled: int
    total_ms: int
    faults: int

    @property
    def agrees(self) -> bool:
        """Whether the silence is QEMU's downtime, as far as can be told."""
        return abs(self.silence_ms - self.downtime_ms) <= self.resolution_ms


def line(moved: Moved, outages: Sequence[Outage], lost: int, faults: int) -> Line:
    statistics = moved.statistics
    silence = outage.meanwhile(outages, moved.stopped_s or 0.0, moved.resumed_s or 0.0)
    return Line(
        downtime_ms=statistics.downtime_ms,
        events_ms=round(moved.stopped_ms or 0.0, 1),
        silence_ms=round(silence.length_ms if silence else 0.0, 1),
        resolution_ms=round(outage.resolution_ms(outages, silence) if silence else 0.0, 1),
        lost=lost,
        doubled=sum(one.duplicated for one in outages),
        total_ms=statistics.total_ms,
        faults=faults,
    )


def once(name: str, topology: Topology, generator: Generator) -> Line:
    """One move, and the proof that frames return exactly afterwards. Raises VswitchError."""
    if name == "bonded_migration":
        move, trial = bonded.under_traffic(topology, generator, frame_bytes=64)
        check_functional(topology, generator, 64)
        faults = move.faults()
        made = line(move.moved, [move.outage], trial.lost, len(faults))
    else:
        found, trial = migration.under_traffic(topology, generator, frame_bytes=64)
        check_functional(topology, generator, 64)
        faults = found.faults()
        made = line(found.moved, found.outages, trial.lost, len(faults))
        print(f"     {found.difference}")
    for fault in faults:
        print(f"     {fault}")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ("live_migration", "bonded_migration")
    parser.add_argument("topology", nargs="?", choices=names, default=names[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--json", action="store_true", help="one JSON object as last line")
    arguments = parser.parse_args()
    lines: list[Line] = []
    print(" run  downtime  STOP-RESUME  silence  resolution  lost  doubled  total  [ms, frames]")
    with (
        tempfile.TemporaryDirectory(prefix="migrations-") as directory,
        LocalHost(Path(directory).name, Transcript(Path(directory))) as host,
        Row(arguments.topology, SCRIPT).wired(host) as (topology, generator),
    ):
        for number in range(arguments.runs):
            try:
                now = once(arguments.topology, topology, generator)
            except VswitchError as error:
                print(f"{number + 1:>4}  {error}", flush=True)
                break
            lines.append(now)
            print(
                f"{number + 1:>4} {now.downtime_ms:>9} {now.events_ms:>12} {now.silence_ms:>8} "
                f"{now.resolution_ms:>11} {now.lost:>5} {now.doubled:>8} {now.total_ms:>6}",
                flush=True,
            )
    good = sum(not one.faults for one in lines)
    print(f"{good} of {arguments.runs} without a fault")
    if lines:
        print(
            f" med {median(one.downtime_ms for one in lines):>9} "
            f"{median(one.events_ms for one in lines):>12} "
            f"{median(one.silence_ms for one in lines):>8} "
            f"{median(one.resolution_ms for one in lines):>11}"
        )
        print(f"{sum(one.agrees for one in lines)} of {len(lines)} silences are QEMU's downtime")
    if arguments.json:
        print(json.dumps({"good": good, "runs": [asdict(one) for one in lines]}))


if __name__ == "__main__":
    main()
