"""`vswitch lab status` and `vswitch lab release`: who holds a lab, and taking it from them."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_vswitch import cli
from pytest_vswitch.errors import ReservationLost
from pytest_vswitch.hosts import leftovers, open_host, reservation
from tests.hosts.holders import _brisk, here, hold, holders, start, state, waiting
from tests.hosts.machine import DEADLINE_S, running, wait_until

__all__ = ["_brisk", "start", "state"]


@pytest.fixture
def lab(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A lab of this machine with the test's own state."""
    monkeypatch.setattr(reservation, "STATE", state)
    path = tmp_path / "lab.yaml"
    path.write_text("dut: {host: local}\nports: [{kind: memif}, {kind: memif}]\n")
    return str(path)


def test_lab_status(
    lab: str, state: Path, start: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["lab", "status", lab]) == 0
    assert capsys.readouterr().out == "local (dut): free\n"
    pid = start(hold, "holder", state)
    wait_until(lambda: holders(state) == ["holder"], "the holder")
    for name in ("first", "second"):
        start(hold, name, state, 3600)
        wait_until(lambda: waiting(state)[-1:] == [name], "its place")  # noqa: B023
    reservation.evict(state, "holder", by="eve@there", force=False)
    assert cli.main(["lab", "status", lab]) == 0
    who = open_host.whoami()
    assert re.fullmatch(
        rf"local \(dut\): in use by run holder of {who} \(pid {pid} there, since \S+: `.*`\)\n"
        rf"  told to leave by eve@there\n"
        rf"  1\. in the queue: run first of {who}\n"
        rf"  2\. in the queue: run second of {who}\n",
        capsys.readouterr().out,
    )
    assert cli.main(["lab", "status", lab, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["hosts"][0]
    assert [owner["claimant"]["run"] for owner in told["held_by"]] == ["holder"]
    assert [claimant["run"] for claimant in told["waiting"]] == ["first", "second"]


def test_lab_release_waits_for_the_run_to_leave(
    lab: str, state: Path, start: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    def measure() -> None:
        with here("holder", state) as host:
            try:
                while True:
                    host.check_reserved()  # as before each trial
                    time.sleep(0.01)
            except ReservationLost as lost:
                (state.parent / "words").write_text(str(lost))

    start(measure)
    wait_until(lambda: holders(state) == ["holder"], "the holder")
    assert cli.main(["lab", "release", lab]) == 0
    assert holders(state) == []
    who = open_host.whoami()
    assert (state.parent / "words").read_text() == f"local was taken from this run, by {who}"
    out, err = capsys.readouterr()
    assert out == f"local: released by run holder of {who}\n"
    assert err == "local: waiting for run holder to leave\n"
    assert cli.main(["lab", "release", lab]) == 0
    assert capsys.readouterr().out == "local: free\n"


@pytest.mark.parametrize("obeys", [True, False], ids=["obeys", "ignores-it"])
def test_lab_release_by_force(
    lab: str,
    state: Path,
    start: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    obeys: bool,
) -> None:
    def stay() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if obeys else signal.SIG_IGN)
        hold("holder", state)

    monkeypatch.setattr(reservation, "LEAVE_S", DEADLINE_S if obeys else 0.1)
    pid = start(stay)
    wait_until(lambda: holders(state) == ["holder"], "the holder")
    assert cli.main(["lab", "release", lab, "--force"]) == 0
    assert not running(pid)
    assert capsys.readouterr().out.startswith("local: released by run holder of ")
    assert [left.run for left in leftovers.find(state)] == ["holder"]  # for who comes next
