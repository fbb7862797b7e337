"""What breaks an emulated NIC, or its driver, on purpose.

A mutant replaces one decision of `Nic`, or one setting of a PF's driver (`Dut`): so that one
assertion of `suites/vfd` fails, and no other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.emulated.dut import Dut
from tests.emulated.nic import Model
from tests.emulated.vf_kernel import Driver, KernelDut

Break = Callable[[Dut], None]
KernelBreak = Callable[[KernelDut], None]

MUTANTS: list[tuple[str, tuple[Model, ...], Break]] = []
"""The assertion that it fails, the NICs, and what breaks a good one."""

_BOTH: tuple[Model, ...] = ("82599", "X710")
IXGBE: tuple[Model, ...] = ("82599",)
I40E: tuple[Model, ...] = ("X710",)


def fails(assertion: str, *models: Model) -> Callable[[Break], Break]:
    """Registers what makes it fail, on those NICs; default: both."""

    def register(break_: Break) -> Break:
        MUTANTS.append((assertion, models or _BOTH, break_))
        return break_

    return register


KERNEL_MUTANTS: list[tuple[str, tuple[Driver, ...], KernelBreak]] = []
"""The same for a PF that its kernel's driver has."""


def fails_by_kernel(assertion: str, *drivers: Driver) -> Callable[[KernelBreak], KernelBreak]:
    """Registers what makes it fail, with those drivers; default: both."""

    def register(break_: KernelBreak) -> KernelBreak:
        KERNEL_MUTANTS.append((assertion, drivers or ("igb", "i40e"), break_))
        return break_

    return register


def replaced(owner: object, name: str, by: Callable[..., Any]) -> None:
    """`by` gets the method that it replaces first."""
    plain = getattr(owner, name)
    setattr(owner, name, lambda *args, **options: by(plain, *args, **options))


def always(owner: object, name: str, answer: object) -> None:
    """A decision that is never made."""
    replaced(owner, name, lambda plain, *args, **options: answer)


def ignored(dut: Dut, setter: str, when: Callable[..., bool]) -> None:
    """A setting that is not made with such arguments."""
    replaced(
        dut,
        setter,
        lambda plain, *args, **options: None if when(*args, **options) else plain(*args, **options),
    )


def setting(name: str, on: bool) -> Callable[..., bool]:
    """Whether `Dut.set_field` is told to set that field so."""
    return lambda function, field, value: (field, value) == (name, on)


def noted(dut: KernelDut, setter: str) -> list[object]:
    """Filled as soon as that is set."""
    told: list[object] = []

    def set_(plain: Any, *args: object) -> None:
        told.append(args)
        plain(*args)

    replaced(dut, setter, set_)
    return told
