"""`kill -9` at every single step of bringing a topology up and taking it down again."""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from pytest_vswitch.hosts.opening import open_address
from tests.system.machine import Machine, processes, wait_until
from tests.system.session import environment

MORTAL = """
import os, signal, sys
from pathlib import Path

from pytest_vswitch import registry
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.lab import loader

name, run, last, logs = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
STEPS = {"claim", "note", "spawn", "write", "undo", "release"}


class Mortal:
    # The engine of a run that is killed before its step number `last`.
    def __init__(self, engine):
        self.engine, self.steps = engine, 0

    def __getattr__(self, name):
        found = getattr(self.engine, name)
        if name not in STEPS and name != "run":
            return found

        def step(*arguments, **options):
            if name in STEPS or arguments[0][0] in ("ln", "mkdir", "rm", "mv", "taskset"):
                if self.steps == last:
                    print("killed before", name, *map(repr, arguments[:1]), flush=True)
                    os.kill(os.getpid(), signal.SIGKILL)
                self.steps += 1
            return found(*arguments, **options)

        return step


host = LocalHost(run, Transcript(logs))
host.engine = engine = Mortal(host.engine)
with host, registry.topology(name).provision(loader.load("local"), host):
    engine.up = engine.steps
print(engine.up, engine.steps)
"""


def bring_up(topology: str, run: str, last: int, logs: Path) -> subprocess.CompletedProcess[str]:
    """Bring it up and take it down, and be killed before step number `last`."""
    logs.mkdir()
    argv = [sys.executable, "-c", MORTAL, topology, run, str(last), str(logs)]
    return subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=300)


def _gone(run: str) -> bool:
    return not processes(run)


@pytest.mark.parametrize("topology", ["pvp", "container"])
def test_a_run_killed_before_any_step_is_undone(
    tmp_path: Path, machine: Machine, topology: str
) -> None:
    """Steps: bring a topology up and down to count its steps; then, for each step, kill it just
    before that step, and clean up as `vswitch doctor local --clean` does.

    Verify: nothing of it is left, each time: process, file, socket, mount, hugepage.
    """
    whole = bring_up(topology, "every-step", -1, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    up, steps = map(int, whole.stdout.split())
    assert 10 < up < steps
    for last in range(steps):
        run = f"every-step-{last}"
        died = bring_up(topology, run, last, tmp_path / run)
        assert died.returncode == -signal.SIGKILL, died.stderr
        wait_until(partial(_gone, run), f"the end of its programs: {died.stdout}")
        with open_address("local") as host:
            for left in host.engine.leftovers():
                assert host.engine.clean(left.run) == [], died.stdout
        assert machine.traces(run) == [], died.stdout
