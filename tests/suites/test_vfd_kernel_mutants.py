"""Every assertion of `suites/vfd` for a kernel's PF holds on a good one, and fails on a broken one.

As `test_vfd_mutants`, with `ip link` in place of a testpmd on the PF.
"""

from __future__ import annotations

import pytest

from pytest_vswitch.apps.vf_control import NotSupported
from pytest_vswitch.errors import VswitchError
from pytest_vswitch.measure.vf_bench import EffectMissing
from pytest_vswitch.measure.vf_checks import KERNEL_CHECKS, Check
from tests.emulated.vf_kernel import Driver, KernelDut
from tests.emulated.vfd_bench import kernel_bench
from tests.emulated.vfd_mutants_kernel import KERNEL_MUTANTS, KernelBreak

MOST_LINES = 40
"""Of a check: one that waits for frames asks again and again."""
DRIVERS: tuple[Driver, ...] = ("igb", "i40e")


def checks(driver: Driver) -> list[Check]:
    return [check for check in KERNEL_CHECKS if driver in check.drivers]


def outcome(check: Check, dut: KernelDut) -> tuple[str | None, list[str]]:
    """The assertion that failed, if one did, and those that were held."""
    with kernel_bench(dut) as running:
        try:
            check.run(running)
        except EffectMissing as missing:
            return missing.assertion, running.asserted
        return None, running.asserted


EACH = pytest.mark.parametrize(
    ("driver", "check"),
    [(driver, check) for driver in DRIVERS for check in checks(driver)],
    ids=lambda value: value if isinstance(value, str) else value.name,
)


@EACH
def test_a_good_nic_passes(driver: Driver, check: Check) -> None:
    failed, asserted = outcome(check, KernelDut(driver))
    assert failed is None
    assert asserted


@pytest.mark.parametrize(
    ("assertion", "driver", "break_"),
    [
        pytest.param(assertion, driver, break_, id=f"{driver}-{assertion}-{break_.__name__}")
        for assertion, drivers, break_ in KERNEL_MUTANTS
        for driver in drivers
    ],
)
def test_a_mutant_fails_that_assertion_and_no_other(
    assertion: str, driver: Driver, break_: KernelBreak
) -> None:
    failed = []
    for check in checks(driver):
        dut = KernelDut(driver)
        break_(dut)
        failed.append(outcome(check, dut)[0])
    assert [name for name in failed if name] == [assertion]


@pytest.mark.parametrize("driver", DRIVERS)
def test_every_assertion_has_its_mutant(driver: Driver) -> None:
    held = {name for check in checks(driver) for name in outcome(check, KernelDut(driver))[1]}
    assert held == {assertion for assertion, drivers, _ in KERNEL_MUTANTS if driver in drivers}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("switching", "`bridge link set dev ens1f0 hwmode veb` is not supported here: RTNETLINK"),
        ("VF link state", "`ip link set dev ens1f0 vf 0 state disable` is not supported here"),
        ("unicast promiscuous", "it should be 16, it is 0: the kernel's igb lets no VF"),
        ("VF statistics", "it should be 16, it is 0: the kernel's igb tells no statistics"),
    ],
)
def test_what_igb_does_not_have_is_no_failure(name: str, why: str) -> None:
    (check,) = (check for check in KERNEL_CHECKS if check.name == name)
    with kernel_bench(KernelDut("igb")) as running, pytest.raises(NotSupported, match=why):
        check.run(running)


@pytest.mark.parametrize(
    ("emulated", "wanted"), [(True, NotSupported), (False, EffectMissing)], ids=["QEMU", "Intel"]
)
def test_what_qemu_does_not_model_is_a_failure_of_a_real_nic(
    emulated: bool, wanted: type[Exception]
) -> None:
    """Steps: a NIC that looks at no source address."""
    dut = KernelDut("igb")
    for name, _, break_ in KERNEL_MUTANTS:
        if name == "MAC anti-spoofing on: by another address none":
            break_(dut)
    (check,) = (check for check in KERNEL_CHECKS if check.name == "spoof check")
    with kernel_bench(dut, emulated=emulated) as running:
        with pytest.raises(wanted, match="it should be 0, it is 16"):
            check.run(running)
        assert dut.settings[0].check_mac, "as it was"


FAULTS = ("dies", "refuses", "silent")


@EACH
def test_a_fault_at_any_command_is_one_error(driver: Driver, check: Check) -> None:
    """Whichever line `ip` or a VF's testpmd dies at, refuses, or does not answer."""
    good = KernelDut(driver)
    outcome(check, good)
    lines = len(good.said)
    for number in range(1, min(lines, MOST_LINES) + 1):
        dut = KernelDut(driver)
        fault = FAULTS[number % len(FAULTS)]
        dut.fault = lambda at, number=number, fault=fault: fault if at == number else ""  # type: ignore[misc]
        with pytest.raises(VswitchError) as error:
            outcome(check, dut)
        assert not isinstance(error.value, NotSupported)
        assert not dut.programs, f"{fault} at `{good.said[number - 1]}`"
