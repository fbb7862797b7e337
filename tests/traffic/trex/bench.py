"""Where the TRex generator is tested: an emulated server, whose data plane is the loop."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.traffic.contract import EVERY, Loop
from pytest_vswitch.traffic.trex.generator import TrexGenerator, attach
from tests.traffic.trex.data_plane import Dut
from tests.traffic.trex.emulated_server import EmulatedServer
from tests.traffic.trex.release import make_release
from tests.traffic.wires import Topology, swap


def double(host: Host) -> Path:
    """A release whose client is our own double of the official one; see `client_double`."""
    folder = Path(host.scratch) / "trex"
    return folder if folder.exists() else make_release(folder)


def lab(client: Path | None, **trex: object) -> Lab:
    """A lab with a TRex server that runs on this machine."""
    section = {"server": "running", **({"path": str(client)} if client else {}), **trex}
    return Lab.model_validate(
        {
            "name": "trex",
            "dut": {"host": "local"},
            "ports": [
                {"kind": "nic", "bdf": f"0000:01:00.{number}", "line_rate_gbps": 10}
                for number in range(2)
            ],
            "trex": section,
        }
    )


@contextlib.contextmanager
def attached(
    host: Host, server: EmulatedServer, *, official: bool = False, **trex: object
) -> Iterator[TrexGenerator]:
    """The generator of a lab with that server; its client is our double or the official one."""
    client = None if official else double(host)
    ports = {"sync_port": server.sync_port, "async_port": server.async_port}
    with attach(lab(client, **ports, **trex), host, Topology()) as generator:
        yield generator


@dataclass(frozen=True)
class Emulated:
    """The emulated server, with our double of the client or, if there is one, the official."""

    host: Host
    official: bool = False
    faults: Sequence[str] = ("none", "drop", "duplicate", "silent")
    rate_pps: float = 2000.0
    too_fast_pps: float = 1e6

    def transform(self, frame: bytes) -> bytes:
        return swap(frame)

    @contextlib.contextmanager
    def loop(self) -> Iterator[Loop]:
        with EmulatedServer(dut=Dut(transform=swap)) as server:
            server.plane.capacity_pps = self.too_fast_pps / 10

            def err(fault: str) -> None:
                with server.lock:
                    server.plane.dut = Dut(
                        loses_every={"drop": EVERY, "silent": 1}.get(fault, 0),
                        duplicates_every=EVERY if fault == "duplicate" else 0,
                        transform=swap,
                    )

            def seen() -> Sequence[bytes]:
                with server.lock:
                    kept = list(server.plane.kept)
                    server.plane.kept.clear()
                return kept

            def cut() -> None:
                with server.lock:
                    server.rpc.link(1, up=False)

            with attached(self.host, server, official=self.official) as generator:
                yield Loop(generator, err, seen, cut=cut, kill=server.kill)
            assert not server.refused, "the client was refused something"
