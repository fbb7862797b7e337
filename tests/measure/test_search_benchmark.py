"""What the searches promise is measured: on fewer DUTs here, on 1,000 by the benchmark itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_both_searches_keep_their_promises() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/search.py", "--duts", "100", "--json"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(done.stdout.splitlines()[-1])["rows"]
    still = [row for row in rows if row["dut"] == "still"]
    assert len(still) == 4
    assert all(row["ndr_found"] == row["pdr_found"] == 1.0 for row in still)
    assert all(row["trials_p90"] <= 20 for row in still)
