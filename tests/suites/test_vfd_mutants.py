"""Every assertion of `suites/vfd` holds on a good NIC, and fails on a NIC with that very fault."""

from __future__ import annotations

import pytest

from pytest_vswitch.apps.vf_control import NotSupported
from pytest_vswitch.errors import DutError
from pytest_vswitch.measure.vf_bench import EffectMissing
from pytest_vswitch.measure.vf_checks import CHECKS, Check
from tests.emulated.dut import Dut
from tests.emulated.nic import Model
from tests.emulated.vfd_bench import bench
from tests.emulated.vfd_mutants import MUTANTS, Break

MOST_LINES = 40
"""Of a check: one that waits for frames asks again and again."""
DRIVERS: dict[Model, str] = {"82599": "ixgbe", "X710": "i40e"}


def checks(model: Model) -> list[Check]:
    return [check for check in CHECKS if DRIVERS[model] in check.drivers]


def outcome(check: Check, dut: Dut) -> tuple[str | None, list[str]]:
    """The assertion that failed, if one did, and those that were held."""
    with bench(dut) as running:
        try:
            check.run(running)
        except EffectMissing as missing:
            return missing.assertion, running.asserted
        return None, running.asserted


EACH = pytest.mark.parametrize(
    ("model", "check"),
    [(model, check) for model in DRIVERS for check in checks(model)],
    ids=lambda value: value if isinstance(value, str) else value.name,
)


@EACH
def test_a_good_nic_passes(model: Model, check: Check) -> None:
    dut = Dut(model)
    failed, asserted = outcome(check, dut)
    assert failed is None
    assert asserted


@pytest.mark.parametrize("version", ["20.11.10", "24.11.8"])
@pytest.mark.parametrize("model", DRIVERS)
def test_a_good_nic_passes_with_other_versions(model: Model, version: str) -> None:
    for check in checks(model):
        with bench(Dut(model), version=version) as running:
            check.run(running)


@pytest.mark.parametrize(
    ("assertion", "model", "break_"),
    [
        pytest.param(assertion, model, break_, id=f"{model}-{assertion}-{break_.__name__}")
        for assertion, models, break_ in MUTANTS
        for model in models
    ],
)
def test_a_mutant_fails_that_assertion_and_no_other(
    assertion: str, model: Model, break_: Break
) -> None:
    failed = []
    for check in checks(model):
        dut = Dut(model)
        break_(dut)
        failed.append(outcome(check, dut)[0])
    assert [name for name in failed if name] == [assertion]


@pytest.mark.parametrize("model", DRIVERS)
def test_every_assertion_has_its_mutant(model: Model) -> None:
    held = {name for check in checks(model) for name in outcome(check, Dut(model))[1]}
    assert held == {assertion for assertion, models, _ in MUTANTS if model in models}


REFUSED = [
    (model, check)
    for model in DRIVERS
    for check in CHECKS
    if DRIVERS[model] not in check.drivers and check.name != "link status notification"
]


@pytest.mark.parametrize(
    ("model", "check"),
    REFUSED,
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_what_a_driver_does_not_have_is_no_failure(model: Model, check: Check) -> None:
    with bench(Dut(model)) as running, pytest.raises(NotSupported, match="not supported here"):
        check.run(running)


FAULTS = ("dies", "refuses", "silent")


@EACH
def test_a_fault_at_any_command_is_an_error_of_the_dut(model: Model, check: Check) -> None:
    """Whichever line testpmd dies at, refuses, or does not answer, be it while cleaning up."""
    good = Dut(model)
    outcome(check, good)
    lines = len(good.said)
    for number in range(1, min(lines, MOST_LINES) + 1):
        dut = Dut(model)
        fault = FAULTS[number % len(FAULTS)]
        dut.fault = lambda at, number=number, fault=fault: fault if at == number else ""  # type: ignore[misc]
        with pytest.raises(DutError):
            outcome(check, dut)
        assert not dut.programs, f"{fault} at `{good.said[number - 1]}`"
