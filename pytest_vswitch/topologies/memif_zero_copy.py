"""memif, with a client that shares its mbufs: nothing is copied on its side of the links.

See `docs/memif_suite.md`, and DPDK's "Memif Poll Mode Driver".
"""

from __future__ import annotations

from typing import Final

from pytest_vswitch.topologies.chain import ChainWiring
from pytest_vswitch.topologies.vswitches import MEMIF

CHAIN: Final = ChainWiring("memif_zero_copy", ("memif-peer-zero-copy",), link=MEMIF)

AXES = CHAIN.axes
preflight = CHAIN.preflight
provision = CHAIN.provision
