"""What the user reads when a memif server refuses, misbehaves or is not there."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_vswitch.errors import DutError
from pytest_vswitch.traffic.memif.protocol import Control, RingOffer
from tests.traffic.conftest import Connect, Loop
from tests.traffic.memif_server import (
    ACK,
    ADD_REGION,
    ADD_RING,
    CONNECT,
    CONNECTED,
    DISCONNECT,
    INIT,
    Refuser,
    disconnect,
    hello,
    message,
)


def connect_to(path: Path, *, timeout_s: float = 30.0, secret: str = "") -> Control:
    control = Control(str(path), interface_id=5, secret=secret)
    fd = os.eventfd(0)
    try:
        rings = [RingOffer(True, 0, 10, fd), RingOffer(False, 32768, 10, fd)]
        control.connect(fd, 1 << 20, rings, timeout_s=timeout_s)
    finally:
        os.close(fd)
    return control


def answered(path: Path, script: Sequence[bytes], secret: str = "") -> tuple[Control, list[bytes]]:
    server = Refuser(path, script)
    server.start()
    try:
        control = connect_to(path, secret=secret)
        control.close()
    finally:
        server.join(30)
    return control, server.received


def test_messages_as_in_the_header_file(sockets: list[Path]) -> None:
    """What is sent, byte by byte as DPDK's memif.h lays it out."""
    script = [hello(), *[message(ACK)] * 4, message(CONNECTED)]
    control, received = answered(sockets[0], script, secret="s3cret")
    assert control.peer == "errs on purpose"
    assert {len(data) for data in received} == {128}
    kinds = [struct.unpack_from("<H", data)[0] for data in received]
    assert kinds == [INIT, ADD_REGION, ADD_RING, ADD_RING, CONNECT, DISCONNECT]
    init, region, to_server, from_server = received[:4]
    assert init[2:4] == b"\x00\x02"
    assert init[4:8] == b"\x05\x00\x00\x00"
    assert init[8] == 0
    assert init[9:33] == b"s3cret".ljust(24, b"\0")
    assert region[2:12] == bytes([0, 0]) + (1 << 20).to_bytes(8, "little")
    assert to_server[2:15] == bytes([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0])
    assert from_server[2:15] == bytes([0, 0, 0, 0, 0, 0, 0x00, 0x80, 0, 0, 10, 0, 0])


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ([disconnect("go away")], "refused interface id 5 on connecting: go away (code 7)"),
        ([hello(), disconnect("Invalid interface ID")], "after INIT: Invalid interface ID"),
        ([hello(), disconnect("Incorrect secret")], "Incorrect secret (code 7); its id and secret"),
        ([hello(0x300, 0x301)], "speaks memif 3.0 to 3.1, this generator 2.0"),
        ([hello(0x100, 0x1FF)], "speaks memif 1.0 to 1.255"),
        ([hello(log2_size=8)], "takes rings of up to 256 frames, not 1024"),
        ([message(ACK)], "answered ACK of 128 bytes on connecting, HELLO of 128 bytes was due"),
        ([b"\x02"], "answered HELLO of 1 bytes"),
        ([b"\x02\x00shrunk"], "answered HELLO of 8 bytes"),
        ([hello(), message(77)], "answered message type 77 of 128 bytes after INIT"),
        ([hello(), message(ACK), disconnect("")], "after ADD_REGION: no reason given"),
        ([hello(), message(ACK)], "closed the connection after ADD_REGION"),
        ([hello(), *[message(ACK)] * 4], "closed the connection after CONNECT"),
        ([hello(), *[message(ACK)] * 5], "answered ACK of 128 bytes after CONNECT, CONNECTED"),
    ],
)
def test_refused(sockets: list[Path], script: list[bytes], complaint: str) -> None:
    with pytest.raises(DutError, match=re.escape(complaint)) as error:
        answered(sockets[0], script)
    assert str(sockets[0]) in str(error.value)


def test_no_server(sockets: list[Path]) -> None:
    with pytest.raises(DutError, match=r"memif0: no server answers there \(No such file"):
        connect_to(sockets[0])


def test_silent_server(sockets: list[Path]) -> None:
    server = Refuser(sockets[0], [hello(), b""])
    server.start()
    with pytest.raises(DutError, match="said nothing after INIT, ACK was due"):
        connect_to(sockets[0], timeout_s=0.2)
    server.join(30)


def test_secret_too_long(sockets: list[Path]) -> None:
    with pytest.raises(DutError, match="at most 24 bytes"):
        Control(str(sockets[0]), secret="x" * 25)


def test_server_says_good_bye(sockets: list[Path]) -> None:
    script = [hello(), *[message(ACK)] * 4, message(CONNECTED)]
    server = Refuser(sockets[0], script)
    server.start()
    control = connect_to(sockets[0])
    assert control.lost() == ""
    control.close()
    server.join(30)


def test_generator_without_a_server(connect: Connect) -> None:
    with pytest.raises(DutError, match="no server answers there"), connect():
        pass


def test_real_server_refuses_id(testpmd: Loop, sockets: list[Path]) -> None:
    """DPDK's own words for an interface id that it does not have."""
    refusal = "refused interface id 5 after INIT"
    with testpmd("io"), pytest.raises(DutError, match=refusal):
        connect_to(sockets[0])
