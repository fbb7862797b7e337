"""Filters and features of network cards are undone, by a run and by its plan's script alike."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pytest_vswitch.hosts import shell_script
from pytest_vswitch.hosts.shell_script import Script, Step
from pytest_vswitch.hosts.undo import Change, undo
from tests.hosts.machine import DEADLINE_S

IP = """\
#!/bin/sh
echo "ip $*" >>"$STATE/said"
case "$*" in
"netns exec pf "*) shift 3; exec "$@" ;;
"link show dev eth1") test -e "$STATE/eth1" ;;
*) exit 1 ;;
esac
"""
ETHTOOL = """\
#!/bin/sh
echo "ethtool $*" >>"$STATE/said"
case "$1 $2 $3" in
"-n eth1 rule") test -e "$STATE/rule$4" ;;
"-N eth1 delete") test ! -e "$STATE/stuck" && rm "$STATE/rule$4" ;;
"-K eth1 ntuple") echo "$4" >"$STATE/ntuple" ;;
*) exit 1 ;;
esac || { echo "rmgr: Cannot delete RX class rule: Device or resource busy"; exit 1; }
"""


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A card's state as files, and an `ip` and `ethtool` that change them."""
    state = tmp_path / "state"
    state.mkdir()
    (tmp_path / "bin").mkdir()
    for name, text in (("ip", IP), ("ethtool", ETHTOOL)):
        program = tmp_path / "bin" / name
        program.write_text(text)
        program.chmod(0o755)
    for name in ("eth1", "rule7", "rule8", "ntuple"):
        (state / name).write_text("on\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("STATE", str(state))
    return state


def by_script(change: Change) -> None:
    line = shell_script.undone(change)
    script = Script("A test's.", "here", "/nowhere", undo=[Step(line)])
    words = script.text().split("\nup() {")[0].split("run=/nowhere\n")[1]
    subprocess.run(
        ["bash", "-eu", "-c", f"{words}\n{line}\n{line}"], check=True, timeout=DEADLINE_S
    )


def by_run(change: Change) -> None:
    assert undo(change) == ""
    assert undo(change) == ""


UNDO = pytest.mark.parametrize("undoing", [by_run, by_script])
SPACE = pytest.mark.parametrize("space", ["", "pf"])


@UNDO
@SPACE
def test_a_filter_goes_and_no_other(card: Path, undoing: object, space: str) -> None:
    assert callable(undoing)
    undoing(Change("filtered", f"{space} eth1 7"))
    assert not (card / "rule7").exists()
    assert (card / "rule8").exists()
    in_space = "ip netns exec pf ethtool -N eth1 delete 7" in (card / "said").read_text()
    assert in_space == (space == "pf")


@UNDO
@SPACE
def test_a_feature_is_as_it_was(card: Path, undoing: object, space: str) -> None:
    assert callable(undoing)
    undoing(Change("feature", f"{space} eth1 ntuple", "off", "on"))
    assert (card / "ntuple").read_text() == "off\n"


def test_an_interface_that_is_gone_is_as_good_as_undone(card: Path) -> None:
    (card / "eth1").unlink()
    by_run(Change("filtered", " eth1 7"))
    by_run(Change("feature", "pf eth1 ntuple", "off", "on"))
    assert (card / "rule7").exists()


def test_a_filter_that_stays_is_told(card: Path) -> None:
    (card / "stuck").touch()
    with pytest.raises(OSError, match=r"Device or resource busy.*filter 7 of eth1"):
        undo(Change("filtered", " eth1 7"))
