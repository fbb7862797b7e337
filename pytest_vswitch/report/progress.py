"""One line about where a measurement stands."""

from __future__ import annotations

from pytest_vswitch.measure.runner import Progress
from pytest_vswitch.results import units


def line(case: str, progress: Progress) -> str:
    """Case, phase, trial, load, loss; of a search, the interval so far and the time left."""
    focus = progress.focus
    loss = f"trial {progress.elapsed_s:.0f}/{progress.duration_s:g} s"
    if progress.loss_ratio is not None:
        loss = (
            "no loss" if progress.loss_ratio == 0 else f"loss {units.percent(progress.loss_ratio)}"
        )
    parts = [case, focus.phase, f"trial {progress.number}", units.rate(progress.intended_pps), loss]
    if focus.left_s is not None:  # of a search only
        low = units.rate(focus.lower_pps) if focus.lower_pps is not None else "?"
        high = units.rate(focus.upper_pps) if focus.upper_pps is not None else "?"
        parts.append(f"interval {low} .. {high}")
        parts.append(f"about {units.duration(focus.left_s)} left")
    return "  ".join(parts)
