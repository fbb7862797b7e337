"""A TCP port of a host's loopback interface, as a port of this machine's."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.host import Host

_BLOCK = 1 << 16


@contextlib.contextmanager
def tunnel(host: Host, port: int) -> Iterator[int]:
    """The local port that leads to `port` there, over the one door to the host.

    A connection that the host refuses is closed at once.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ends: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    near, _ = listening.accept()
                except OSError:
                    return  # the tunnel is over
                try:
                    far = host.connect(port)
                except HostError:
                    near.close()
                    continue
                ends.extend((near, far))
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(
                        target=_pump, args=(source, sink), name=f"tunnel {port}", daemon=True
                    ).start()

        threading.Thread(target=serve, name=f"tunnel {port}", daemon=True).start()
        try:
            yield listening.getsockname()[1]
        finally:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            for end in ends:
                end.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_BLOCK):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
