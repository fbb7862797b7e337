"""The fixtures of a suite: lab, topologies by name, measure, threshold, frame_bytes."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_vswitch.measuring import Measure
from pytest_vswitch.results.certification import Certification, Wired
from pytest_vswitch.results.run import Run
from pytest_vswitch.versions import Round

if TYPE_CHECKING:
    from pytest_vswitch.certifying import Certifying
    from pytest_vswitch.lab.schema import Lab


__all__ = ["Measure", "Threshold", "plugin"]


class Threshold:
    """Holds a case against the lab's thresholds."""

    def check(self, case: Certification) -> None:
        """Fail the test, with a sentence for each threshold of the lab that `case` misses."""
        __tracebackhide__ = True
        if missed := case.check():
            pytest.fail("\n".join(missed), pytrace=False)


def plugin(certifying: Certifying, topologies: Iterable[str]) -> ModuleType:
    """A pytest plugin that holds the fixtures of one session, one for each topology too."""
    known: dict[str, float] = {}

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
        earlier = certifying.earlier_trials("soak")

        def begin(wired: Wired, parameters: dict[str, Any]) -> Certification:
            cases.append(certifying.begin_case(vswitch_run, wired, parameters))
            return cases[-1]

        yield Measure(
            begin, run=vswitch_run, known=known, earlier=earlier, profile=certifying.profile
        )
        certifying.end_cases(vswitch_run, request.node, cases)

    @pytest.fixture
    def vswitch_round(request: pytest.FixtureRequest) -> Round:
        """The versions of `--dpdk`, `--guest-dpdk` and `--qemu` that this test is about."""
        chosen: Round = getattr(request, "param", certifying.rounds[0])
        return chosen

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
        {name: _topology(name, certifying.lab) for name in topologies},
        wired=_chosen(certifying.topology),
        lab=lab,
        vswitch_run=vswitch_run,
        vswitch_round=vswitch_round,
        measure=measure,
        threshold=threshold,
        frame_bytes=frame_bytes,
    )
    return module


def _topology(name: str, lab: Lab) -> object:
    def wired(vswitch_run: Run, vswitch_round: Round) -> Wired:
        chosen = vswitch_round.applied(lab)
        return vswitch_run.wired(name, chosen, vswitch_round.versions, vswitch_round.number)

    wired.__doc__ = f"The topology `{name}`, wired and forwarding, with a generator attached."
    return pytest.fixture(name=name)(wired)


def _chosen(name: str) -> object:
    def wired(**topology: Wired) -> Wired:
        return topology[name]

    wired.__doc__ = f"The topology of `--topology`, wired and forwarding: `{name}`."
    # By its signature pytest knows which topology a test uses: it looks what that lacks first.
    wanted = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY)
    wired.__dict__["__signature__"] = inspect.Signature([wanted])
    return pytest.fixture(name="wired")(wired)
