"""Two ports, each the other's peer: what goes into one comes out of the other."""

from __future__ import annotations

from collections.abc import Callable

from pytest_vswitch.topologies.topology import Flow, plain_flow


class Crossed:
    """As a generator sees a DUT; see `worker_generator.Way`."""

    def __init__(self, transform: Callable[[bytes], bytes] = bytes) -> None:
        """`transform` is what becomes of a frame, whichever way it goes."""
        self._transform = transform

    def transform(self, frame: bytes, port: int) -> bytes:
        del port
        return self._transform(frame)

    def peer(self, port: int) -> int:
        return 1 - port

    def flow(self, port: int) -> Flow:
        return plain_flow(port, self.peer(port))
