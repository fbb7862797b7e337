"""DUTs for the memif generator: a real testpmd, and a server that errs on purpose."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from pytest_vswitch.hosts.host_process import HostProcess
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.topologies.topology import MemifPort
from pytest_vswitch.traffic.generator import DirectionCounts, Generator, Offer
from pytest_vswitch.traffic.memif.generator import on_sockets
from pytest_vswitch.traffic.worker_generator import WorkerGenerator
from tests.traffic.crossed import Crossed

pytest.register_assert_rewrite("pytest_vswitch.traffic.contract")

DEADLINE_S = 60.0
_serial = itertools.count()

Loop = Callable[[str], AbstractContextManager[HostProcess]]
Connect = Callable[..., WorkerGenerator]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LocalHost]:
    """This machine; sockets go to a short path of its own."""
    with tempfile.TemporaryDirectory(prefix="vswitch-", dir="/var/tmp") as state:
        run_id = f"t{os.getpid()}-{next(_serial)}"
        with LocalHost(run_id, Transcript(tmp_path), Path(state)) as here:
            yield here


@pytest.fixture
def sockets(host: LocalHost) -> list[Path]:
    return [Path(host.scratch) / f"memif{number}" for number in range(2)]


@pytest.fixture
def testpmd(host: LocalHost, sockets: Sequence[Path]) -> Loop:
    """Starts testpmd, forwarding between two memif servers in a given mode."""

    @contextlib.contextmanager
    def start(mode: str) -> Iterator[HostProcess]:
        prefix = Path(host.scratch).name
        argv = ["stdbuf", "-oL", "dpdk-testpmd", "-l", "0,1", "--main-lcore", "0", "-n", "1"]
        argv += ["--no-pci", "--no-huge", "--no-shconf", "-m", "512", "--file-prefix", prefix]
        for number, path in enumerate(sockets):
            options = f"role=server,id=0,socket={path},socket-abstract=no"
            argv += ["--vdev", f"net_memif{number},{options}"]
        argv += ["--", "-i", "--total-num-mbufs=16384", f"--forward-mode={mode}", "--auto-start"]
        try:
            with host.spawn(argv, name="testpmd", stop_with="stop\nquit\n") as program:
                prompt = re.compile("testpmd> ")
                program.read_until(prompt, timeout_s=DEADLINE_S, what="a prompt")
                yield program
        finally:
            shutil.rmtree(Path("/var/run/dpdk") / prefix, ignore_errors=True)

    return start


@pytest.fixture
def connect(host: LocalHost, sockets: Sequence[Path]) -> Connect:
    """Makes a generator for the two ports, which is not connected yet."""

    def make(transform: Callable[[bytes], bytes] = bytes) -> WorkerGenerator:
        ports = [MemifPort(path.name, str(path), 10e9) for path in sockets]
        return on_sockets(host, ports, Crossed(transform))

    return make


def run_trial(generator: Generator, offer: Offer) -> list[DirectionCounts]:
    """The counts of one trial."""
    generator.start(offer)
    counts = generator.poll(offer.duration_s + DEADLINE_S)
    assert counts is not None
    return list(counts)
