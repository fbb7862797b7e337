"""PVVP: physical port - two virtual machines, one after the other - physical port."""

from __future__ import annotations

from typing import Final

from pytest_vswitch.topologies.chain import ChainWiring

CHAIN: Final = ChainWiring("pvvp", ("guest-testpmd", "guest-testpmd"))

AXES = CHAIN.axes
preflight = CHAIN.preflight
provision = CHAIN.provision
