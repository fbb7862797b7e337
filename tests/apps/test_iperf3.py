"""What iperf3 prints, as captured from the real one, and a real pair that talks."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from pytest_vswitch.apps import iperf3
from pytest_vswitch.apps.iperf3 import Client, Server
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.local import LocalHost

CAPTURES = Path(__file__).parent / "captures"


def capture(name: str) -> str:
    return (CAPTURES / f"iperf3-3.12-{name}").read_text()


def test_a_transfer() -> None:
    found = iperf3.parse(capture("client.json"))
    assert found.goodput_bps == pytest.approx(388159115.434)
    assert found.retransmits == 2


def test_a_failed_one() -> None:
    with pytest.raises(DutError, match="iperf3: unable to connect to server: No route to host"):
        iperf3.parse(capture("failed.json"))


@pytest.mark.parametrize("output", ["", "Killed", '{"end": {}}', "[]"])
def test_no_result(output: str) -> None:
    with pytest.raises(DutError, match="iperf3 printed no result"):
        iperf3.parse(output)


def test_a_server_that_listens() -> None:
    assert re.search(iperf3.LISTENS, capture("server.txt"))


def test_the_real_ones(host: LocalHost) -> None:
    assert shutil.which("iperf3"), "apt-get install iperf3"
    argv = ["stdbuf", "-oL", *Server("127.0.0.1").argv()]
    with host.spawn(argv, name="iperf3 server") as server:
        server.read_until(re.compile(iperf3.LISTENS), timeout_s=30, what="a listening server")
        client = Client("127.0.0.1", duration_s=1, streams=2)
        found = iperf3.parse(host.run(client.argv(), check=False).output)
    assert found.goodput_bps > 0
