"""The DUT, wired for flow bifurcation; each test puts its own filters in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_vswitch import registry
from pytest_vswitch.errors import NotHere
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.measure.bifurcation import Bench, Setup
from pytest_vswitch.results.run import Run
from pytest_vswitch.topologies import flow_bifurcation as topology


@pytest.fixture(scope="module")
def flow_bifurcation(vswitch_run: Run, lab: Lab) -> Iterator[Setup]:
    """A PF of the kernel, two VFs with testpmd, and no filter yet."""
    if lab.dut.host == "sim":
        pytest.skip("a simulation has no NIC with filters")
    vswitch_run.unwire()
    try:
        topology.preflight(lab, vswitch_run.host)
    except NotHere as reason:
        pytest.skip(str(reason))
    attach = registry.generator(lab.generator.kind)
    with Bench(lab, vswitch_run.host, vswitch_run.generator_host, attach).started() as setup:
        yield setup


@pytest.fixture
def split(request: pytest.FixtureRequest, flow_bifurcation: Setup) -> Setup:
    """Skipped, with the reason, where the port's driver is not that of the test's module."""
    wanted, there = request.module.DRIVER, flow_bifurcation.topology.driver.name
    if there != wanted:
        pytest.skip(f"for {wanted}: this port's driver is {there}")
    return flow_bifurcation
