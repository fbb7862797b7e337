"""The fixtures of a suite: lab, topologies by name, measure, threshold, frame_bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_vswitch.measure import bonded, migration
from pytest_vswitch.measure.bonded import BondedMove
from pytest_vswitch.measure.functional import check_functional
from pytest_vswitch.measure.migration import Migration
from pytest_vswitch.measure.refusal import check_refusal
from pytest_vswitch.results.certification import Certification, Wired
from pytest_vswitch.results.run import Run
from pytest_vswitch.topologies.move import Move

if TYPE_CHECKING:
    from pytest_vswitch.certifying import Certifying
    from pytest_vswitch.lab.schema import Lab


class Measure:
    """What a test asks of a wired topology."""

    def __init__(self, begin: Callable[[Wired, dict[str, Any]], Certification]) -> None:
        self._begin = begin

    def functional(self, wired: Wired, *, frame_bytes: int) -> None:
        """Raise FunctionalError unless the DUT returns exact frames exactly."""
        check_functional(wired.topology, wired.generator, frame_bytes)

    def refusal(
        self, wired: Wired, *, frame_bytes: int, ttl: int = 64, dst_mac: str | None = None
    ) -> None:
        """Raise FunctionalError if the DUT forwards frames of that kind, or no others."""
        check_refusal(wired.topology, wired.generator, frame_bytes, ttl=ttl, dst_mac=dst_mac)

    def throughput(self, wired: Wired, *, frame_bytes: int, **parameters: str) -> Certification:
        """NDR and PDR (RFC 2544 section 26.1) of one case, which `parameters` tell apart."""
        case = self._begin(wired, {"frame_bytes": frame_bytes, **parameters})
        case.throughput()
        return case

    def migration(self, wired: Wired, *, frame_bytes: int) -> tuple[Certification, Migration]:
        """Move the guest under traffic; raise MigrationError if it stays where it was."""
        case = self._begin(wired, {"frame_bytes": frame_bytes, "event": "migration"})
        found = case.event(
            "migration",
            lambda: migration.under_traffic(
                wired.topology, wired.generator, frame_bytes=frame_bytes
            ),
        )
        return case, found

    def failing_migration(self, wired: Wired, move: Move, why: str, *, frame_bytes: int) -> str:
        """Move the guest in vain, under traffic: what it failed for.

        `why` names the case. Raises FunctionalError when the source loses frames afterwards.
        """
        case = self._begin(wired, {"frame_bytes": frame_bytes, "event": why})
        return case.event(
            "failing migration",
            lambda: migration.failing(
                wired.topology, wired.generator, move, frame_bytes=frame_bytes
            ),
        )

    def bonded_migration(
        self, wired: Wired, *, frame_bytes: int
    ) -> tuple[Certification, BondedMove]:
        """Take the VF out, move the guest, put a VF in again, all under traffic."""
        case = self._begin(wired, {"frame_bytes": frame_bytes, "event": "migration"})
        found = case.event(
            "migration",
            lambda: bonded.under_traffic(wired.topology, wired.generator, frame_bytes=frame_bytes),
        )
        return case, found


class Threshold:
    """Holds a case against the lab's thresholds."""

    def check(self, case: Certification) -> None:
        """Fail the test, with a sentence for each threshold of the lab that `case` misses."""
        __tracebackhide__ = True
        if missed := case.check():
            pytest.fail("\n".join(missed), pytrace=False)


def plugin(certifying: Certifying, topologies: Iterable[str]) -> ModuleType:
    """A pytest plugin that holds the fixtures of one session, one for each topology too."""

    @pytest.fixture(scope="session")
    def lab() -> Lab:
        """The lab file of `--dut`, checked, with every default filled in."""
        return certifying.lab

    @pytest.fixture(scope="session")
    def vswitch_run() -> Iterator[Run]:
        """This session's run: host, directory and journal. Its end undoes every change."""
        with certifying.open_run() as run:
            yield run

    @pytest.fixture
    def measure(request: pytest.FixtureRequest, vswitch_run: Run) -> Iterator[Measure]:
        """Measures on a topology's fixture; each case ends with the test."""
        cases: list[Certification] = []

        def begin(wired: Wired, parameters: dict[str, Any]) -> Certification:
            cases.append(certifying.begin_case(vswitch_run, wired, parameters))
            return cases[-1]

        yield Measure(begin)
        certifying.end_cases(vswitch_run, request.node, cases)

    @pytest.fixture
    def threshold() -> Threshold:
        """Holds a case against the lab's thresholds."""
        return Threshold()

    @pytest.fixture(params=certifying.frame_sizes, ids="{}B".format)
    def frame_bytes(request: pytest.FixtureRequest) -> int:
        """Each frame size of `--frame-size`, FCS included. A test may set its own sizes."""
        size: int = request.param
        return size

    # Pytest takes fixtures of a session's scope from modules only.
    module = ModuleType("pytest_vswitch_fixtures")
    module.__dict__.update(
        {name: _topology(name) for name in topologies},
        lab=lab,
        vswitch_run=vswitch_run,
        measure=measure,
        threshold=threshold,
        frame_bytes=frame_bytes,
    )
    return module


def _topology(name: str) -> object:
    def wired(vswitch_run: Run) -> Wired:
        return vswitch_run.wired(name)

    wired.__doc__ = f"The topology `{name}`, wired and forwarding, with a generator attached."
    return pytest.fixture(name=name)(wired)
