"""A memif server that sends on several queues: each is offered the same ring."""

from __future__ import annotations

import struct
from pathlib import Path

from pytest_vswitch.traffic.memif.port import MemifPort
from tests.traffic.memif_server import ACK, ADD_RING, CONNECTED, Refuser, hello, message


def test_every_queue_of_the_server_gets_the_one_ring_to_the_client(sockets: list[Path]) -> None:
    server = Refuser(sockets[0], [hello(), *[message(ACK)] * 6, message(CONNECTED)])
    server.start()
    port = MemifPort(str(sockets[0]), interface_id=0, secret="", ring_size=64, rings=3)
    try:
        port.connect(30)
    finally:
        port.close()
        server.join(30)
    offers = [struct.unpack_from("<HHHIBH", data, 2) for data in server.received]
    kinds = [struct.unpack_from("<H", data)[0] for data in server.received]
    rings = [offer for kind, offer in zip(kinds, offers, strict=True) if kind == ADD_RING]
    to_server = [(index, offset) for flags, index, _, offset, _, _ in rings if flags == 1]
    from_server = [(index, offset) for flags, index, _, offset, _, _ in rings if flags == 0]
    assert to_server == [(0, port.tx.offset)]
    assert from_server == [(index, port.rx.offset) for index in range(3)]
