"""What the searches promise is measured: on fewer DUTs here, on 10,000 by the benchmark itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "benchmarks/search.py", "--duts", "210", "--json"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: list[dict[str, object]] = json.loads(done.stdout.splitlines()[-1])["rows"]
    return found


def test_every_search_finds_every_deterministic_dut(rows: list[dict[str, object]]) -> None:
    deterministic = [row for row in rows if row["dut"] in ("still", "step")]
    assert len(deterministic) == 2 * 2 * 8
    assert all(row["ndr_found"] == row["pdr_found"] == 1.0 for row in deterministic)


def test_what_is_known_saves_trials_and_what_is_wrong_costs_few(
    rows: list[dict[str, object]],
) -> None:
    cost = {
        (row["way"], row["precision"]): float(str(row["cost"]))
        for row in rows
        if row["dut"] == "all"
    }
    for precision in (0.05, 0.01):
        assert cost["mlrsearch", precision] == 1.0
        assert cost["history", precision] <= 0.7
        assert cost["neighbour", precision] <= 0.9
        assert cost["too high", precision] <= 1.2
        assert cost["too low", precision] <= 1.2
