"""PVP: physical port - virtual machine - physical port, the guide's chapter 4.

Where a lab has no NICs, memif ports stand for them.
"""

from __future__ import annotations

from typing import Final

from pytest_vswitch.topologies.chain import ChainWiring

CHAIN: Final = ChainWiring("pvp", ("guest-testpmd",))

AXES = CHAIN.axes
preflight = CHAIN.preflight
provision = CHAIN.provision
