"""The plugin's command line options, checked; each raises InputError for a wrong value."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_vswitch.errors import InputError, VswitchError
from pytest_vswitch.lab.schema import Lab, shown
from pytest_vswitch.measure.goals import Goal
from pytest_vswitch.measure.options import NDR, QUICK, SearchOptions
from pytest_vswitch.measure.procedure import QUICK as QUICK_RULES
from pytest_vswitch.measure.procedure import Rules
from pytest_vswitch.percentage import percentage
from pytest_vswitch.results import run_directory
from pytest_vswitch.results.certification import Plan
from pytest_vswitch.results.record import Record
from pytest_vswitch.traffic import imix, mpls, overlay, pcap
from pytest_vswitch.traffic.profile import Profile
from pytest_vswitch.versions import OPTIONS, Round, rounds

if TYPE_CHECKING:
    from pytest_vswitch.results.compare.baseline import Baseline

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


def frame_sizes(config: pytest.Config, lab: Lab, frames: Profile) -> tuple[int, ...]:
    """With FCS [bytes], each once, in the order given; none that the lab's hops do not carry.

    Of a profile with its own sizes, their mean.
    """
    given = config.getoption("frame_size")
    if frames.sizes or frames.replay:
        if given:
            what = "--imix: a mix" if frames.sizes else "--pcap: a file"
            raise InputError(f"--frame-size does not go with {what} has its own sizes")
        return (round(frames.mean_bytes(0)),)
    least = frames.least_bytes
    if not given:
        sizes = (least, *(size for size in FRAME_BYTES[1:] if size > least))
        return sizes[:1] if config.getoption("quick") else sizes
    chosen: list[int] = []
    for word in ",".join(given).split(","):
        try:
            size = int(word)
        except ValueError:
            raise InputError(f"--frame-size {word!r}: give bytes, e.g. 64 or 64,512,1518") from None
        most = lab.dut.mtu + ETHERNET_BYTES
        if not least <= size <= most:
            why = "Ethernet's least" + (", with its VLAN tags" if frames.tags else "")
            why += ", with its MPLS labels" if frames.labels else ""
            why += ", in VXLAN" if frames.vxlan is not None else ""
            raise InputError(
                f"--frame-size {size}: must lie between {least} ({why}) and "
                f"{most} bytes, FCS included: the vSwitch, the first hop, carries an MTU of "
                f"{lab.dut.mtu} (`dut.mtu` in the lab)"
            )
        if size not in chosen:
            chosen.append(size)
    return tuple(chosen)


def profile(config: pytest.Config, lab: Lab) -> Profile:
    """The frames of each trial, beyond `frame_sizes`; see docs/profiles.md."""
    tags, vxlan = _vlans(config.getoption("vlan") or ""), config.getoption("vxlan")
    labels = _labels(config.getoption("mpls") or "")
    if vxlan is not None and not 0 <= vxlan <= overlay.MOST_VNI:
        raise InputError(f"--vxlan {vxlan}: give a VXLAN network identifier, 0 to 16777215")
    mix = config.getoption("imix")
    most = lab.dut.mtu + ETHERNET_BYTES
    sizes = imix.parse(mix, most) if mix else ()
    least = Profile(tags=tags, vxlan=vxlan, labels=labels).least_bytes
    for size in sizes:
        if not least <= size <= most:
            raise InputError(
                f"--imix {mix}: frames of {size} bytes; they must have {least} to {most}, FCS "
                f"{'and VLAN tags ' if tags else ''}{'and MPLS labels ' if labels else ''}"
                f"{'and VXLAN headers ' if vxlan is not None else ''}included: the vSwitch, the "
                f"first hop, carries an MTU of {lab.dut.mtu} (`dut.mtu` in the lab)"
            )
    for option in ("flows", "macs", "burst"):
        if config.getoption(option) < 1:
            raise InputError(f"--{option} {config.getoption(option)}: must be at least 1")
    file = config.getoption("pcap")
    flows, macs = config.getoption("flows"), config.getoption("macs")
    if file and (mix or tags or labels or vxlan is not None or max(flows, macs) > 1):
        raise InputError(f"--pcap {file}: its frames are as they are; --burst alone goes with it")
    replay = pcap.read(Path(config.invocation_params.dir, file), most) if file else None
    burst = config.getoption("burst")
    return Profile(sizes, flows, burst, tags, replay, vxlan, macs, labels=labels)


def _vlans(given: str) -> tuple[int, ...]:
    words = given.split(",") if given else []
    if len(words) > 2 or not all(word.isdecimal() and 0 < int(word) < 4095 for word in words):
        raise InputError(
            f"--vlan {given}: give a VLAN id from 1 to 4094, or the outer and the inner one with "
            "a comma (QinQ), e.g. 100,200"
        )
    return tuple(map(int, words))


def _labels(given: str) -> tuple[int, ...]:
    words = given.split(",") if given else []
    if len(words) > mpls.MOST or not all(
        word.isdecimal() and mpls.FIRST <= int(word) <= mpls.LAST for word in words
    ):
        raise InputError(
            f"--mpls {given}: give up to {mpls.MOST} MPLS labels from {mpls.FIRST} to {mpls.LAST}, "
            "the outermost first, e.g. 100,200"
        )
    return tuple(map(int, words))


def wait_s(config: pytest.Config) -> float:
    """How long to queue for a lab that is in use [s]."""
    return duration_s(config.getoption("wait"), "--wait")


def duration_s(given: str, option: str) -> float:
    """`90`, `90s`, `30m` or `2h` in seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", given.strip())
    if not found:
        raise InputError(f"{option} {given}: give a time, e.g. 90s, 30m or 2h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def plan(config: pytest.Config, frames: Profile) -> Plan:
    """What each case is measured with."""
    search = QUICK if config.getoption("quick") else SearchOptions()
    search = replace(search, search=config.getoption("search"))
    if (duration := config.getoption("trial_duration")) is not None:
        if duration == math.inf:
            raise InputError("--trial-duration inf: no trial would ever end; give seconds, e.g. 5")
        search = replace(search, trial_duration_s=duration)
    if (precision := config.getoption("precision")) is not None:
        search = replace(search, precision=precision)
    if (given := config.getoption("loss_ratio")) is not None:
        search = replace(search, goals=(NDR, *_partial_drop_rates(given)))
    if (repeats := config.getoption("repeat")) < 1:
        raise InputError(f"--repeat {repeats}: must be at least 1")
    rules = QUICK_RULES if config.getoption("quick") else Rules()
    if duration is not None:
        rules = replace(rules, trial_s=duration)
    soak = config.getoption("soak")
    soak_s = duration_s(soak, "--soak") if soak else 60.0 if config.getoption("quick") else 3600.0
    if not soak_s > 0:
        raise InputError(f"--soak {soak}: must be above 0, e.g. 30m or 8h")
    return Plan(search, repeats, rules, soak_s, frames)


def _partial_drop_rates(given: str) -> list[Goal]:
    """One goal of each loss ratio: PDR, which thresholds go by, PDR2, PDR3, ..."""
    ratios: list[float] = []
    for word in given.split(","):
        try:
            ratio = float(word)
        except ValueError:
            raise InputError(
                f"--loss-ratio {word!r}: give shares of frames, e.g. 0.005 or 0.005,0.001"
            ) from None
        if ratio not in ratios:
            ratios.append(ratio)
    return [Goal(f"PDR{place if place > 1 else ''}", r) for place, r in enumerate(ratios, 1)]


def history(config: pytest.Config, reports: Path) -> Path | None:
    """The directory of runs that searches learn from; None: they learn from nothing."""
    given: str = config.getoption("history")
    if given == "off":
        return None
    if given == "auto":
        return reports
    path = Path(config.invocation_params.dir, given).absolute()
    if not path.is_dir():
        raise InputError(f"--history {given}: give `auto`, `off`, or a directory of runs")
    return path


def baseline(config: pytest.Config, reports: Path, lab: str, run_id: str) -> Baseline | None:
    """What cases are held against; None without `--baseline`."""
    given: str | None = config.getoption("baseline")
    if given is None:
        return None
    from pytest_vswitch.results.compare.baseline import Baseline
    from pytest_vswitch.results.compare.opening import opened
    from pytest_vswitch.results.compare.sides import Where

    try:
        drop = percentage(config.getoption("baseline_drop"), "--baseline-drop")
        with opened(config.getoption("store", None), reports) as history:
            where = Where(history=history, reports=reports, lab=lab, but=run_id)
            return Baseline(given, where, drop)
    except VswitchError as error:  # nothing was started, whoever is at fault
        raise InputError(f"--baseline {given}: {error}") from None


def versions(config: pytest.Config, lab: Lab) -> tuple[Round, ...]:
    """What is compared, in the order in which each case is measured."""
    given: dict[str, list[str]] = {}
    for option in OPTIONS:
        words: list[str] = config.getoption(option) or []
        given[option] = [name for word in words for name in word.split(",")]
        for name in given[option]:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+~-]*", name):
                raise InputError(
                    f"--{option.replace('_', '-')} {name!r}: give a version (24.11), `system`, or "
                    "a name of `vswitch dpdk list`; a path gets its name in the lab file"
                )
    return rounds(lab, given, config.getoption("repeat"))


def topology(config: pytest.Config, known: Sequence[str]) -> str:
    """The topology that the fixture `wired` gives."""
    name: str = config.getoption("topology")
    if name not in known:
        raise InputError(f"--topology {name}: there are {', '.join(known)}")
    return name


def resumed(config: pytest.Config, reports: Path) -> Record | None:
    """The run of `--resume`, as far as it came."""
    given = config.getoption("resume")
    return None if given is None else run_directory.find(reports, given).read()
