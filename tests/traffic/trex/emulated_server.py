"""A TRex server that is not there: its ZMQ sockets and wire format, over `rpc` and `data_plane`.

    python -m tests.traffic.trex.emulated_server SYNC ASYNC

listens on the loopback interface only. Messages are JSON-RPC 2.0, one or a batch; where they
begin with a magic number, they are compressed (a header of two 32-bit words, then zlib).
"""

from __future__ import annotations

import argparse
import json
import struct
import threading
import zlib
from collections.abc import Mapping
from typing import Any

import zmq

from tests.traffic.trex.data_plane import DataPlane, Dut
from tests.traffic.trex.methods import Refused
from tests.traffic.trex.rpc import Rpc

MAGIC = 0xABE85CEA
HEADER = struct.Struct(">II")
TICK_MS = 10
LARGE_BYTES = 1000
"""Answers from this size on are compressed."""
MESSAGES = {-32601: "Method not found", -32602: "Bad parameters for method"}


def unpacked(message: bytes) -> bytes:
    """Raises ValueError for a message that is not what its header says."""
    if len(message) < HEADER.size or HEADER.unpack_from(message)[0] != MAGIC:
        return message
    plain = zlib.decompress(message[HEADER.size :])
    if len(plain) != HEADER.unpack_from(message)[1]:
        raise ValueError("the length of a compressed message is not what its header says")
    return plain


def packed(message: bytes) -> bytes:
    if len(message) < LARGE_BYTES:
        return message
    return HEADER.pack(MAGIC, len(message)) + zlib.compress(message)


class EmulatedServer:
    """Serves in a thread of its own while its `with` block lasts."""

    def __init__(self, *, ports: int = 2, dut: Dut | None = None) -> None:
        self.plane = DataPlane(ports, dut)
        self.rpc = Rpc(self.plane, self._notify)
        self.lock = threading.RLock()
        """For tests: hold it to change what the server thinks."""
        self.refused: list[str] = []
        """What it refused, in its own words."""
        self._context = zmq.Context()
        self._replies = self._context.socket(zmq.REP)
        self._events = self._context.socket(zmq.PUB)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="trex", daemon=True)
        self.sync_port = 0
        self.async_port = 0

    def bind(self, sync_port: int = 0, async_port: int = 0) -> None:
        """Take these ports of the loopback interface; 0: free ones."""
        self.sync_port = _bind(self._replies, sync_port)
        self.async_port = _bind(self._events, async_port)

    def __enter__(self) -> EmulatedServer:
        if not self.sync_port:
            self.bind()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End without a word to anybody."""
        self._end.set()
        self._thread.join()

    def wait(self) -> None:
        """Until somebody shuts the server down."""
        self._thread.join()

    def _notify(self) -> None:
        self._events.send(b"{}")

    def _serve(self) -> None:
        try:
            while not (self._end.is_set() or self.rpc.stopped):
                ready = self._replies.poll(TICK_MS)
                with self.lock:
                    self.rpc.tick()
                    if ready:
                        self._replies.send(self._answer(self._replies.recv()))
        finally:
            self._context.destroy(linger=0)

    def _answer(self, message: bytes) -> bytes:
        try:
            request = json.loads(unpacked(message))
        except (ValueError, zlib.error):
            reply: Any = self._error(None, -32700, "Bad JSON Format", "")
        else:
            batch = isinstance(request, list)
            replies = [self._one(single) for single in (request if batch else [request])]
            reply = replies if batch else replies[0]
        return packed(json.dumps(reply).encode())

    def _one(self, request: Mapping[str, Any]) -> dict[str, Any]:
        number = request.get("id")
        if set(request) != {"jsonrpc", "id", "method", "params"} or request["jsonrpc"] != "2.0":
            return self._error(number, -32600, "Invalid request", f"{sorted(request)}")
        try:
            result = self.rpc.call(request["method"], request["params"])
        except Refused as why:
            message = MESSAGES.get(why.code, "Failed To Execute Method")
            return self._error(number, why.code, message, f"{why}", request["method"])
        return {"jsonrpc": "2.0", "id": number, "result": result}

    def _error(
        self, number: object, code: int, message: str, specific: str, method: str = ""
    ) -> dict[str, Any]:
        self.refused.append(f"{method}: {specific or message}")
        error = {"code": code, "message": message, "specific_err": specific or message}
        return {"jsonrpc": "2.0", "id": number, "error": error}


def _bind(socket: zmq.Socket[bytes], port: int) -> int:
    address = "tcp://127.0.0.1"
    if port:
        socket.bind(f"{address}:{port}")
        return port
    return socket.bind_to_random_port(address)


def main() -> None:
    parser = argparse.ArgumentParser(description="emulated TRex server")
    parser.add_argument("sync_port", type=int)
    parser.add_argument("async_port", type=int)
    arguments = parser.parse_args()
    server = EmulatedServer()
    server.bind(arguments.sync_port, arguments.async_port)
    with server:
        print("ready", flush=True)
        server.wait()


if __name__ == "__main__":
    main()
