"""What a session compares: versions of the host's and the guest's DPDK, and of QEMU.

Rounds go A B, B A, A B, ...: what drifts in a machine falls on each version alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from pytest_vswitch.errors import InputError
from pytest_vswitch.lab.address import SIM
from pytest_vswitch.lab.dpdk import SYSTEM
from pytest_vswitch.lab.schema import Lab

OPTIONS = {"dpdk": "dpdk", "guest_dpdk": "guest", "qemu": "qemu"}
"""Options, which are also parameters of cases, and how test ids begin each."""


@dataclass(frozen=True, slots=True)
class Round:
    """One turn of one combination of versions."""

    versions: Mapping[str, str] = field(default_factory=dict)
    """By option, of those that were given; empty: the lab's own."""
    number: int = 1
    of: int = 1
    """Rounds that each combination gets. One alone repeats its searches as the plan says."""

    @property
    def id(self) -> str:
        """As test ids have it, e.g. `dpdk22.11-2`."""
        words = [f"{OPTIONS[option]}{name}" for option, name in self.versions.items()]
        return "-".join([*words, *([str(self.number)] if self.of > 1 else [])])

    def applied(self, lab: Lab) -> Lab:
        """The lab with these versions in place of its own."""
        given = self.versions
        qemu = given.get("qemu", lab.guest.qemu)
        if qemu == SYSTEM:
            qemu = "qemu-system-x86_64"
        dut = lab.dut.model_copy(update={"dpdk": given.get("dpdk", lab.dut.dpdk)})
        guest = lab.guest.model_copy(
            update={"dpdk": given.get("guest_dpdk", lab.guest.dpdk), "qemu": qemu}
        )
        return lab.model_copy(update={"dut": dut, "guest": guest})


def rounds(lab: Lab, given: Mapping[str, Sequence[str]], repeats: int) -> tuple[Round, ...]:
    """In the order in which each case is measured; `given` is by option.

    Raises InputError for versions that this lab's vSwitch does not have.
    """
    named = {option: tuple(dict.fromkeys(names)) for option, names in given.items() if names}
    if not named:
        return (Round(),)
    if lab.dut.vswitch != "testpmd" and "dpdk" in named and lab.dut.host != SIM:
        raise InputError(
            f"--dpdk is for testpmd, and {lab.dut.vswitch} brings a DPDK of its own; "
            "compare two installations of it by two runs and `vswitch compare`"
        )
    chosen = [
        dict(zip(named, combination, strict=True)) for combination in product(*named.values())
    ]
    if len(chosen) == 1:
        return (Round(chosen[0]),)
    order = []
    for number in range(1, repeats + 1):
        turn = chosen if number % 2 else chosen[::-1]
        order += [Round(versions, number, repeats) for versions in turn]
    return tuple(order)
