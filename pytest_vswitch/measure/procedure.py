"""What surrounds the trials of a measurement (RFC 2544 section 23): warm-up and pauses."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pytest_vswitch.measure.runner import Focus
from pytest_vswitch.measure.throughput import SHORTFALL, line_rate_pps
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.topologies.topology import Topology
from pytest_vswitch.traffic.generator import Generator
from pytest_vswitch.traffic.profile import Profile


@dataclass(frozen=True, slots=True)
class Rules:
    """How trials are made; the defaults are RFC 2544's, but for the trials' duration."""

    trial_s: float = 10.0
    """Duration of a trial [s]; RFC 2544 section 24 wants 60 s for a published number."""
    warm_up_s: float = 2.0
    """Frames before the first trial, which do not count [s]: a DUT learns addresses and
    flows from them, and an emulator translates its code."""
    warm_up_pps: float = 1000.0
    """Their load, little enough for any DUT [frames/s, all directions]."""
    pause_s: float = 5.0
    """Rest after a trial, for the DUT to restabilize (RFC 2544 section 23) [s]."""
    repeats: int = 10
    """So many observations of each quantity, where one may differ from the next."""
    overload_s: float = 60.0
    """How long a DUT is overloaded that is to recover from it (RFC 2544 section 26.5) [s]."""


QUICK = Rules(trial_s=1.0, warm_up_s=0.5, pause_s=0.1, repeats=3, overload_s=3.0)
"""A look: `--quick`."""


class Trials(Protocol):
    """What a measurement asks of a `TrialRunner`."""

    @property
    def topology(self) -> Topology: ...

    @property
    def generator(self) -> Generator: ...

    @property
    def frame_bytes(self) -> int: ...

    @property
    def profile(self) -> Profile: ...

    def run(self, rate_pps: float, duration_s: float, focus: Focus | None = None) -> Trial: ...


@runtime_checkable
class Resting(Protocol):
    """A generator whose time is virtual: it lets a pause pass by itself."""

    def rest(self, duration_s: float) -> None: ...


def pause_for(generator: Generator) -> Callable[[float], None]:
    """How to let time pass without frames [s]."""
    return generator.rest if isinstance(generator, Resting) else time.sleep


class Bench:
    """Trials with what must be around them."""

    def __init__(self, runner: Trials, rules: Rules) -> None:
        self.runner = runner
        self.rules = rules
        mean_bytes = runner.profile.mean_bytes(runner.frame_bytes)
        self.line_rate_pps = line_rate_pps(runner.topology.ports, mean_bytes)
        """Of all directions [frames/s]."""
        self._pause = pause_for(runner.generator)
        self._warm = False

    @property
    def procedure(self) -> Mapping[str, str]:
        """For a reader."""
        rules = self.rules
        return {
            "trials": f"{rules.trial_s:g} s each",
            "warm-up": f"{rules.warm_up_s:g} s at {rules.warm_up_pps:g} frames/s",
            "pause after a trial": f"{rules.pause_s:g} s",
        }

    def run(
        self,
        rate_pps: float,
        duration_s: float | None = None,
        *,
        phase: str,
        pauses: bool = True,
    ) -> Trial:
        """One trial of `rules.trial_s`, or of `duration_s`, and a pause after it.

        Raises what `TrialRunner.run` raises.
        """
        self.warm_up(phase)
        trial = self.runner.run(rate_pps, duration_s or self.rules.trial_s, Focus(phase))
        if pauses:
            self.rest()
        return trial

    def warm_up(self, phase: str) -> None:
        """Send the frames that do not count, unless they have been."""
        if not self._warm and self.rules.warm_up_s:
            self._warm = True
            self.runner.run(
                self.rules.warm_up_pps, self.rules.warm_up_s, Focus(f"{phase}: warm-up")
            )
            self.rest()

    def rest(self, duration_s: float | None = None) -> None:
        """Let the DUT restabilize, for as long as the rules say, or for `duration_s`."""
        self._pause(self.rules.pause_s if duration_s is None else duration_s)

    def highest_pps(self, phase: str) -> tuple[float, tuple[str, ...]]:
        """The line rate, or what the generator offers of it; and that as a doubt, if so."""
        trial = self.run(self.line_rate_pps, phase=phase)
        if kept_up(trial):
            return self.line_rate_pps, ()
        return trial.offered_pps, (
            f"the generator offered {trial.offered_pps:,.0f} frames/s of a line rate of "
            f"{self.line_rate_pps:,.0f}: loads are parts of what it offered",
        )


def kept_up(trial: Trial) -> bool:
    """Whether the generator sent what it was asked for."""
    return trial.sent >= trial.intended * (1 - SHORTFALL)
