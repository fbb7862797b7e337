"""`pytest suites/live_migration --nic sriov` as a session: its case, its record, its report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

SUITE = Path(__file__).parents[2] / "suites/live_migration"
CONFTEST = """
import pytest
from pytest_vswitch.results.certification import Wired
from tests.emulated.migration_bench import running
from tests.emulated.migration_faults import MUTANTS
from tests.emulated.migration_world import World


@pytest.fixture
def movable():
    pass


@pytest.fixture
def bonded_migration(monkeypatch):
    spoils = [spoil for assertion, spoil in MUTANTS if assertion == {assertion!r}]
    with running(World(), monkeypatch, spoils=spoils) as (topology, generator, _):
        yield Wired("bonded_migration", topology, generator)
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Without its conftest.py, which leaves out simulations."""
    monkeypatch.setenv("PYTHONPATH", str(SUITE.parents[1]))
    there = pytester.path / "suites/live_migration"
    there.mkdir(parents=True)
    shutil.copy(SUITE / "test_live_migration.py", there)
    return pytester


def run(suite: pytest.Pytester, assertion: str = "") -> pytest.RunResult:
    """In a process of its own: a session in this one would have modules of its own."""
    suite.makeconftest(CONFTEST.format(assertion=assertion))
    argv = ["suites/live_migration", "-k", "bonded", "--dut", "sim", "--nic", "sriov", "--quick"]
    return suite.runpytest_subprocess(*argv, "-p", "no:cacheprovider")


def test_it_passes_and_is_told(suite: pytest.Pytester) -> None:
    result = run(suite)
    result.assert_outcomes(passed=1)
    reports = suite.path / "reports/latest"
    record = json.loads((reports / "results.json").read_text())
    (case,) = record["cases"]
    assert case["id"] == "bonded_migration:event=migration,frame_bytes=64,nic=sriov"
    assert case["verdict"] == "measured"
    facts = case["measurements"][0]["trials"][0]["paths"][0][0]["facts"]
    assert facts["switch"] == "has learned where the guest is"
    assert facts["migrate (1.3.8)"].startswith("no frame for 6")
    assert record["lab"]["guest"]["nic"] == "sriov"
    assert "has learned where the guest is" in (reports / "report.html").read_text()


def test_a_fault_fails_it_and_is_named(suite: pytest.Pytester) -> None:
    result = run(suite, "the switch sends frames to the new place")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*the switch sends frames to the new place: 0 came to*"])
