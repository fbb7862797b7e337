"""The plugin's command line options, checked; each raises InputError for a wrong value."""

from __future__ import annotations

import math
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.lab.schema import Lab, shown
from pytest_vswitch.measure.goals import Goal
from pytest_vswitch.measure.options import NDR, QUICK, SearchOptions
from pytest_vswitch.results.certification import Plan

FRAME_BYTES = (64, 128, 256, 512, 1024, 1280, 1518)
"""RFC 2544 section 9.1."""

ETHERNET_BYTES = 18
"""What a frame has beside its IP packet: addresses, type, FCS."""


def reports(config: pytest.Config) -> Path:
    """Where runs are kept; there, or in what is there of its parents, one can write."""
    given = config.getoption("reports")
    path = Path(config.invocation_params.dir, given).absolute()
    there = next(parent for parent in (path, *path.parents) if os.path.lexists(parent))
    if not there.is_dir():
        raise InputError(f"--reports {given}: {shown(there)} is not a directory")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"--reports {given}: you may not write in {shown(there)}")
    return path


def frame_sizes(config: pytest.Config, lab: Lab) -> tuple[int, ...]:
    """With FCS [bytes], each once, in the order given; none that the lab's hops do not carry."""
    given = config.getoption("frame_size")
    if not given:
        return FRAME_BYTES[:1] if config.getoption("quick") else FRAME_BYTES
    sizes: list[int] = []
    for word in ",".join(given).split(","):
        try:
            size = int(word)
        except ValueError:
            raise InputError(f"--frame-size {word!r}: give bytes, e.g. 64 or 64,512,1518") from None
        most = lab.dut.mtu + ETHERNET_BYTES
        if not FRAME_BYTES[0] <= size <= most:
            raise InputError(
                f"--frame-size {size}: must lie between {FRAME_BYTES[0]} (Ethernet's least) and "
                f"{most} bytes, FCS included: the vSwitch, the first hop, carries an MTU of "
                f"{lab.dut.mtu} (`dut.mtu` in the lab)"
            )
        if size not in sizes:
            sizes.append(size)
    return tuple(sizes)


def wait_s(config: pytest.Config) -> float:
    """How long to queue for a lab that is in use [s]."""
    return duration_s(config.getoption("wait"), "--wait")


def duration_s(given: str, option: str) -> float:
    """`90`, `90s`, `30m` or `2h` in seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", given.strip())
    if not found:
        raise InputError(f"{option} {given}: give a time, e.g. 90s, 30m or 2h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def plan(config: pytest.Config) -> Plan:
    """What each case is measured with."""
    search = QUICK if config.getoption("quick") else SearchOptions()
    search = replace(search, search=config.getoption("search"))
    if (duration := config.getoption("trial_duration")) is not None:
        if duration == math.inf:
            raise InputError("--trial-duration inf: no trial would ever end; give seconds, e.g. 5")
        search = replace(search, trial_duration_s=duration)
    if (precision := config.getoption("precision")) is not None:
        search = replace(search, precision=precision)
    if (ratio := config.getoption("loss_ratio")) is not None:
        search = replace(search, goals=(NDR, Goal("PDR", ratio)))
    if (repeats := config.getoption("repeat")) < 1:
        raise InputError(f"--repeat {repeats}: must be at least 1")
    return Plan(search, repeats)
