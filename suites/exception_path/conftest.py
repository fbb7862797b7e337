"""Two kernels that talk through an exception path, and the table that compares the ways."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict

import pytest

from pytest_vswitch.errors import NotHere
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.measure.conversation import Conversation, converse
from pytest_vswitch.results.run import Run
from pytest_vswitch.topologies import exception_link
from pytest_vswitch.topologies.exception_link import Link, Setup
from pytest_vswitch.topologies.exception_ways import WAYS

TALK = "talk"
"""What a test's properties call a conversation."""

Talk = Callable[[Setup], Conversation]


@pytest.fixture
def linked(vswitch_run: Run, lab: Lab) -> Iterator[Callable[[Setup], Link]]:
    """Wires one, with no topology beside it that would take its CPUs; it ends with the test."""
    with ExitStack() as stack:

        def link(setup: Setup) -> Link:
            if lab.dut.host == "sim":
                pytest.skip("a simulation has no kernel to talk with")
            vswitch_run.unwire()
            try:
                exception_link.preflight(setup, lab, vswitch_run.host)
            except NotHere as reason:
                pytest.skip(str(reason))
            return stack.enter_context(exception_link.linked(lab, vswitch_run.host, setup))

        yield link


@pytest.fixture
def talk(
    linked: Callable[[Setup], Link],
    vswitch_run: Run,
    record_property: Callable[[str, object], None],
) -> Talk:
    """Ping and TCP through a link; what was found is kept in `exception_path.json`."""

    def kept(setup: Setup) -> Conversation:
        found = converse(linked(setup), streams=16 if setup.queues > 1 else 1)
        row = {**setup.words, **asdict(found)}
        record_property(TALK, row)
        path = vswitch_run.directory.path / "exception_path.json"
        rows = json.loads(path.read_text()) if path.exists() else []
        path.write_text(json.dumps([*rows, row], indent=2) + "\n")
        return found

    return kept


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One table: rates of frames that the kernel routes, and TCP between two kernels."""
    properties = [
        (str(name), value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "teardown"
        for name, value in report.user_properties
    ]
    lines = []
    for way in WAYS:
        for name, value in properties:
            if f"way={way.name}" in name:
                case, _, goal = name.rpartition(" ")
                frame = case.partition("frame_bytes=")[2].partition(",")[0]
                rate = f"{goal.removesuffix('_pps').upper()} {value:,} frames/s"
                lines.append(f"{way.name:<10} routed by the kernel, {frame:>5} bytes: {rate}")
            elif name == TALK and isinstance(value, dict) and value["way"] == way.name:
                lines.append(
                    f"{way.name:<10} TCP, offloads {value['offloads']:<3}, queues used "
                    f"{value['queues_used']} of {value['queues']}: "
                    f"{value['goodput_bps'] / 1e6:8.1f} Mbit/s, {value['retransmits']:5} "
                    f"retransmits, ping {value['rtt_mean_ms']:.2f} ms"
                )
    if lines:
        terminalreporter.section("exception paths compared")
        for line in lines:
            terminalreporter.line(line)
