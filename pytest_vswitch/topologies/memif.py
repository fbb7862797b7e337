"""memif: physical port - vSwitch - a second testpmd behind two memif links - physical port.

See `docs/memif_suite.md`, and DPDK's "Memif Poll Mode Driver".
"""

from __future__ import annotations

from typing import Final

from pytest_vswitch.topologies.chain import ChainWiring
from pytest_vswitch.topologies.vswitches import MEMIF

CHAIN: Final = ChainWiring("memif", ("memif-peer",), link=MEMIF)

AXES = CHAIN.axes
preflight = CHAIN.preflight
provision = CHAIN.provision
