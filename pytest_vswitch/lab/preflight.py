"""What a lab file promises, held against what a topology or a machine needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_vswitch.errors import InputError

if TYPE_CHECKING:
    from pytest_vswitch.lab.schema import Lab


def require_ports(lab: Lab, suite: str, count: int) -> None:
    """Raise InputError, with file and line, when `lab` has fewer ports than `suite` needs."""
    have = len(lab.ports)
    if have >= count:
        return
    kind = lab.ports[0].kind
    more = "another" if count - have == 1 else f"{count - have} more"
    raise InputError(
        f"{suite} needs {count} ports, lab `{lab.name}` has {have} ({lab.where('ports')}): "
        f"add {more} `- kind: {kind}` below `ports:`"
    )


def generator_is_here(lab: Lab) -> bool:
    """Whether the traffic generator runs on the DUT."""
    return lab.generator.host in (None, lab.dut.host)


def check_lcores(lab: Lab, online: set[int]) -> None:
    """Raise InputError when the lab names a CPU that is not among the DUT's `online` ones.

    A simulated DUT has no CPUs; there is nothing to check.
    """
    if lab.dut.host == "sim":
        return
    named = [] if lab.dut.lcores == "auto" else list(lab.dut.lcores)
    beside = [lab.generator.cpu] if generator_is_here(lab) else []
    for what, key, cpus in (
        ("dut.lcores", ("dut", "lcores"), named),
        ("generator.cpu", ("generator", "cpu"), beside),
    ):
        missing = sorted(cpu for cpu in cpus if cpu is not None and cpu not in online)
        if missing:
            raise InputError(
                f"{lab.where(*key)}: {what} names {_count(missing)}, which this DUT does not have; "
                f"online: {ranges(online)}"
            )


def _count(cpus: list[int]) -> str:
    return f"{'CPU' if len(cpus) == 1 else 'CPUs'} {', '.join(map(str, cpus))}"


def ranges(cpus: set[int]) -> str:
    """`0-3,8` for {0, 1, 2, 3, 8}, as Linux writes CPU lists."""
    parts: list[list[int]] = []
    for cpu in sorted(cpus):
        if parts and cpu == parts[-1][-1] + 1:
            parts[-1].append(cpu)
        else:
            parts.append([cpu])
    return ",".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)
