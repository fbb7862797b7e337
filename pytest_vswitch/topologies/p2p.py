"""P2P: physical port - vSwitch - physical port, without a guest: what the vSwitch alone costs."""

from __future__ import annotations

from typing import Final

from pytest_vswitch.topologies.chain import ChainWiring

CHAIN: Final = ChainWiring("p2p", ())

AXES = CHAIN.axes
preflight = CHAIN.preflight
provision = CHAIN.provision
