"""`pytest suites/vfd` on emulated NICs: what passes, what is left out and why, what fails."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from pytest_vswitch.measure.vf_checks import CHECKS, KERNEL_CHECKS
from tests.apps import test_ip_link_vf
from tests.apps.test_vf_control import WRONG, typed
from tests.emulated.vfd_mutants import MUTANTS
from tests.emulated.vfd_mutants_kernel import KERNEL_MUTANTS

HERE = Path(__file__).parents[2]
SUITE = HERE / "suites/vfd"
FILES = ("test_common.py", "test_ixgbe.py", "test_i40e.py", "test_kernel.py")
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

KERNEL_CONFTEST = """
import pytest
from pytest_vswitch.results.certification import Wired
from tests.emulated.vf_kernel import KernelDut
from tests.emulated.vfd_bench import kernel_bench
from tests.emulated.vfd_mutants_kernel import KERNEL_MUTANTS


@pytest.fixture
def vfd():
    dut = KernelDut({driver!r})
    for assertion, _, break_ in KERNEL_MUTANTS:
        if assertion == {breaks!r}:
            break_(dut)
    with kernel_bench(dut, emulated={emulated}) as running:
        yield Wired("vfd", running.topology, running.generator)
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    shutil.copytree(SUITE, pytester.path / "vfd", ignore=shutil.ignore_patterns("__pycache__"))
    return pytester


def run(suite: pytest.Pytester, model: str, break_: str = "pass") -> pytest.RunResult:
    suite.makeconftest(CONFTEST.format(model=model, break_=break_))
    return suite.runpytest_inprocess("vfd", "-rs", "-p", "no:cacheprovider")


def run_by_kernel(
    suite: pytest.Pytester, driver: str, *, breaks: str = "", emulated: bool = False
) -> pytest.RunResult:
    suite.makeconftest(KERNEL_CONFTEST.format(driver=driver, breaks=breaks, emulated=emulated))
    return suite.runpytest_inprocess("vfd", "-rs", "-p", "no:cacheprovider")


@pytest.mark.parametrize(("model", "passed", "skipped"), [("82599", 16, 30), ("X710", 17, 29)])
def test_a_good_nic(suite: pytest.Pytester, model: str, passed: int, skipped: int) -> None:
    result = run(suite, model)
    result.assert_outcomes(passed=passed, skipped=skipped)
    other = {"82599": "for i40e: this port has ixgbe", "X710": "for ixgbe: this port has i40e"}
    result.stdout.fnmatch_lines([f"SKIPPED*{other[model]}"])
    result.stdout.fnmatch_lines(
        ["SKIPPED*for a PF with its kernel's driver: this one has a testp*"]
    )


@pytest.mark.parametrize(("driver", "passed", "skipped"), [("igb", 16, 30), ("i40e", 20, 26)])
def test_a_good_nic_of_the_kernels(
    suite: pytest.Pytester, driver: str, passed: int, skipped: int
) -> None:
    result = run_by_kernel(suite, driver)
    result.assert_outcomes(passed=passed, skipped=skipped)
    result.stdout.fnmatch_lines(["SKIPPED*for a PF with a testpmd: this one has its kernel's*"])


@pytest.mark.parametrize("emulated", [False, True])
def test_what_qemu_does_not_model_is_left_out_there_only(
    suite: pytest.Pytester, emulated: bool
) -> None:
    most, carried = ("1.1", "3.999") if emulated else ("11", "40")
    assertion = f"VF rate limit: no more [[]Mbit/s]: it should be from 0 to {most}, it is {carried}"
    result = run_by_kernel(
        suite, "igb", breaks="VF rate limit: no more [Mbit/s]", emulated=emulated
    )
    if emulated:
        result.assert_outcomes(passed=15, skipped=31)
        result.stdout.fnmatch_lines([f"SKIPPED*{assertion}: QEMU's 82576 limits no rates"])
    else:
        result.assert_outcomes(passed=15, skipped=30, failed=1)
        result.stdout.fnmatch_lines([f"*{assertion}*"])


def test_a_fault_fails_its_test_and_says_which_assertion(suite: pytest.Pytester) -> None:
    result = run(suite, "82599", "vfd_mutants.the_strip_strips_nothing(dut)")
    result.assert_outcomes(passed=15, skipped=30, failed=1)
    result.stdout.fnmatch_lines(["*VLAN stripping on: the tag is gone: it should be*"])


def test_a_refusal_is_left_out_in_the_drivers_words(suite: pytest.Pytester) -> None:
    result = run(suite, "82599", "dut.lacks = {'set tx loopback'}")
    result.assert_outcomes(passed=15, skipped=31)
    result.stdout.fnmatch_lines(["SKIPPED*not supported here: function not implemented"])


def test_every_check_has_a_test_of_its_own_and_a_row_of_the_table() -> None:
    """By the section of the guide that both name."""
    text = "".join(path.read_text() for path in map(SUITE.joinpath, FILES))
    tests = re.findall(r"def (test_\w+)\(.*?shows\((\w+\.\w+)\)", text, re.DOTALL)
    checks = (*CHECKS, *KERNEL_CHECKS)
    for check, (_, run) in zip(checks, tests, strict=True):
        assert f"{check.run.__module__}.{check.run.__name__}".endswith(f".{run}")
    rows = re.findall(r"^\| (5\.\d\.\d+) \| .*? \| `(test_\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert rows == [(check.section, name) for check, (name, _) in zip(checks, tests, strict=True)]


def test_the_page_says_of_each_function_how_far_it_is_proven() -> None:
    """Verify: every function has a row; what is shown on an igb has a test that shows it."""
    page = PAGE.read_text()
    part = page.partition("## How far each function is proven")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (5\.\S+) \| (.*?) \| emulated \| (.*) \|$", part, re.MULTILINE)
    assert [row[:2] for row in rows] == [(check.section, check.name) for check in CHECKS]
    shown = set(re.findall(r"^\| (5\.\S+) \| .* \| shown \|$", page, re.MULTILINE))
    by_others = {"5.3.6"}  # VLANs and multicast addresses
    assert {row[0] for row in rows if "shown on igb" in row[2]} - by_others == shown


def test_the_pages_figures() -> None:
    page = " ".join(PAGE.read_text().split())
    runs = sum(len(models) for _, models, _ in MUTANTS)
    assertions = len({assertion for assertion, _, _ in MUTANTS})
    for figure in (
        f"has {assertions} assertions",
        f"{len(MUTANTS)} in all, {runs} on both",
        f"has {len({name for name, _, _ in KERNEL_MUTANTS})} assertions and "
        f"{len(KERNEL_MUTANTS)} mutants, {sum(len(on) for _, on, _ in KERNEL_MUTANTS)} on both",
        f"{len(typed())} different ones",
        f"{len(test_ip_link_vf.typed())} of `ip` and `bridge`",
        f"{len(WRONG)} lines with a word",
    ):
        assert figure in page
