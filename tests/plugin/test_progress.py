"""Where a measurement stands: one line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugin.conftest import SUITE, Session

SIM = (*SUITE, "--dut=sim", "--search=binary", "-k", "throughput", "--color=no")
WIDTH = 70


def on_a_terminal(directory: Path, *args: str) -> str:
    """All that pytest writes to a terminal of `WIDTH` columns."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *args],
        cwd=directory,
        env={**os.environ, "TERM": "xterm", "COLUMNS": str(WIDTH)},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    written = b""
    try:
        while portion := os.read(master, 65536):
            written += portion
    except OSError:  # how a terminal says that the last of its writers has ended
        pass
    os.close(master)
    process.wait()
    return written.decode()


def screen(written: str) -> list[str]:
    """What a terminal shows in the end."""
    lines = []
    for text in written.split("\n"):
        line: list[str] = []
        for overwriting in text.split("\r"):
            line[: len(overwriting)] = overwriting
        lines.append("".join(line).rstrip())
    return lines


@pytest.mark.parametrize("option", [[], ["-v"], ["-q"], ["-s"]])
def test_a_terminal_shows_one_line_that_is_gone_in_the_end(
    session: Session, option: list[str]
) -> None:
    written = on_a_terminal(session.path, *SIM, *option)
    progress = [text for text in re.split(r"[\r\n]+", written) if text.startswith("pvp:")]
    assert len(progress) > 6
    assert all(len(text) < WIDTH for text in progress)
    assert "\r\npvp:" not in written.replace("\r\n\rpvp:", "", 1)
    shown = screen(written)
    assert not [line for line in shown if "trial " in line]
    finished = next(line for line in shown if line.startswith("MEASURED"))
    before = "\n".join(shown[: shown.index(finished)])
    if option == ["-v"]:
        assert re.search(r"^test_pvp.py::test_throughput\[64B\] PASSED +\[100%\]$", before, re.M)
    elif option != ["-s"]:
        assert re.search(r"^(test_pvp.py )?\. +\[100%\]$", before, re.M)


@pytest.mark.parametrize("ending", ["raise KeyboardInterrupt", "assert False"])
def test_nothing_is_left_of_it_when_a_test_breaks_off(session: Session, ending: str) -> None:
    session.write(
        "test_mine.py",
        "def test_mine(pvp, measure):\n    measure.throughput(pvp, frame_bytes=64)\n"
        f"    {ending}\n",
    )
    written = on_a_terminal(session.path, "--dut=sim", "--quick", "--color=no")
    assert "pvp:frame_bytes=64  NDR  trial 1 " in written
    shown = screen(written)
    assert not [line for line in shown if "  trial " in line]
    assert [line for line in shown if line.startswith(("INCOMPLETE  pvp", "ERROR  pvp"))]


def test_a_pipe_gets_plain_lines(session: Session) -> None:
    """One for each trial that ended, as the log of a nightly run wants it."""
    result = session(*SIM)
    trials = sum(len(m.trials) for case in session.record.cases for m in case.measurements)
    lines = [line for line in result.outlines if line.startswith("pvp:frame_bytes=64  ")]
    assert len(lines) == trials
    for line in lines:
        assert re.search(r"  (NDR|PDR)  trial \d+  [\d.]+ Mpps  (no loss|loss .* %)  inter", line)
    assert not re.search(r"[\r\x1b]", str(result.stdout))


def test_lines_begin_at_the_margin_after_pytests_dots(session: Session) -> None:
    result = session(*SIM, "-v")
    assert not [line for line in result.outlines if re.search(r"\S.*pvp:frame_bytes=64  NDR", line)]
