"""Interfaces and mounts are made, and gone again, whenever their maker dies."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
from pathlib import Path

import pytest

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import changes
from pytest_vswitch.hosts.change import Change
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.undo import Outcome, undo_all
from pytest_vswitch.hosts.undo_files import mounted
from tests.hosts.crash import Trial, in_namespaces, journal, snapshot

# --- interfaces ---


def interfaces() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


@in_namespaces
def test_interfaces_are_made_and_gone(host: LocalHost) -> None:
    before = interfaces()
    with (
        changes.interface(host, "br0", "bridge"),
        changes.interface(host, "v0", "veth", ["peer", "name", "v1"]),
    ):
        assert interfaces() - before == {"br0", "v0", "v1"}
        with (
            pytest.raises(HostError, match="there is an interface br0 already"),
            changes.interface(host, "br0", "bridge"),
        ):
            pytest.fail("made")
    assert interfaces() == before


@in_namespaces
def test_an_interface_with_another_name_is_still_ours(host: LocalHost) -> None:
    with changes.interface(host, "br0", "bridge"):
        subprocess.run(["ip", "link", "set", "dev", "br0", "name", "br1"], check=True)
        subprocess.run(["ip", "link", "add", "name", "br0", "type", "bridge"], check=True)
    assert interfaces() == {"lo", "br0"}


@in_namespaces
def test_an_interface_of_others_with_the_same_name_is_left(host: LocalHost) -> None:
    with changes.interface(host, "br0", "bridge"):
        index = socket.if_nametoindex("br0")
        subprocess.run(["ip", "link", "delete", "dev", "br0"], check=True)
        subprocess.run(["ip", "link", "add", "name", "br0", "type", "bridge"], check=True)
        assert undo_all(journal(host), rebooted=False).remarks == (
            f"br0 was not there, we made it interface {index}, "
            f"now it is interface {socket.if_nametoindex('br0')}: left as it is",
        )
    assert interfaces() == {"lo", "br0"}


@in_namespaces
def test_an_interface_that_cannot_be_deleted_stays_known(host: LocalHost) -> None:
    journal(host).note(Change("linked", "lo"))
    outcome = undo_all(journal(host), rebooted=False)
    assert len(outcome.stuck) == 1
    assert outcome.stuck[0].startswith("lo (linked): [Errno 5] ")
    assert journal(host).pending() == [Change("linked", "lo")]
    journal(host).strike(Change("linked", "lo"))


@in_namespaces
def test_interfaces_survive_any_death(survives_all_deaths: Trial, host: LocalHost) -> None:
    def scenario() -> None:
        with changes.interface(host, "br0", "bridge"):
            pass

    survives_all_deaths(scenario, interfaces, least=20)


# --- mounts ---


def targets(place: Path) -> list[tuple[str, str]]:
    """What is mounted below; elsewhere it may change at any time."""
    below = [mount for mount in mounted() if Path(mount.target).is_relative_to(place)]
    return [(mount.target, mount.source) for mount in below]


@in_namespaces
def test_file_systems_are_mounted_and_gone(host: LocalHost, place: Path) -> None:
    before = targets(place)
    odd = place / "a b\\c\nd ü"
    odd.mkdir()
    with (
        changes.mounting(host, "vswitch pages", str(place / "empty"), "tmpfs", "size=1m"),
        changes.mounting(host, str(place), str(odd), "bind"),
    ):
        assert (str(place / "empty"), "vswitch pages") in targets(place)
        assert (odd / "link").read_bytes() == (place / "file").read_bytes()
    assert targets(place) == before


@in_namespaces
def test_what_others_mounted_is_left(host: LocalHost, place: Path) -> None:
    there = str(place / "empty")
    subprocess.run(["mount", "-t", "tmpfs", "same", there], check=True)
    before = targets(place)
    with changes.mounting(host, "same", there, "tmpfs"):  # over it
        pass
    assert targets(place) == before
    with changes.mounting(host, "ours", there, "tmpfs"):
        subprocess.run(["umount", there], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "theirs", there], check=True)
        assert undo_all(journal(host), rebooted=False).remarks == (
            f"{there} was not mounted, we made it tmpfs ours, now it is tmpfs theirs: "
            "left as it is",
        )
    assert (there, "theirs") in targets(place)


@in_namespaces
def test_a_mount_below_anothers_waits_for_it(host: LocalHost, place: Path) -> None:
    there = str(place / "empty")
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.raises(HostError, match="tmpfs theirs is mounted over it"))
        stack.enter_context(changes.mounting(host, "ours", there, "tmpfs"))
        subprocess.run(["mount", "-t", "tmpfs", "theirs", there], check=True)
    subprocess.run(["umount", there], check=True)
    assert undo_all(journal(host), rebooted=False) == Outcome(
        (Change("mounted", there, "0", "tmpfs ours"),), (), ()
    )
    assert (there, "ours") not in targets(place)


@in_namespaces
def test_a_mount_in_use_is_detached_and_told(host: LocalHost, place: Path) -> None:
    before = targets(place)
    with changes.mounting(host, "ours", str(place / "empty"), "tmpfs"):
        (place / "empty/held").touch()
        with open(place / "empty/held"):
            [remark] = undo_all(journal(host), rebooted=False).remarks
    assert remark.startswith(f"{place}/empty is in use (umount: {place}/empty: target is busy")
    assert remark.endswith("): detached, gone when that ends")
    assert targets(place) == before


@in_namespaces
def test_what_is_mounted_in_a_directory_of_ours_is_not_removed(
    host: LocalHost, place: Path
) -> None:
    kept = place / "file"
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.raises(HostError, match=r"is mounted at .*/ours/below"))
        stack.enter_context(changes.making_directory(host, str(place / "ours")))
        (place / "ours/below").mkdir()
        subprocess.run(["mount", "--bind", place, place / "ours/below"], check=True)
    assert kept.exists()
    subprocess.run(["umount", place / "ours/below"], check=True)
    assert undo_all(journal(host), rebooted=False).stuck == ()
    assert kept.exists()
    assert not (place / "ours").exists()


@in_namespaces
def test_mounts_survive_any_death(survives_all_deaths: Trial, host: LocalHost, place: Path) -> None:
    def scenario() -> None:
        with (
            changes.mounting(host, "ours", str(place / "empty"), "tmpfs"),
            changes.making_directory(host, str(place / "empty/on it")),
            changes.mounting(host, str(place), str(place / "empty/on it"), "bind"),
        ):
            pass

    survives_all_deaths(scenario, lambda: (targets(place), snapshot(place)), least=60)


@in_namespaces
def test_a_mount_that_fails_leaves_nothing(host: LocalHost, place: Path) -> None:
    before = targets(place)
    with (
        pytest.raises(HostError, match=r"mount.*failed"),
        changes.mounting(host, "x", str(place / "empty"), "nofs"),
    ):
        pytest.fail("mounted")
    with (
        pytest.raises(HostError, match=f"cannot mount at .*: {os.strerror(errno.ENOENT)}"),
        changes.mounting(host, "x", str(place / "none"), "tmpfs"),
    ):
        pytest.fail("mounted")
    assert targets(place) == before
