"""The PF, its VFs, and how a check of one function ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_vswitch.apps.vf_control import NotSupported
from pytest_vswitch.measure.vf_bench import EMULATED_WAIT_S, Bench, Shows
from pytest_vswitch.measure.vf_kernel import known_lacks
from pytest_vswitch.results.certification import Wired
from pytest_vswitch.topologies.vfd import Vfd


@pytest.fixture
def shows(request: pytest.FixtureRequest, vfd: Wired) -> Shows:
    """Carries out a check. Skipped, with its words, what NIC or driver do not have."""
    if not isinstance(vfd.topology, Vfd):
        pytest.skip("a simulation has no virtual functions")
    topology = vfd.topology
    wanted = getattr(request.module, "ROAD", "dpdk")
    if wanted != topology.road:
        has = {"dpdk": "a testpmd", "kernel": "its kernel's driver"}
        pytest.skip(f"for a PF with {has[wanted]}: this one has {has[topology.road]}")
    driver = getattr(request.module, "DRIVER", None)
    if driver not in (None, topology.driver):
        pytest.skip(f"for {driver}: this port has {topology.driver}")
    bench = Bench(topology, vfd.generator, lacks=known_lacks(topology))
    if topology.emulated:
        bench.wait_s = EMULATED_WAIT_S

    def carry_out(check: Callable[[Bench], None]) -> None:
        try:
            check(bench)
        except NotSupported as refusal:
            pytest.skip(str(refusal))

    return carry_out
