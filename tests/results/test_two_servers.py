"""A lab with a second DUT: who is given it, and who is not."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

from pytest_vswitch.results.run import Run


def provided(target: object, *names: str) -> list[object]:
    """What a wiring with these methods is given by a run on `dut`."""
    given: list[object] = []

    def provision(lab: object, *hosts: object) -> contextlib.AbstractContextManager[None]:
        given.extend(hosts)
        return contextlib.nullcontext()

    run: Any = object.__new__(Run)
    run.host, run._target_host = "dut", target
    wiring: Any = SimpleNamespace(**dict.fromkeys(names, provision))
    with run._provided(wiring, None):
        pass
    return given


def test_a_topology_that_spans_two_gets_both() -> None:
    both = ("provision", "provision_between")
    assert provided("target", *both) == ["dut", "target"]
    assert provided(None, *both) == ["dut"]


def test_any_other_gets_the_first() -> None:
    assert provided("target", "provision") == ["dut"]
