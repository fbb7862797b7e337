"""What the tests of single options start, and frame sizes that a tagged frame can have."""

from __future__ import annotations

import pytest

from pytest_vswitch import registry
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.measure.vhost_switch_bench import Bench
from pytest_vswitch.results.run import Run
from pytest_vswitch.topologies import vhost_switch

SHORTEST_BYTES = 68
"""Of a frame with a VLAN tag that has room for the generator's stamp."""


@pytest.fixture
def frame_bytes(frame_bytes: int) -> int:
    """Each frame size of `--frame-size`, FCS and VLAN tag included; at least 68."""
    return max(frame_bytes, SHORTEST_BYTES)


@pytest.fixture
def bench(vswitch_run: Run, lab: Lab) -> Bench:
    """The DUT, with no topology on it that would take its NIC."""
    if lab.dut.host == "sim":
        pytest.skip("a simulation has no NIC, which dpdk-vhost wants")
    vswitch_run.unwire()
    vhost_switch.preflight(lab, vswitch_run.host)
    attach = registry.generator(lab.generator.kind)
    return Bench(lab, vswitch_run.host, vswitch_run.generator_host, attach)
