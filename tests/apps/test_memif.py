"""The memif driver: its options, and what it said (captured from DPDK 22.11.11)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_vswitch.apps import memif
from pytest_vswitch.apps.memif import Options

CONNECTED = """\
memif_connect_client(): Memif socket: /run/x/memif-link connected.
Port 0: 4A:43:49:5C:06:F2
Checking link statuses...
memif_msg_receive(): Received msg type: 2.
memif_msg_receive_hello(): Connecting to DPDK 22.11.11.
memif_msg_send_from_queue(): Sent msg type 3.
memif_msg_receive(): Received msg type: 1.
memif_msg_send_from_queue(): Sent msg type 4.
memif_msg_receive(): Received msg type: 1.
memif_msg_send_from_queue(): Sent msg type 4.
memif_msg_receive(): Received msg type: 1.
memif_msg_send_from_queue(): Sent msg type 5.
memif_msg_receive(): Received msg type: 7.
memif_connect(): Connected.
memif_msg_receive_connected(): Remote interface net_memif0 connected.
Done
testpmd> \
"""


def test_what_is_not_given_is_left_to_the_driver() -> None:
    given = Options(role="client", socket="/run/m")
    assert given.device(3) == "net_memif3,role=client,id=0,socket=/run/m,socket-abstract=no"


def test_every_option_of_the_guides_table() -> None:
    given = Options(
        role="server",
        socket="m",
        id=7,
        bsize=512,
        rsize=6,
        abstract=True,
        mac="02:11:22:33:44:55",
        secret="abc123",
        zero_copy=True,
    )
    assert given.device(0) == (
        "net_memif0,role=server,id=7,socket=m,socket-abstract=yes,bsize=512,rsize=6,"
        "mac=02:11:22:33:44:55,secret=abc123,zero-copy=yes"
    )


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "memif_msg_receive_disconnect(): Disconnect received: Incorrect secret\n"
            "memif_disconnect(): Disconnected, id: 0, role: client.",
            "Incorrect secret",
        ),
        (
            "memif_msg_receive_disconnect(): Disconnect received: ID not found\n"
            "memif_disconnect(): Disconnected, id: 0, role: client.",
            "ID not found",
        ),
        ("memif_set_rs(): Invalid ring size: 15 (max 14).", "Invalid ring size: 15 (max 14)"),
        (
            "memif_set_zc(): Zero-copy doesn't support multi-file segments.",
            "Zero-copy doesn't support multi-file segments",
        ),
        (
            "memif_socket_create(): Failed to setup socket /run/m: Address already in use",
            "Failed to setup socket /run/m: Address already in use",
        ),
        (
            "memif_connect_client(): Failed to connect socket: /run/m.",
            "Failed to connect socket: /run/m",
        ),
    ],
)
def test_a_refusal_is_told_in_the_drivers_words(said: str, told: str) -> None:
    assert memif.refusals(f"{CONNECTED}\n{said}\nDone\n") == [told]


def test_a_connection_is_no_refusal() -> None:
    assert memif.refusals(CONNECTED) == []
    created = "memif_socket_create(): Memif listener socket /run/m created."
    assert memif.refusals(created) == []


def test_regions() -> None:
    assert memif.regions(CONNECTED) == 2
    assert memif.regions("") == 0
    assert memif.connected(CONNECTED)
    assert not memif.connected(CONNECTED.partition("Remote")[0])


def test_the_link_of_a_port() -> None:
    capture = Path(__file__).parent / "captures/testpmd-22.11.11-port-info-memif.txt"
    assert memif.parse_link(capture.read_text()) is ("Link status: up" in capture.read_text())
    assert memif.parse_link("Link status: up\n")
    assert not memif.parse_link("Link status: down\n")
    assert not memif.parse_link("")


def test_a_peer_of_another_version_says_that_nobody_answers(tmp_path: Path) -> None:
    foreign = [sys.executable, "-m", "pytest_vswitch.traffic.memif.foreign"]
    done = subprocess.run(
        [*foreign, "client", str(tmp_path / "nobody"), "0x300"], stdout=subprocess.PIPE, text=True
    )
    assert done.returncode == 1
    assert done.stdout.endswith("nobody: no answer: [Errno 2] No such file or directory\n")
