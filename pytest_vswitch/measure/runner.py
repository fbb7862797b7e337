"""Runs one trial after the other: sends, watches the DUT, reads and checks its books."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_vswitch.errors import HostError
from pytest_vswitch.measure import books, culprit
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.topologies.topology import Topology
from pytest_vswitch.traffic.generator import DirectionCounts, Generator, Offer
from pytest_vswitch.traffic.profile import PLAIN, Profile

POLL_S = 0.2
"""How often the health of the DUT's programs is looked at during a trial [s]."""


@dataclass(frozen=True, slots=True)
class Focus:
    """What the search knows before a trial, for the reader of a progress line."""

    phase: str
    """E.g. `NDR`: the goal whose interval is the widest still."""
    lower_pps: float | None = None
    upper_pps: float | None = None
    left_s: float | None = None
    """Rough estimate of the trial time left, this trial included [s]."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Enough for one line about where a measurement stands; told at least once a trial."""

    focus: Focus
    number: int
    """Of the trial; counts from 1."""
    intended_pps: float
    duration_s: float
    elapsed_s: float
    """Since the trial's start [s]."""
    loss_ratio: float | None
    """Of this trial, 0 to 1; None while it runs."""


class TrialRunner:
    """Runs the trials of one case on a wired DUT.

    Between its trials nobody else may send frames: the counters at the end of one trial
    are those at the beginning of the next.
    """

    def __init__(
        self,
        topology: Topology,
        generator: Generator,
        frame_bytes: int,
        *,
        profile: Profile = PLAIN,
        record: Callable[[Trial], None],
        progress: Callable[[Progress], None],
        may_go_on: Callable[[], None] = lambda: None,
        margin_s: float = 30.0,
        settle_s: float = 10.0,
    ) -> None:
        """`record` must have the trial on disk when it returns; `may_go_on` raises if not.

        `margin_s` is how much longer than its duration a trial may take, `settle_s` how
        long its last frames may be in flight after the generator has seen its end.
        """
        self.topology = topology
        self.generator = generator
        self.frame_bytes = frame_bytes
        self.profile = profile
        self._record = record
        self._progress = progress
        self._may_go_on = may_go_on
        self._margin_s = margin_s
        self._settle_s = settle_s
        self._counters: object | None = None
        self._trials: list[Trial] = []

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials so far, in order."""
        return tuple(self._trials)

    def run(self, rate_pps: float, duration_s: float, focus: Focus | None = None) -> Trial:
        """One trial (RFC 2544 section 26.1): `rate_pps` in total, for `duration_s`.

        Raises DutError when a program of the topology ends, HostError when the generator
        does, BooksError when the counters do not reconcile. The generator is stopped then.
        """
        self._may_go_on()
        focus = focus or Focus("trial")
        number = len(self._trials) + 1
        before, self._counters = self._counters, None
        if before is None:
            before = self._snapshot()
        began = time.monotonic()

        def tell(loss_ratio: float | None) -> None:
            elapsed_s = time.monotonic() - began
            self._progress(Progress(focus, number, rate_pps, duration_s, elapsed_s, loss_ratio))

        try:
            self.generator.start(Offer(rate_pps, duration_s, self.frame_bytes, self.profile))
            counts = self._wait_for_end(began + duration_s + self._margin_s, tell)
            counts, after, paths = self._settled(before, counts)
        except BaseException:
            self.generator.abort()
            raise
        elapsed_s = duration_s if self.generator.simulated else time.monotonic() - began
        trial = Trial(
            number=number,
            frame_bytes=self.frame_bytes,
            intended_pps=rate_pps,
            duration_s=duration_s,
            overhead_s=max(0.0, elapsed_s - duration_s),
            directions=tuple(counts),
            paths=paths,
        )
        self._record(trial)
        self._trials.append(trial)
        self._counters = after
        tell(trial.loss_ratio)
        return trial

    def _wait_for_end(
        self, deadline: float, tell: Callable[[float | None], None]
    ) -> Sequence[DirectionCounts]:
        """The counts, once the generator has seen the end; the DUT is watched meanwhile."""
        while True:
            tell(None)
            with culprit.named(self.topology):
                counts = self.generator.poll(POLL_S)
            self.topology.check_alive()
            if counts is not None:
                return counts
            if time.monotonic() > deadline:
                raise HostError(
                    f"{self.generator.description} did not end its trial within "
                    f"{self._margin_s:g} s after its time; it was still running"
                )

    def _settled(
        self, before: object, counts: Sequence[DirectionCounts]
    ) -> tuple[Sequence[DirectionCounts], object, tuple[books.Path, ...]]:
        """Counts, counters and paths, once no frame is in flight and the books balance."""
        deadline = time.monotonic() + self._settle_s
        while True:
            last = time.monotonic() > deadline  # reading counters may take longer than that
            after = self._snapshot()
            paths = tuple(self._path(direction, before, after) for direction in counts)
            if books.balanced(paths):
                return counts, after, paths
            if last:
                self.topology.check_alive()
                books.check(paths)
            time.sleep(0.02)  # the condition: the books balance
            with culprit.named(self.topology):
                counts = self.generator.recount()

    def _snapshot(self) -> object:
        with culprit.named(self.topology):
            return self.topology.snapshot()

    def _path(self, counts: DirectionCounts, before: object, after: object) -> books.Path:
        inner = self.topology.path(counts.tx_port, before, after)
        ports = self.topology.ports
        return books.full_path(
            counts, inner, ports[counts.tx_port].name, ports[counts.rx_port].name
        )
