"""Real testpmds of several DPDKs: what `dpdk_changes` says of them, they take and print.

The system's runs here always; 20.11 and 24.11 where they were added (`make test-dpdks`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.apps import dpdk, memif, testpmd
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.exception_link import parse_queues
from pytest_vswitch.topologies.memif_link import Bench
from tests.hosts.machine import DEADLINE_S, machine

OTHERS = {"20.11": "bullseye", "24.11": "trixie"}
VERSIONS = ["system", *(pytest.param(name, marks=pytest.mark.dpdks) for name in OTHERS)]
FRAMES = 32
ADDED = Path(LocalHost.cache) / "dpdk"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LocalHost]:
    with machine(tmp_path) as here:
        Path(here.cache).mkdir()
        (Path(here.cache) / "dpdk").symlink_to(ADDED)
        yield here


def lab(version: str) -> Lab:
    return Lab.model_validate(
        {"name": "x", "dut": {"host": "local", "dpdk": version}, "ports": [{"kind": "memif"}]}
    )


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_word_is_understood(host: LocalHost, version: str) -> None:
    parameters = testpmd.Parameters(
        lcores="0@0,1@1",
        memory_mb=64,
        file_prefix=f"words-{host.scratch.rpartition('/')[2]}",
        hugepages=False,
        single_file_segments=True,
        devices=["0000:ff:1f.7"],
        vdevs=[
            "net_null0",
            memif.Options(role="server", socket=f"{host.scratch}/words").device(1),
        ],
        forward_mode="io",
        portlist=[0, 1],
        mbufs=2048,
        descriptors=256,
        options=["--no-lsc-interrupt"],
    )
    found = dpdk.of_host(lab(version), host)
    with host.spawn(parameters.argv(found), name="testpmd", stop_with="quit\n") as process:
        console = testpmd.Testpmd(process)
        if version in OTHERS:
            assert console.version.startswith(f"{version}.")
            assert console.version == found.version
        assert console.port_info(0).driver == "net_null"
        assert console.port_info(1).driver == "net_memif"
        console.command("set fwd mac retry")
        console.command("csum mac-swap off 0")
        console.command("set fwd io")
        console.record_cycles()
        console.start()
        deadline = time.monotonic() + DEADLINE_S
        while testpmd.parse_cycles(console.statistics()) is None:
            assert time.monotonic() < deadline
        console.stop()
        console.keep_waiting()
        assert set(console.counters()) == {0, 1}
        queues = parse_queues(console.command("show port xstats all"))
        assert [len(port) for port in queues] == [1, 1]


@pytest.mark.parametrize(
    "old", [["-w", "0000:ff:1f.7"], ["--master-lcore", "0"]], ids=lambda words: words[0]
)
def test_older_words_are_refused_today(host: LocalHost, version: str, old: list[str]) -> None:
    """So that the table is needed: 20.11 still took both, with a warning."""
    found = dpdk.of_host(lab(version), host)
    argv = [*found.command, "--no-huge", "--no-pci", "--no-shconf", "-m", "16", *old]
    said = host.run(argv, check=False).output
    assert ("Usage: " in said) == (version != "20.11"), said


@pytest.mark.parametrize("server", VERSIONS)
@pytest.mark.parametrize("client", VERSIONS)
def test_frames_pass_between_versions(host: LocalHost, server: str, client: str) -> None:
    """A memif link with a version at each end: every frame arrives, and is counted."""
    at_server, at_client = Bench(lab(server), host), Bench(lab(client), host)
    socket = at_server.socket
    with (
        at_server.testpmd("server", memif.Options(role="server", socket=socket)) as receiving,
        at_client.testpmd("client", memif.Options(role="client", socket=socket)) as sending,
    ):
        receiving.wait_until_connected()
        sending.wait_until_connected()
        receiving.receive()
        sending.send(FRAMES)
        assert receiving.received(FRAMES) == FRAMES
