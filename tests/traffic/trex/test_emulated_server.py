"""The emulated server is strict, or a client's mistakes would pass unseen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from tests.traffic.trex.emulated_server import EmulatedServer, packed, unpacked

DEADLINE_MS = 60_000
FRAME = {"binary": "A" * 80, "meta": ""}
STREAM = {
    "enabled": True,
    "self_start": True,
    "flags": 3,
    "action_count": 0,
    "isg": 0.0,
    "next_stream_id": -1,
    "packet": FRAME,
    "vm": {"instructions": []},
    "flow_stats": {"enabled": False},
    "mode": {
        "type": "single_burst",
        "total_pkts": 1,
        "rate": {"type": "pps", "value": 1.0},
    },
}


class Client:
    """Sends whatever a test wants."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self.common: dict[str, Any] = {}

    def send(self, message: bytes) -> Any:
        self._socket.send(message)
        assert self._socket.poll(DEADLINE_MS)
        return json.loads(unpacked(self._socket.recv()))

    def call(self, method: str, **params: Any) -> Any:
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return self.send(json.dumps(request).encode())

    def error(self, method: str, **params: Any) -> tuple[int, str]:
        error = self.call(method, **{**self.common, **params})["error"]
        return error["code"], error["specific_err"]


@pytest.fixture
def client() -> Iterator[Client]:
    """It has synchronized its version and holds port 0."""
    with EmulatedServer() as server, zmq.Context() as context:
        socket = context.socket(zmq.REQ)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(f"tcp://127.0.0.1:{server.sync_port}")
        client = Client(socket)
        api = client.call("api_sync_v2", name="STL", major=5, minor=1)["result"]["api_h"]
        who = {"user": "alice", "session_id": 1, "force": False}
        handler = client.call("acquire", api_h=api, port_id=0, **who)["result"]
        client.common = {"api_h": api, "handler": handler, "port_id": 0, "profile_id": "_"}
        try:
            yield client
        finally:
            socket.close()


def test_an_unknown_method(client: Client) -> None:
    assert client.error("fly") == (-32601, "Method fly not registered")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"duration": -1, "mul": {}}, "field 'force' is missing"),
        ({"duration": "1", "mul": {}, "force": True}, "field 'duration' is 'str'"),
        ({"duration": True, "mul": {}, "force": True}, "field 'duration' is 'bool'"),
        ({"duration": 1, "mul": {}, "force": 1}, "field 'force' is 'int'"),
        ({"duration": 1, "mul": {}, "force": True, "wings": 2}, "field 'wings' is unknown"),
        ({"duration": 1, "mul": {}, "force": True}, "field 'type' is missing"),
        ({"duration": 1, "mul": {}, "force": True, "port_id": 9}, "Invalid port ID: 9"),
    ],
)
def test_fields_are_checked(client: Client, changed: dict[str, Any], message: str) -> None:
    assert client.error("start_traffic", **changed) == (-32602, message)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"flags": "3"}, "field 'flags' is 'str'"),
        ({"wings": 2}, "field 'wings' is unknown"),
        ({"mode": {"type": "flood"}}, "bad stream type provided: 'flood'"),
        ({"mode": {"type": "single_burst"}}, "field 'rate' is missing"),
        ({"flow_stats": {"enabled": True}}, "field 'stream_id' is missing"),
        ({"vm": {"instructions": [{"type": "dance"}]}}, "unknown instruction 'dance'"),
        ({"vm": {"instructions": [{"type": "fix_checksum_ipv4"}]}}, "field 'pkt_offset' is"),
    ],
)
def test_streams_are_checked(client: Client, changed: dict[str, Any], message: str) -> None:
    code, told = client.error("add_stream", stream_id=1, stream={**STREAM, **changed})
    assert code == -32602
    assert message in told


def test_a_port_belongs_to_one_client(client: Client) -> None:
    assert client.error("service", handler="mine", profile_id="_", enabled=True)[0] == -32602
    fields = {"stream_id": 1, "stream": STREAM}
    not_owned = "port is not owned by you or your current executing session"
    assert client.error("add_stream", handler="mine", **fields) == (-32000, not_owned)
    assert client.error("add_stream", port_id=1, **fields) == (-32000, not_owned)


def test_the_version_comes_first(client: Client) -> None:
    code, told = client.error("add_stream", api_h="mine", stream_id=1, stream=STREAM)
    assert (code, told[:23]) == (-32000, "API verification failed")
    mismatch = client.call("api_sync_v2", name="STL", major=9, minor=0)["error"]
    assert "RPC version mismatch" in mismatch["specific_err"]


def test_a_batch_is_answered_one_by_one(client: Client) -> None:
    one = {"jsonrpc": "2.0", "id": 7, "method": "ping", "params": {}}
    replies = client.send(json.dumps([one, {**one, "id": 8, "method": "fly"}, one]).encode())
    assert [reply["id"] for reply in replies] == [7, 8, 7]
    assert ["error" in reply for reply in replies] == [False, True, False]


def test_compressed_messages(client: Client) -> None:
    one = {"jsonrpc": "2.0", "id": 7, "method": "ping", "params": {}}
    many = json.dumps([one] * 50).encode()
    assert packed(many) != many
    assert unpacked(packed(many)) == many
    assert len(client.send(packed(many))) == 50


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"{", -32700),
        (packed(b"x" * 2000), -32700),
        (packed(b" " * 2000)[:-1], -32700),
        (b'{"method": "ping", "params": {}, "id": 1}', -32600),
        (b'{"method": "ping", "params": {}, "id": 1, "jsonrpc": "1.0"}', -32600),
    ],
)
def test_what_is_no_request(client: Client, message: bytes, code: int) -> None:
    assert client.send(message)["error"]["code"] == code
