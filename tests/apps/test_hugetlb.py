"""Limits of hugepages by control group: where they are, what they say, and that they hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_vswitch.apps import hugetlb
from pytest_vswitch.apps.hugetlb import Hierarchy
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.undo import Change, undo

V1 = Hierarchy("/sys/fs/cgroup/hugetlb", "limit_in_bytes", "usage_in_bytes")


class Elsewhere(LocalHost):
    """A machine with some files."""

    files: dict[str, str] = {}  # noqa: RUF012

    def read_text(self, path: str) -> str:
        if path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path]

    def exists(self, path: str) -> bool:
        return path in self.files


@pytest.fixture
def elsewhere(host: LocalHost) -> Elsewhere:
    other = object.__new__(Elsewhere)
    other.__dict__.update(host.__dict__)
    return other


TOP = "/sys/fs/cgroup"


@pytest.mark.parametrize(
    ("files", "tree"),
    [
        ({f"{TOP}/cgroup.controllers": "cpu hugetlb\n"}, Hierarchy(TOP, "max", "current")),
        (
            {f"{TOP}/unified/cgroup.controllers": "hugetlb\n"},
            Hierarchy(f"{TOP}/unified", "max", "current"),
        ),
        ({f"{TOP}/hugetlb/cgroup.procs": "", f"{TOP}/unified/cgroup.controllers": "\n"}, V1),
        ({f"{TOP}/cgroup.controllers": "cpu memory\n"}, None),
        ({}, None),
    ],
)
def test_the_tree_that_counts_hugepages_is_found(
    elsewhere: Elsewhere, files: dict[str, str], tree: Hierarchy | None
) -> None:
    elsewhere.files = files
    assert hugetlb.find(elsewhere) == tree


@pytest.mark.parametrize(
    ("tree", "most", "limit"),
    [
        (Hierarchy(TOP, "max", "current"), "268435456\n", 268435456),
        (Hierarchy(TOP, "max", "current"), "max\n", None),
        (V1, "2097152\n", 2097152),
        (V1, "9223372036852678656\n", None),
    ],
)
def test_a_limit_is_read(
    elsewhere: Elsewhere, tree: Hierarchy, most: str, limit: int | None
) -> None:
    limits, used = tree.files("g", 2048)
    elsewhere.files = {limits: most, used: "4194304\n"}
    assert hugetlb.read(elsewhere, tree, "g", 2048) == (limit, 4 << 20)


def test_groups_have_limits_for_a_while(host: LocalHost) -> None:
    """Steps: have hugepages counted by group; make a group with a limit; end both.

    Verify: the kernel says what it was told; then all is as it was.
    """
    before = _delegated()
    name = f"vswitch-test-{os.getpid()}"
    with hugetlb.counting(host) as tree:
        assert tree
        with host.changing(Change("containers", f"{host.scratch}/none", after=name)):
            hugetlb.limit(host, tree, name, 2048, 64)
            assert hugetlb.read(host, tree, name, 2048) == (64 << 20, 0)
    assert _delegated() == before
    assert not list(Path(TOP).rglob(name))


def test_a_controller_that_others_want_is_left_on(host: LocalHost) -> None:
    """Steps: switch the controller on, and on in a group of somebody else's; undo the first.

    Verify: it is left on, without an error; it is off when the other is gone.
    """
    tree = hugetlb.find(host)
    assert tree
    other = Path(tree.path, f"vswitch-other-{os.getpid()}")
    change = Change("delegated", f"{tree.path}/cgroup.subtree_control", after="hugetlb")
    before = _delegated()
    with hugetlb.counting(host):
        other.mkdir()
        try:
            (other / "cgroup.subtree_control").write_text("+hugetlb")
            undo(change)
            assert "hugetlb" in _delegated()
        finally:
            other.rmdir()
    assert _delegated() == before


def _delegated() -> list[str]:
    tops = [path for path in (Path(TOP), Path(TOP, "unified")) if (path / "cgroup.procs").exists()]
    return [word for top in tops for word in (top / "cgroup.subtree_control").read_text().split()]
