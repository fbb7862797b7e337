"""Adding and removing DPDKs, with a program that stands in for mmdebstrap."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.apps import dpdk_trees
from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts.local import LocalHost
from tests.hosts.machine import machine

MMDEBSTRAP = """#!/bin/sh
echo "$*" >> {log}
for tree; do case "$tree" in /*/tree) break;; esac; done
mkdir -p "$tree/usr/bin"
echo half > "$tree/usr/bin/half"
{then}
"""
GONE = """case "$*" in *" main"*) exit 0;; esac
echo "E: Failed to fetch http://x/y.deb  404  Not Found" >&2; exit 25"""


@pytest.fixture
def mmdebstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in, which does what is written into it; its log is beside it."""
    path = tmp_path / "bin/mmdebstrap"
    path.parent.mkdir()
    path.with_name("sync").symlink_to("/bin/true")  # a busy disk takes minutes
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")
    write(path)
    return path


@pytest.fixture
def host(mmdebstrap: Path, tmp_path: Path) -> Iterator[LocalHost]:
    """This machine, whose PATH begins with the stand-in's directory."""
    with machine(tmp_path) as here:
        yield here


def write(path: Path, then: str = "") -> None:
    path.write_text(MMDEBSTRAP.format(log=path.with_name("log"), then=then))
    path.chmod(0o755)


def versions(root: str) -> tuple[str, str]:
    assert Path(root, "usr/bin").is_dir()
    return "24.11.8", ""


def there(host: LocalHost) -> list[str]:
    return sorted(path.name for path in Path(dpdk_trees.directory(host)).iterdir())


def test_add_list_remove(host: LocalHost, mmdebstrap: Path) -> None:
    made = dpdk_trees.add(host, "trixie", versions, qemu=True)
    assert made.root == f"{host.cache}/dpdk/trixie/tree"
    assert dpdk_trees.added(host) == [made]
    assert "--include=dpdk,dpdk-dev,qemu-system-x86" in mmdebstrap.with_name("log").read_text()
    with pytest.raises(InputError, match="trixie is there"):
        dpdk_trees.add(host, "trixie", versions)
    with pytest.raises(InputError, match="no DPDK `sid` was added; there is trixie"):
        dpdk_trees.remove(host, "sid")
    dpdk_trees.remove(host, "trixie")
    assert there(host) == []


def test_what_is_interrupted_leaves_nothing(host: LocalHost, mmdebstrap: Path) -> None:
    write(mmdebstrap, "echo 'E: no space left on device' >&2; exit 1")
    with pytest.raises(HostError, match="no space left"):
        dpdk_trees.add(host, "trixie", versions)
    assert there(host) == []
    write(mmdebstrap)

    def broken(root: str) -> tuple[str, str]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dpdk_trees.add(host, "trixie", broken)
    assert there(host) == []


def test_what_was_killed_is_no_dpdk(host: LocalHost, mmdebstrap: Path) -> None:
    killed = Path(dpdk_trees.directory(host), ".trixie.part/tree")
    killed.mkdir(parents=True)
    (killed / "half").touch()
    assert dpdk_trees.added(host) == []
    made = dpdk_trees.add(host, "trixie", versions)
    assert not Path(made.root, "half").exists()
    assert there(host) == ["trixie"]


def test_a_directory_of_somebody_elses_is_none(host: LocalHost) -> None:
    for name, text in (("a", "{"), ("b", "[]"), ("c", "{}")):
        path = Path(dpdk_trees.directory(host), name, "added.json")
        path.parent.mkdir(parents=True)
        path.write_text(text)
    assert dpdk_trees.added(host) == []


def test_a_release_whose_updates_vanished(host: LocalHost, mmdebstrap: Path) -> None:
    write(mmdebstrap, GONE)
    told: list[str] = []
    dpdk_trees.add(host, "bullseye", versions, tell=told.append)
    first, second = mmdebstrap.with_name("log").read_text().splitlines()
    assert first.endswith("/tree")
    assert second.endswith(" bullseye main")
    assert " deb http" in second
    assert "not all updates of bullseye can be had" in told[-1]


def test_what_cannot_be_added(host: LocalHost, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no Debian release `jessie`; give bullseye,"):
        dpdk_trees.add(host, "jessie", versions)
    monkeypatch.setattr(host, "which", lambda program: None)
    with pytest.raises(InputError, match="apt-get install mmdebstrap"):
        dpdk_trees.add(host, "trixie", versions)
