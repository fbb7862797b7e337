"""What ping prints, as captured from the real one, and a real one that is asked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pytest_vswitch.apps import ping
from pytest_vswitch.apps.ping import Answers, Parameters
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.local import LocalHost

CAPTURES = Path(__file__).parent / "captures"


def capture(name: str) -> str:
    return (CAPTURES / f"ping-20221126-{name}.txt").read_text()


def test_answers() -> None:
    assert ping.parse(capture("answered")) == Answers(5, 5, 0.037, 0.082, 0.248)


def test_silence() -> None:
    answers = ping.parse(capture("silent"))
    assert answers.sent >= 2
    assert answers.received == 0
    assert answers.rtt_mean_ms is None


def test_no_summary() -> None:
    with pytest.raises(DutError, match="no summary: ping: connect: Network is unreachable"):
        ping.parse("ping: connect: Network is unreachable\n")


def test_the_real_one(host: LocalHost) -> None:
    assert shutil.which("ping"), "apt-get install iputils-ping"
    parameters = Parameters("127.0.0.1", count=3, interval_s=0.2, payload_bytes=1000)
    answers = ping.parse(host.run(parameters.argv()).output)
    assert (answers.sent, answers.received) == (3, 3)
    assert answers.rtt_min_ms is not None
    assert answers.rtt_max_ms is not None
    assert answers.rtt_min_ms <= answers.rtt_max_ms
