"""The results template of the guide, chapter 4.4, filled from facts only."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_vswitch.results import units
from pytest_vswitch.results.findings import finding, headline, outcomes, trials_at
from pytest_vswitch.results.record import Case, HostFacts

LINES = (
    "Traffic Generator",
    "Acceptable Loss",
    "Validation run time",
    "Host DPDK version/commit",
    "Guest DPDK version/commit",
    "Patches applied",
    "QEMU version/commit",
    "Virtio features",
    "CPU",
    "NIC",
    "Result",
)


def render(case: Case, host: HostFacts) -> dict[str, str]:
    """The eleven lines, in the guide's words and order.

    "Acceptable Loss" is the loss ratio of the goal that "Result" reports: the NDR, or
    the case's first goal if it has no NDR. "Validation run time" is the time really
    spent sending at the reported load, over all trials there that met the goal; with
    several repeats, that of the shortest. "Result" is the total over all directions. Of a
    measurement that is no search, they are its first figure and the time of all its trials.
    """
    versions = case.facts.versions
    values = (
        case.traffic_generator,
        _acceptable_loss(case),
        _validation_time(case),
        versions.get("host dpdk", _absent(case, "host")),
        versions.get("guest dpdk", _absent(case, "guest")),
        versions.get("patches", "none stated"),
        versions.get("qemu", _absent(case, "guest")),
        case.facts.virtio_features,
        f"{host.cpu_model}, {_frequency(host)}",
        case.facts.nic,
        _result(case),
    )
    return dict(zip(LINES, values, strict=True))


def text(lines: Mapping[str, str]) -> str:
    """The template as the guide prints it, one `name: value` per line."""
    return "".join(f"{name}: {value}".rstrip() + "\n" for name, value in lines.items())


def _absent(case: Case, where: str) -> str:
    if case.nodes and not any(node.where == where for node in case.nodes):
        return f"not used (no {where} in this topology)"
    return "not known"


def _acceptable_loss(case: Case) -> str:
    goals = sorted(case.goals, key=lambda goal: goal.name != "NDR")
    return f"{units.plain(100 * goals[0].loss_ratio)}%" if goals else "not known"


def _validation_time(case: Case) -> str:
    if measured := outcomes(case):
        return f"{units.plain(sum(t.duration_s for t in measured[-1].trials) / 60, 3)}min"
    best = headline(case)
    if best is None or best.value_pps is None:
        return "0min"
    spent = []
    for measurement in case.measurements:
        found = finding([measurement], best.goal.name)
        if found is not None and found.value_pps is not None:
            spent.append(sum(t.duration_s for t in trials_at(measurement, found.result)))
    return f"{units.plain(min(spent) / 60, 3)}min"


def _frequency(host: HostFacts) -> str:
    return f"{host.cpu_mhz / 1000:.2f} GHz" if host.cpu_mhz else "frequency not known"


def _result(case: Case) -> str:
    best, measured = headline(case), outcomes(case)
    if measured and (outcome := measured[-1].outcome):
        first = outcome.figures[0]
        number = f"{first.name} {units.quantity(first.value, first.unit)}"
    elif best is not None and best.value_pps is not None:
        number = f"{units.plain(best.value_pps / 1e6, 4)} Mpps"
    elif best is not None:
        number = f"no {best.goal.name} found: every load that was tried lost too many frames"
    elif case.verdict == "error":
        number = "none: the measurement ended with an error"
    else:
        number = "none: the search did not end"
    if case.simulated:
        return f"{number} (simulated)"
    return f"{number} (not representative: see remarks)" if case.facts.remarks else number
