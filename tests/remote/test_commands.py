"""Commands that hang, that say too much, or what no one can read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.transcript import Transcript
from tests.hosts.machine import wait_until
from tests.machines.machine import Machine
from tests.remote.door import Facts, opened, wait_until_as_found

FLOOD_MB = 200
FLOOD = (
    "import sys\n"
    f"for _ in range({FLOOD_MB}): sys.stderr.buffer.write(b'x' * 999_999 + b'\\n')\n"
    "sys.stderr.flush(); print('through', flush=True)"
)


def test_one_that_hangs_is_ended_with_all_it_started(dut: Machine, before: Facts) -> None:
    with opened(dut) as host:
        with pytest.raises(HostError, match=r"`sh -c .* did not end within 0.5 s; it said:\nI"):
            host.run(["sh", "-c", "echo I hang; sleep 1000 & sleep 1000"], timeout_s=0.5)
        assert host.run(["echo", "here"]).output == "here\n"
        wait_until(lambda: not running(dut, "sleep"), "end of what it started")
    wait_until_as_found(dut, before)


def test_one_that_hangs_and_takes_no_signal_but_kill(dut: Machine, before: Facts) -> None:
    deaf = "trap '' TERM INT HUP; while :; do sleep 1000; done"
    with opened(dut) as host:
        with host.spawn(["sh", "-c", f"echo deaf; {deaf}"], name="deaf") as program:
            program.read_until(re.compile("deaf"), timeout_s=60, what="start")
        assert not running(dut, "sleep")
    wait_until_as_found(dut, before)


def test_one_that_prints_200_mb_to_standard_error(dut: Machine, before: Facts) -> None:
    with opened(dut) as host:
        with pytest.raises(HostError, match="printed more than 16 MiB") as raised:
            host.run(["python3", "-c", FLOOD], timeout_s=120)
        assert len(str(raised.value)) < 10_000
        assert host.run(["echo", "here"]).output == "here\n"
    wait_until_as_found(dut, before)


def test_a_program_that_prints_200_mb_to_standard_error(
    dut: Machine, before: Facts, tmp_path: Path
) -> None:
    """Its log has all of it; commands are answered meanwhile."""
    with (
        opened(dut, transcript=Transcript(tmp_path)) as host,
        host.spawn(["python3", "-c", FLOOD], name="flood") as program,
    ):
        assert host.run(["echo", "here"]).output == "here\n"
        program.read_until(re.compile("through"), timeout_s=120, what="end of the flood")
    (log,) = tmp_path.glob("logs/*")
    assert log.stat().st_size == FLOOD_MB * 1_000_000 + len("through\n")
    wait_until_as_found(dut, before)


def test_one_that_prints_no_utf_8(dut: Machine, tmp_path: Path) -> None:
    said = bytes(range(256))
    with opened(dut, transcript=Transcript(tmp_path)) as host:
        done = host.run(["cat"], stdin=said)
        assert done.raw == said
        assert done.output == said.decode(errors="replace")
        with pytest.raises(HostError, match="failed with status 3:\n\ufffd\ufffdend"):
            host.run(["sh", "-c", r"printf '\377\376end' >&2; exit 3"])
        with host.spawn(["cat"], name="cat") as program:
            program.write("ä\n")
            program.read_until(re.compile("ä\n"), timeout_s=60, what="echo")
    assert "end" in (tmp_path / "transcript.log").read_text()


def running(dut: Machine, program: str) -> bool:
    return any(process.argv[0] == program for process in dut.processes())
