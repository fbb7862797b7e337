"""How a bisect builds a revision, and how it gets a value of it."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts.host import Completed, Host
from pytest_vswitch.lab import loader
from pytest_vswitch.lab.document import read_text
from pytest_vswitch.results import run_directory
from pytest_vswitch.results.bisect import history
from pytest_vswitch.results.bisect.history import Revision
from pytest_vswitch.results.bisect.state import State
from pytest_vswitch.results.record import Record
from pytest_vswitch.results.sample import comparable, samples

LAST_LINES = 5
"""Of a command's output: what is told when it failed."""


class Failed(Exception):
    """A revision could not be built or measured; the text says why."""


class Measurement(Protocol):
    """One way to get a value of a revision."""

    def __call__(self, host: Host, revision: Revision, prefix: Path | None) -> float:
        """Raises Failed when there is none, InputError when there never can be one."""


@dataclass(frozen=True, slots=True)
class Build:
    """The user's command; the revision and the directory to install into are added."""

    command: Sequence[str]
    timeout_s: float

    def __call__(self, host: Host, state: State, revision: Revision) -> Path:
        """The directory; built there once. Raises Failed, and HostError if git fails."""
        prefix = state.prefix(revision.hash)
        done = prefix.with_name(f"{prefix.name}.built")
        if done.exists():
            return prefix
        history.check_out(host, state.source, revision)
        prefix.parent.mkdir(exist_ok=True)
        command = ["env", "-C", str(state.source), *self.command, revision.hash, str(prefix)]
        ended = _run(host, command, self.timeout_s, f"build {revision}")
        if ended.status:
            raise Failed(f"does not build: {_last_words(ended)}")
        if not prefix.is_dir():
            raise Failed(f"its build ended well and left no {prefix}")
        done.touch()
        return prefix


@dataclass(frozen=True, slots=True)
class Command:
    """The user's measuring command; the revision and the directory of its build are added."""

    command: Sequence[str]
    timeout_s: float

    def __call__(self, host: Host, revision: Revision, prefix: Path | None) -> float:
        words = [*self.command, revision.hash, *([str(prefix)] if prefix else [])]
        ended = _run(host, words, self.timeout_s, f"measure {revision}")
        if ended.status:
            raise Failed(f"is not measured: {_last_words(ended)}")
        for line in reversed(ended.output.splitlines()):
            try:
                value = float(line)
            except ValueError:
                continue
            if math.isfinite(value) and value >= 0:
                return value
        raise Failed(
            f"is not measured: `{shlex.join(self.command)}` printed no line with a number: "
            f"{_last_words(ended)}"
        )


@dataclass(frozen=True, slots=True)
class Run:
    """One case of one pytest run against a lab."""

    state: State
    lab: str
    case: str
    metric: str
    pytest: Sequence[str]
    """What it is given beside the lab: a suite, the case's parameters."""
    dpdk: str
    """The lab's DPDK whose `build` is asked for each revision; empty: a prefix is there."""
    wait: str
    timeout_s: float
    options: Sequence[str] = field(default=("-q", "-p", "no:cacheprovider"))

    def __call__(self, host: Host, revision: Revision, prefix: Path | None) -> float:
        reports = self.state.reports
        reports.mkdir(exist_ok=True)
        before = set(run_directory.list_runs(reports))
        lab = derived_lab(self.lab, self.state.directory / "lab", revision, prefix, self.dpdk)
        command = [sys.executable, "-m", "pytest", *self.pytest, "--dut", str(lab)]
        command += ["--reports", str(reports), "--wait", self.wait, *self.options]
        ended = _run(host, command, self.timeout_s, f"measure {revision}")
        made = [run for run in run_directory.list_runs(reports) if run not in before]
        if ended.status not in (0, 1) or not made:
            raise Failed(f"is not measured: {_last_words(ended)}")
        return value_of(run_directory.find(reports, made[-1]).read(), self.case, self.metric)


def value_of(record: Record, case: str, metric: str) -> float:
    """Raises Failed when the case ended with an error, InputError when there is no such number."""
    mine = [one for one in record.cases if comparable(one) == case]
    if not mine:
        there = ", ".join(sorted({comparable(one) for one in record.cases}))
        raise InputError(f"--case {case}: the run has {there or 'no case'}")
    if errors := [one.error for one in mine if one.verdict == "error"]:
        raise Failed(f"is not measured: {errors[0]}")
    values = {sample.metric: sample.value for sample in samples(record) if sample.case == case}
    if metric not in values:
        there = ", ".join(values) or "no value"
        raise InputError(f"--metric {metric}: the case {case} has {there}")
    return values[metric]


def derived_lab(
    lab: str, directory: Path, revision: Revision, prefix: Path | None, dpdk: str
) -> Path:
    """A lab file of the same name that certifies the revision. Raises InputError."""
    from ruamel.yaml import YAML

    path = loader.find(lab, loader.search_path())
    loader.load(str(path))
    document = YAML(typ="safe").load(read_text(path))
    versions = document.setdefault("dpdk", {})
    if dpdk:
        if "build" not in versions.get(dpdk, {}):
            raise InputError(f"--dpdk {dpdk}: {path} has no `dpdk: {dpdk}:` with a `build`")
        versions[dpdk]["revision"] = revision.hash
    elif prefix:
        dpdk = "bisect"
        versions[dpdk] = {"prefix": str(prefix.resolve())}
    if dpdk:
        document["dut"]["dpdk"] = dpdk
    directory.mkdir(exist_ok=True)
    derived = directory / path.name
    derived.write_text(json.dumps(document, indent=2))
    loader.load(str(derived))
    return derived


def pytest_of(case: str) -> list[str]:
    """What measures a case of the suites, by its id: `pvp:frame_bytes=64`. Raises InputError."""
    suite, _, words = case.partition(":")
    parameters = dict(word.partition("=")[::2] for word in words.split(",") if word)
    size = parameters.pop("frame_bytes", None)
    if parameters or not suite:
        told = ", ".join(parameters) or "no suite"
        raise InputError(
            f"--case {case}: has {told}: say with `--pytest` what to give to pytest for it, e.g. "
            f"`--pytest 'suites/{suite or 'pvp'} --frame-size 64 -k throughput'`"
        )
    return [f"suites/{suite}", *(["--frame-size", size] if size else [])]


def _run(host: Host, command: Sequence[str], timeout_s: float, why: str) -> Completed:
    """Raises Failed when it takes too long."""
    # It is not to go on when the bisect is killed.
    tied = ["setpriv", "--pdeathsig", "TERM", "--", *command]
    try:
        return host.run(tied, timeout_s=timeout_s, check=False, why=why)
    except HostError as error:
        raise Failed(str(error)) from None


def _last_words(ended: Completed) -> str:
    lines = [line.strip() for line in ended.output.splitlines() if line.strip()]
    status = f"exit status {ended.status}" if ended.status >= 0 else f"signal {-ended.status}"
    return f"{status}: " + " / ".join(lines[-LAST_LINES:])[-500:]
