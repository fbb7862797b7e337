"""What a store of a million results costs: import, compare, trend of a case, memory, growth.

    python -m benchmarks.store [--sizes 10000,100000,1000000] [--store URL] [--json]

The history is made up: two labs take turns over ten years, each run measures 300 cases, and
now and then the software changes. Whatever is timed is the command that a user types, as a
process from its start to its end, with Python and all libraries:

- `import`: `vswitch store import` of JSON lines into an empty store; `again`: once more;
- `compare`: the newest five runs of a lab against the five before them, 300 cases;
- `trend`: all that there is of one case in one lab;
- `export`: to JSON lines; `partitions`: to Parquet by lab and month, and from there
- `compare (Parquet)` and `trend (Parquet)`.

Shown: the time of the clock, that of the processor (a machine that does other things, too,
stretches the first and hardly the second), and the most memory that was resident. `--store`:
a PostgreSQL database instead of an SQLite file, named by a URL whose `{size}` is replaced;
its server's share is in the clock only.

Promised at a million: 20,000 a second, compare under 3 s, trend under 1 s, 600 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pytest_vswitch.results.sample import Environment, Sample
from pytest_vswitch.results.store.formats import lines

CASES = 300
YEARS_S = 10 * 365.25 * 86_400
FIRST_S = 1_450_000_000.0
ONE_CASE = "pvp:flows=1,frame_bytes=64"
VSWITCH = (
    sys.executable,
    "-c",
    "import sys; from pytest_vswitch.cli import main; sys.exit(main())",
)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one command."""

    step: str
    size: int
    wall_s: float
    cpu_s: float
    memory_mb: float


def environment(number: int) -> Environment:
    """As long as a real one."""
    flags = " ".join(f"flag{bit:03}" for bit in range(150))
    return Environment(
        {"CPU model": "Intel(R) Xeon(R) Gold 6338N CPU @ 2.20GHz", "CPU flags": flags},
        {"host dpdk": f"DPDK {15 + number // 4}.{1 + number % 4:02}.0", "qemu": "QEMU 7.2.11"},
        {"NIC": "net_memif", "memory": "hugepages", "tool": "1.0"},
    )


def runs(size: int) -> list[tuple[str, str, float]]:
    """Id, lab and time of each, oldest first: the newest part of ten years."""
    apart_s = YEARS_S * CASES / 1_000_000
    count = max(1, size // CASES)
    return [(f"{n:05}", f"lab{1 + n % 2}", FIRST_S + n * apart_s) for n in range(count)]


def history(size: int) -> Iterator[Sample]:
    common = Sample(
        run="",
        lab="",
        at_s=0.0,
        order=0,
        suite="pvp",
        case="",
        metric="NDR",
        unit="frames/s",
        better="more",
        value=0.0,
        lossy_hop="vhost0 -> virtio0",
        environment=environment(0),
    )
    for number, (run, lab, at_s) in enumerate(runs(size)):
        used = environment(number // 100)
        for case in range(CASES):
            noise = (number * 7919 + case * 104_729) % 97 / 97 - 0.5
            rate = 1e6 * (1 + case / 100) * (1 + 0.02 * noise)
            yield replace(
                common,
                run=run,
                lab=lab,
                at_s=at_s,
                order=case,
                case=f"pvp:flows={1 + case // 10},frame_bytes={64 + case % 10}",
                value=rate,
                low=rate,
                high=1.005 * rate,
                environment=used,
            )


def cost(step: str, size: int, *command: str) -> Cost:
    began_s = time.perf_counter()
    process = subprocess.Popen([*VSWITCH, *command], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):  # 1: something is worse
        raise SystemExit(f"{step}: `vswitch {' '.join(command)}` failed")
    return Cost(
        step,
        size,
        time.perf_counter() - began_s,
        used.ru_utime + used.ru_stime,
        used.ru_maxrss / 1024,
    )


def measure(size: int, directory: Path, url: str) -> Iterator[Cost]:
    source, lake = directory / "results.jsonl", directory / "lake"
    with source.open("w") as file:
        lines.write(file, history(size))
    place = ("--store", url.replace("{size}", str(size)), "--reports", str(directory / "none"))
    yield cost("import", size, "store", "import", str(source), *place)
    yield cost("again", size, "store", "import", str(source), *place)
    newest = [run for run, lab, _ in runs(size) if lab == "lab1"][-10:]
    sides = (",".join(newest[:5]), ",".join(newest[5:]))
    one = ("--case", ONE_CASE, "--lab", "lab1")
    yield cost("compare", size, "compare", *sides, *place)
    yield cost("trend", size, "trend", *one, *place)
    yield cost("export", size, "store", "export", str(directory / "again.jsonl"), *place)
    yield cost("partitions", size, "store", "export", "--partitioned", str(lake), *place)
    place = ("--store", f"parquet:{lake}", *place[2:])
    yield cost("compare (Parquet)", size, "compare", *sides, *place)
    yield cost("trend (Parquet)", size, "trend", *one, *place)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="10000,100000,1000000", help="results, with commas")
    parser.add_argument("--store", metavar="URL", help="instead of an SQLite file")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    arguments = parser.parse_args()
    found: list[Cost] = []
    print(f"{'step':<18} {'results':>9} {'clock':>9} {'processor':>10} {'memory':>9}")
    for size in map(int, arguments.sizes.split(",")):
        with tempfile.TemporaryDirectory(prefix="store-benchmark-") as name:
            directory = Path(name)
            file = directory / "store.sqlite"
            for one in measure(size, directory, arguments.store or f"sqlite:///{file}"):
                found.append(one)
                rate = f"  {size / one.wall_s:,.0f} /s" if one.step == "import" else ""
                print(
                    f"{one.step:<18} {size:>9,} {one.wall_s:>7.2f} s {one.cpu_s:>8.2f} s "
                    f"{one.memory_mb:>6.0f} MB{rate}",
                    flush=True,
                )
            if file.exists():
                print(f"{'file':<18} {size:>9,} {file.stat().st_size / 1e6:>31.1f} MB", flush=True)
    if arguments.json:
        print(json.dumps({"costs": [asdict(one) for one in found]}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
