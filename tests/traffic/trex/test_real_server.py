"""The contract of generators against a real TRex server, over memif, on a loop that errs.

Runs as root with `pytest -m trex` where the environment variable TREX_SERVER names a TRex release
with its server; without, there is nothing here. Each frame that the loop took is compared.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.topology import MemifPort
from pytest_vswitch.traffic.contract import Bench, Loop
from pytest_vswitch.traffic.trex.generator import attach
from tests.traffic import reflector
from tests.traffic.crossed import Crossed
from tests.traffic.memif_server import Server
from tests.traffic.trex.test_server import free_port, servers
from tests.traffic.wires import swap

RELEASE = os.environ.get("TREX_SERVER")
if RELEASE:
    from pytest_vswitch.traffic.contract import *  # noqa: F403

pytestmark = pytest.mark.trex
_serial = itertools.count()


class Topology(Crossed):
    """Two memif ports; the frames' addresses are swapped in between."""

    generator_cpu: int | None = None

    def __init__(self, sockets: Sequence[Path]) -> None:
        super().__init__(swap)
        self.ports = [MemifPort(path.name, str(path), 10e9) for path in sockets]


@dataclass(frozen=True)
class Real:
    """A server for each loop. It looks at no byte, so that it sees no wrong one."""

    release: Path
    log: Path
    faults: Sequence[str] = ("none", "drop", "duplicate", "silent")
    rate_pps: float = 2000.0
    too_fast_pps: float = 250e6

    def transform(self, frame: bytes) -> bytes:
        return swap(frame)

    @contextlib.contextmanager
    def loop(self) -> Iterator[Loop]:
        """Its host is its own, so that two servers do not meet."""
        fault, first_seen, into_port_0 = "none", [0, 0], list[bytes]()
        run_id = f"trex{os.getpid()}-{next(_serial)}"

        def err(now: str) -> None:
            nonlocal fault
            fault = now
            first_seen[:] = server.seen

        def hand_on(port: int, count: int, frame: bytes) -> Sequence[bytes]:
            if port == 0:
                into_port_0.append(frame)
            return reflector.FAULTS[fault](port, count - first_seen[port], swap(frame))

        def seen() -> Sequence[bytes]:
            kept = list(into_port_0)
            into_port_0.clear()
            return kept

        with (
            tempfile.TemporaryDirectory(prefix="vswitch-", dir="/var/tmp") as state,
            LocalHost(run_id, Transcript(self.log), Path(state)) as host,
        ):
            sockets = [Path(host.scratch) / f"memif{number}" for number in range(2)]
            with (
                Server(sockets, hand_on) as server,
                attach(self._lab(), host, Topology(sockets)) as generator,
            ):
                kill = functools.partial(_kill, self.release, host.scratch)
                yield Loop(generator, err, seen, cut=server.die, kill=kill)

    def _lab(self) -> Lab:
        ports = {"sync_port": free_port(), "async_port": free_port()}
        return Lab.model_validate(
            {
                "name": "local",
                "dut": {"host": "local"},
                "ports": [{"kind": "memif"}, {"kind": "memif"}],
                "trex": {"path": str(self.release), **ports},
            }
        )


def _kill(release: Path, scratch: str) -> None:
    """The server whose configuration file is in `scratch`, and no other of the release."""
    for process in servers(release):
        if scratch.encode() in Path(f"/proc/{process}/cmdline").read_bytes():
            os.kill(process, signal.SIGKILL)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    assert RELEASE
    return Real(Path(RELEASE), tmp_path_factory.mktemp("trex"))
