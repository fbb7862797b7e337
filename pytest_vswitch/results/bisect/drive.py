"""A bisect from its question to its verdict: build, measure, note, decide, again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.results.bisect import history as git
from pytest_vswitch.results.bisect.history import History
from pytest_vswitch.results.bisect.hooks import Build, Failed, Measurement
from pytest_vswitch.results.bisect.search import GOOD, Next, Rules, Verdict, decide
from pytest_vswitch.results.bisect.state import Measured, Skipped, State


@dataclass(frozen=True, slots=True)
class Bisect:
    """One question and the means to answer it."""

    host: Host
    """Where revisions are built, and pytest runs: this machine."""
    history: History
    state: State
    build: Build | None
    """None: the lab builds, or the measuring command does."""
    measurement: Measurement
    rules: Rules
    tell: Callable[[str], None] = print

    def run(self) -> Verdict:
        """Go on until the verdict.

        Raises HostError when an end cannot be measured (any more), InputError when nothing can.
        """
        if self.build:
            git.copy(self.host, self.history.repository, self.state.source)
        while True:
            step = decide(self.history.contains, self.measured, self.skipped, self.rules)
            if isinstance(step, Verdict):
                return step
            self._measure(step)

    @property
    def measured(self) -> list[tuple[int | None, float]]:
        """As `decide` takes it."""
        number = self._numbers()
        return [
            (number[event.revision], event.value)
            for event in self.state.events
            if isinstance(event, Measured)
        ]

    @property
    def skipped(self) -> list[int]:
        number = self._numbers()
        found = [
            number[event.revision] for event in self.state.events if isinstance(event, Skipped)
        ]
        return [at for at in found if at is not None]

    def _numbers(self) -> dict[str, int | None]:
        numbers: dict[str, int | None] = {
            revision.hash: n for n, revision in enumerate(self.history.revisions)
        }
        return {**numbers, self.history.good.hash: GOOD}

    def _measure(self, step: Next) -> None:
        revision = self.history.revision(step.revision)
        is_end = step.revision is GOOD or step.revision == len(self.history.revisions) - 1
        prefix = None
        try:
            try:
                if self.build:
                    self.tell(f"build   {revision}")
                    prefix = self.build(self.host, self.state, revision)
            except Failed as why:
                if is_end:
                    raise
                self._skip(step, str(why))
                return
            try:
                value = self.measurement(self.host, revision, prefix)
            except Failed as why:
                if is_end:
                    raise
                # Is it this revision, or has the lab broken down?
                self.tell(f"        {revision} {why}; does the good end still work?")
                self._measure(Next(GOOD))
                self._skip(step, str(why))
                return
        except Failed as why:
            which = "good" if step.revision is GOOD else "bad"
            raise HostError(
                f"the {which} end, {revision}, {why}\n"
                f"nothing is known without it; when that is mended, the same command goes on "
                f"(transcript: {self.state.directory / 'transcript.log'})"
            ) from None
        self.state.append(Measured(revision.hash, value))
        self.tell(f"{len(self.measured):4d}  {value:14.8g}  {revision}")

    def _skip(self, step: Next, why: str) -> None:
        revision = self.history.revision(step.revision)
        self.state.append(Skipped(revision.hash, why))
        self.tell(f"skip    {revision} {why}")
