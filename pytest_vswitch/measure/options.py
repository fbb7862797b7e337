"""What a throughput search is asked to do; cheap to import, so that options can be read early."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from pytest_vswitch.errors import InputError
from pytest_vswitch.measure.goals import Goal

Search = Literal["mlrsearch", "binary", "nfvbench"]

NDR = Goal("NDR", 0.0)
PDR = Goal("PDR", 0.005)


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How to search; the defaults are those of a certification in a lab.

    Raises InputError for values with which no search can end.
    """

    search: Search = "mlrsearch"
    trial_duration_s: float = 5.0
    """Duration of the trials that decide [s]. RFC 2544 section 24 wants 60 s for a
    published number; 5 s finds the same rate unless the DUT stalls less often than that."""
    precision: float = 0.01
    """Width of the interval that is looked for, as part of its upper end, 0 to 1."""
    goals: tuple[Goal, ...] = (NDR, PDR)
    deciding_trials: int = 3
    """So many trials decide about a load, by majority; the rest is saved once it is clear.
    Odd, so that there is always a majority. MLRsearch only: RFC 2544 tries a load once."""
    lowest_pps: float = 200.0
    """No load below this is tried [frames/s, all directions]: in a trial of 1 s it is
    just enough frames to tell a loss ratio of 0.5 % from none."""

    @property
    def heeds_hints(self) -> bool:
        """Whether it starts where the rate was before; the others are what their sources say."""
        return self.search == "mlrsearch"

    @property
    def procedure(self) -> Mapping[str, str]:
        """For a reader."""
        return {
            "search": f"{self.search}, trials of {self.trial_duration_s:g} s, "
            f"precision {100 * self.precision:g} %"
        }

    def __post_init__(self) -> None:
        if self.search not in get_args(Search):
            raise InputError(
                f"search is {self.search!r}; it must be 'mlrsearch', 'binary' or 'nfvbench'"
            )
        if not self.trial_duration_s > 0:
            raise InputError(f"trial duration is {self.trial_duration_s} s; it must be above 0")
        if not 0 < self.precision < 1:
            raise InputError(
                f"precision is {self.precision}; it must lie between 0 and 1, e.g. 0.01 for 1 %"
            )
        if self.deciding_trials < 1 or self.deciding_trials % 2 == 0:
            raise InputError(f"deciding trials are {self.deciding_trials}; it must be 1, 3, 5, ...")
        if not self.goals:
            raise InputError("no goal: give at least one loss ratio")
        for goal in self.goals:
            if not 0 <= goal.loss_ratio < 1:
                raise InputError(
                    f"loss ratio of {goal.name} is {goal.loss_ratio}; "
                    "it must be at least 0 and below 1, e.g. 0.005 for 0.5 %"
                )
        if not self.lowest_pps > 0:
            raise InputError(f"lowest load is {self.lowest_pps} frames/s; it must be above 0")


QUICK = SearchOptions(trial_duration_s=1.0, precision=0.05)
"""A look in a quarter of a minute: for a laptop, a pull request, a first run in a new lab."""
