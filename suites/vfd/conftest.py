"""The PF, its VFs, and how a check of one function ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_vswitch.apps.vf_control import NotSupported
from pytest_vswitch.measure.vf_bench import Bench, Shows
from pytest_vswitch.results.certification import Wired
from pytest_vswitch.topologies.vfd import Vfd


@pytest.fixture
def shows(request: pytest.FixtureRequest, vfd: Wired) -> Shows:
    """Carries out a check. Skipped, with testpmd's words, what NIC or driver do not have."""
    if not isinstance(vfd.topology, Vfd):
        pytest.skip("a simulation has no virtual functions")
    bench = Bench(vfd.topology, vfd.generator)
    wanted = getattr(request.module, "DRIVER", None)
    if wanted not in (None, bench.topology.driver):
        pytest.skip(f"for {wanted}: this port has {bench.topology.driver}")

    def carry_out(check: Callable[[Bench], None]) -> None:
        try:
            check(bench)
        except NotSupported as refusal:
            pytest.skip(str(refusal))

    return carry_out
