"""`pytest suites/vfd` on emulated NICs: what passes, what is left out and why, what fails."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from pytest_vswitch.measure.vf_checks import CHECKS
from tests.apps.test_vf_control import WRONG, typed
from tests.emulated.vfd_mutants import MUTANTS

HERE = Path(__file__).parents[2]
SUITE = HERE / "suites/vfd"
FILES = ("test_common.py", "test_ixgbe.py", "test_i40e.py")
PAGE = HERE / "docs/vfd.md"
CONFTEST = """
import pytest
from pytest_vswitch.results.certification import Wired
from tests.emulated.dut import Dut
from tests.emulated.vfd_bench import bench
from tests.emulated import vfd_mutants


@pytest.fixture
def vfd(monkeypatch):
    dut = Dut({model!r})
    {break_}
    with bench(dut) as running:
        monkeypatch.setattr("pytest_vswitch.measure.vf_bench.SAMPLE_FRAMES", 150)
        yield Wired("vfd", running.topology, running.generator)
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    shutil.copytree(SUITE, pytester.path / "vfd", ignore=shutil.ignore_patterns("__pycache__"))
    return pytester


def run(suite: pytest.Pytester, model: str, break_: str = "pass") -> pytest.RunResult:
    suite.makeconftest(CONFTEST.format(model=model, break_=break_))
    return suite.runpytest_inprocess("vfd", "-rs", "-p", "no:cacheprovider")


@pytest.mark.parametrize(("model", "passed", "skipped"), [("82599", 16, 10), ("X710", 17, 9)])
def test_a_good_nic(suite: pytest.Pytester, model: str, passed: int, skipped: int) -> None:
    result = run(suite, model)
    result.assert_outcomes(passed=passed, skipped=skipped)
    other = {"82599": "for i40e: this port has ixgbe", "X710": "for ixgbe: this port has i40e"}
    result.stdout.fnmatch_lines([f"SKIPPED*{other[model]}"])


def test_a_fault_fails_its_test_and_says_which_assertion(suite: pytest.Pytester) -> None:
    result = run(suite, "82599", "vfd_mutants.the_strip_strips_nothing(dut)")
    result.assert_outcomes(passed=15, skipped=10, failed=1)
    result.stdout.fnmatch_lines(["*VLAN stripping on: the tag is gone: it should be*"])


def test_a_refusal_is_left_out_in_the_drivers_words(suite: pytest.Pytester) -> None:
    result = run(suite, "82599", "dut.lacks = {'set tx loopback'}")
    result.assert_outcomes(passed=15, skipped=11)
    result.stdout.fnmatch_lines(["SKIPPED*not supported here: function not implemented"])


def test_every_check_has_a_test_of_its_own_and_a_row_of_the_table() -> None:
    """By the section of the guide that both name."""
    text = "".join(path.read_text() for path in map(SUITE.joinpath, FILES))
    tests = re.findall(r"def (test_\w+)\(.*?shows\((\w+\.\w+)\)", text, re.DOTALL)
    for check, (_, run) in zip(CHECKS, tests, strict=True):
        assert f"{check.run.__module__}.{check.run.__name__}".endswith(f".{run}")
    rows = re.findall(r"^\| (5\.\d\.\d+) \| .*? \| `(test_\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert rows == [(check.section, name) for check, (name, _) in zip(CHECKS, tests, strict=True)]


def test_the_pages_figures() -> None:
    page = " ".join(PAGE.read_text().split())
    runs = sum(len(models) for _, models, _ in MUTANTS)
    assertions = len({assertion for assertion, _, _ in MUTANTS})
    for figure in (
        f"has {assertions} assertions",
        f"{len(MUTANTS)} in all, {runs} on both",
        f"{len(typed())} different ones",
        f"{len(WRONG)} lines with a word",
    ):
        assert figure in page
