"""Container: physical port - container - physical port, the guide's chapter 6."""

from __future__ import annotations

from typing import Final

from pytest_vswitch.topologies.chain import ChainWiring

CHAIN: Final = ChainWiring("container", ("container",))

AXES = CHAIN.axes
preflight = CHAIN.preflight
provision = CHAIN.provision
