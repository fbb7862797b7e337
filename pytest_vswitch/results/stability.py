"""Whether the repeated searches of a case agree, and what speaks for their not doing so."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from statistics import median

from pytest_vswitch.results import units
from pytest_vswitch.results.findings import headline
from pytest_vswitch.results.record import Case

TOLERANCE = 0.10
"""How far a search may lie from the one before it, as part of the median of all."""


def spread(case: Case) -> float | None:
    """Median difference of a search of the headline's goal from the one before it.

    As part of the median of all; None without two searches that found a value.
    """
    head = headline(case)
    if head is None or not head.value_pps:
        return None
    values = [
        result.lower_pps
        for measurement in case.measurements
        for result in measurement.results
        if result.goal.name == head.goal.name and result.lower_pps is not None
    ]
    if len(values) < 2:
        return None
    return median(abs(one - other) for one, other in pairwise(values)) / head.value_pps


def unstable(case: Case) -> str:
    """A sentence when repeated searches differ too much, with what the evidence says; or ``."""
    apart = spread(case)
    head = headline(case)
    if apart is None or apart <= TOLERANCE or head is None:
        return ""
    ended = sum(bool(measurement.results) for measurement in case.measurements)
    text = (
        f"{ended} searches found {head.goal.name}s that lie "
        f"{units.percent(apart)} apart (median; up to {units.percent(TOLERANCE)} is taken for "
        "the same)"
    )
    return "; ".join(filter(None, (text, _early_losses(case), _contention(case))))


def _early_losses(case: Case) -> str:
    """Where frames were lost at loads that the median search found harmless."""
    head = headline(case)
    assert head is not None
    lost: Counter[str] = Counter()
    trials = 0
    for measurement in case.measurements:
        for trial in measurement.trials:
            if trial.intended_pps > (head.value_pps or 0) or trial.loss_ratio <= (
                head.goal.loss_ratio
            ):
                continue
            trials += 1
            for path in trial.paths:
                lost.update({hop.name: hop.lost for hop in path if hop.lost > 0})
    if not lost:
        return ""
    name, count = lost.most_common(1)[0]
    return (
        f"{trials} trials at lower loads lost frames all the same, most of them at {name} "
        f"({units.frames(count)} of {units.frames(lost.total())})"
    )


def _contention(case: Case) -> str:
    known = [m.contention for m in case.measurements if m.contention is not None]
    if not known:
        return ""
    stolen, waiting = max(c.stolen for c in known), max(c.waiting for c in known)
    return (
        f"meanwhile programs waited for a CPU of the DUT up to {units.percent(waiting)} of the "
        f"time, and up to {units.percent(stolen)} of its CPU time went to other machines"
    )
