"""Network namespaces are made, and gone again, whenever their maker dies."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import changes, shell_script
from pytest_vswitch.hosts.change import Change
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.undo import undo, undo_all
from tests.hosts.crash import journal

NAME = f"vswitch-test-{os.getpid()}"
PLACE = Path("/run/netns", NAME)


def test_a_namespace_is_made_and_gone(host: LocalHost) -> None:
    with changes.namespace(host, NAME):
        up = host.run(["ip", "-n", NAME, "link", "show", "dev", "lo"]).output
        assert "UP" in up
        with (
            pytest.raises(HostError, match=f"there is a network namespace {NAME} already"),
            changes.namespace(host, NAME),
        ):
            pytest.fail("made")
        assert PLACE.exists()
    assert not PLACE.exists()


def test_what_is_in_it_goes_with_it(host: LocalHost) -> None:
    with changes.namespace(host, NAME):
        host.run(["ip", "-n", NAME, "tuntap", "add", "dev", "tap0", "mode", "tap"])
        host.run(["ip", "-n", NAME, "link", "add", "veth0", "type", "veth", "peer", "veth1"])
    assert not PLACE.exists()


def test_a_dead_run_s_namespace_is_deleted(host: LocalHost) -> None:
    """Steps: it is in the journal, and was made; or was not, or is deleted by hand."""
    journal(host).note(Change("namespace", NAME))
    subprocess.run(["ip", "netns", "add", NAME], check=True)
    outcome = undo_all(journal(host), rebooted=False)
    assert outcome.undone == (Change("namespace", NAME),)
    assert not PLACE.exists()
    assert undo(Change("namespace", NAME)) == ""


def test_a_plan_deletes_it() -> None:
    text = shell_script.undone(Change("namespace", "vswitch-1-pmd"))
    assert text == "ip netns delete vswitch-1-pmd"
