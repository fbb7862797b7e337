"""DPDKs of a lab, with trees and programs that stand in for real ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.apps import dpdk, dpdk_trees, qemu_versions
from pytest_vswitch.apps.libraries import linked
from pytest_vswitch.errors import DutError, HostError, InputError
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.lab.schema import Lab
from tests.hosts.machine import machine

LOADER = '#!/bin/sh\nshift 2\nexec "$@"\n'
"""Stands in for a tree's own loader: called with `--library-path PATH PROGRAM ...`."""


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def testpmd(path: Path, version: str) -> Path:
    return program(path, f"#!/bin/sh\necho \"EAL: RTE Version: 'DPDK {version}'\"; exit 1\n")


testpmd.__test__ = False  # type: ignore[attr-defined]


def rootfs(root: Path, version: str) -> Path:
    libraries = root / "usr/lib/x86_64-linux-gnu"
    program(libraries / "ld-linux-x86-64.so.2", LOADER)
    (libraries / f"dpdk/pmds-{version}-x").mkdir(parents=True)
    testpmd(root / "usr/bin/dpdk-testpmd", version)
    return root


def lab(**sections: object) -> Lab:
    return Lab.model_validate(
        {"name": "x", "dut": {"host": "local"}, "ports": [{"kind": "memif"}], **sections}
    )


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHost]:
    """This machine, whose disk is always in order: a busy one takes minutes to be."""
    (tmp_path / "sync").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/sbin:/usr/bin:/bin")
    with machine(tmp_path) as here:
        yield here


@pytest.fixture
def place(host: LocalHost) -> Path:
    """A directory below which nobody else writes: EAL wants that of drivers."""
    path = Path(host.cache).parent / "mine"
    path.mkdir()
    return path


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests' directories are below /var/tmp, which everybody may write to."""
    monkeypatch.setattr("pytest_vswitch.apps.trees.refuse_writable", lambda host, path: None)


def added(host: LocalHost, name: str, version: str, qemu: str = "") -> Path:
    tree = Path(dpdk_trees.directory(host)) / name / "tree"
    rootfs(tree, version)
    tree.with_name("added.json").write_text(json.dumps({"version": version, "qemu": qemu}))
    return tree


def test_the_system_is_taken_as_it_is(host: LocalHost) -> None:
    found = dpdk.of_host(lab(), host)
    assert found.command == ("dpdk-testpmd",)
    assert not found.root


@pytest.mark.usefixtures("unwatched")
def test_a_rootfs_runs_with_its_own_loader(host: LocalHost, place: Path) -> None:
    root = rootfs(place / "old", "20.11.10")
    sections = {"dpdk": {"old": {"rootfs": str(root)}}, "guest": {"dpdk": "old"}}
    found = dpdk.of_peer(lab(**sections), host)
    libraries = f"{root}/usr/lib/x86_64-linux-gnu"
    drivers = f"{libraries}/dpdk/pmds-20.11.10-x"
    loader = f"{libraries}/ld-linux-x86-64.so.2"
    path = f"{libraries}:{drivers}"
    assert found.command == (loader, "--library-path", path, f"{root}/usr/bin/dpdk-testpmd")
    assert (found.version, found.drivers, found.root) == ("20.11.10", drivers, str(root))
    assert dpdk.of_host(lab(**sections), host).name == "system"


@pytest.mark.usefixtures("unwatched")
def test_a_prefix_runs_with_the_hosts_loader(host: LocalHost, place: Path) -> None:
    own = testpmd(place / "bin/dpdk-testpmd", "23.11")
    (place / "lib/x86_64-linux-gnu/dpdk/pmds-24.0").mkdir(parents=True)
    # The host's loader takes no script.
    own.write_bytes(Path(sys.executable).resolve().read_bytes())
    tree = dpdk.of_tree(host, "x", str(place), whole=False, version="23.11")
    assert tree.command[0].startswith(("/lib64/ld-linux", "/lib/ld-linux"))
    assert tree.drivers == f"{place}/lib/x86_64-linux-gnu/dpdk/pmds-24.0"
    assert any("/libc.so.6" in path for path in linked(host, [str(own)], tree.list_libraries))


def test_a_tree_that_everybody_may_write_to_is_refused(host: LocalHost, place: Path) -> None:
    root = rootfs(place, "24.11")
    with pytest.raises(InputError, match=r"everybody may write to /var/tmp, and EAL refuses"):
        dpdk.resolve(lab(dpdk={"new": {"rootfs": str(root)}}), host, "new")


@pytest.mark.usefixtures("unwatched")
def test_drivers_that_the_system_has_too_are_refused(
    host: LocalHost, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = rootfs(place, "22.11")
    exists = host.exists
    own = "/usr/lib/x86_64-linux-gnu/dpdk/pmds-22.11-x"
    monkeypatch.setattr(host, "exists", lambda path: path == own or exists(path))
    with pytest.raises(InputError, match="where the system has its own: it would take both"):
        dpdk.of_tree(host, "x", str(root), whole=True)


@pytest.mark.usefixtures("unwatched")
def test_a_version_or_a_release_names_what_was_added(host: LocalHost) -> None:
    added(host, "bullseye", "20.11.10")
    added(host, "trixie", "24.11.8")
    for name in ("20.11", "20.11.10", "bullseye"):
        assert dpdk.resolve(lab(), host, name).version == "20.11.10"
    assert [one.name for one in dpdk_trees.added(host)] == ["bullseye", "trixie"]


def test_the_systems_version_is_asked(host: LocalHost, place: Path) -> None:
    own = str(testpmd(place / "dpdk-testpmd", "22.11.11"))
    mine = lab(dut={"host": "local", "testpmd": own})
    found = dpdk.resolve(mine, host, "22.11")
    assert (found.command, found.version) == ((own,), "22.11.11")
    with pytest.raises(InputError, match=r"no DPDK `22.1`; there are system \(22.11.11\);"):
        dpdk.resolve(mine, host, "22.1")


@pytest.mark.usefixtures("unwatched")
def test_a_tree_that_does_not_start_is_told_in_its_words(host: LocalHost, place: Path) -> None:
    root = rootfs(place, "24.11")
    program(root / "usr/bin/dpdk-testpmd", "#!/bin/sh\necho no such instruction; exit 132\n")
    with pytest.raises(DutError, match="does not start; it says:\n    no such instruction"):
        dpdk.of_tree(host, "x", str(root), whole=True)


def test_what_is_no_tree_is_told(host: LocalHost, place: Path) -> None:
    with pytest.raises(InputError, match="there is no directory /nowhere"):
        dpdk.of_tree(host, "x", "/nowhere", whole=True)
    with pytest.raises(InputError, match="holds no system"):
        dpdk.of_tree(host, "x", str(place), whole=True)
    with pytest.raises(InputError, match="there is no testpmd in"):
        dpdk.of_tree(host, "x", str(place), whole=False)


HOOK = """#!/bin/sh
echo "$1" >> {log}
[ "$1" = bad ] && {{ echo "error: no such revision" >&2; touch "$2/half"; exit 3; }}
mkdir -p "$2/bin" && cp {testpmd} "$2/bin/dpdk-testpmd"
"""


@pytest.fixture
def hook(place: Path) -> list[str]:
    own = testpmd(place / "made", "25.03")
    return [str(program(place / "hook", HOOK.format(log=place / "log", testpmd=own))), "--release"]


def test_a_build_is_made_once(host: LocalHost, place: Path, hook: list[str]) -> None:
    program(
        Path(hook[0]),
        HOOK.format(log=place / "log", testpmd=place / "made").replace(
            "#!/bin/sh\n", "#!/bin/sh\nshift\n"
        ),
    )
    first = dpdk_trees.built(host, hook, "v25.03")
    assert dpdk_trees.built(host, hook, "v25.03") == first
    assert dpdk_trees.built(host, hook, "v25.07") != first
    assert (place / "log").read_text() == "v25.03\nv25.07\n"
    assert Path(first, "bin/dpdk-testpmd").exists()


def test_a_build_that_fails_leaves_nothing(host: LocalHost, hook: list[str]) -> None:
    with pytest.raises(HostError, match="no such revision"):
        dpdk_trees.built(host, hook[:1], "bad")
    assert not list(Path(host.cache, "dpdk-builds").iterdir())


def test_a_qemu_of_a_tree_is_one_word(host: LocalHost) -> None:
    tree = added(host, "trixie", "24.11.8", qemu="10.0.13")
    program(
        tree / "usr/bin/qemu-system-x86_64",
        '#!/bin/sh\necho "QEMU emulator version 10.0.13 $*"\n',
    )
    (tree / "usr/share/qemu").mkdir(parents=True)
    for name in ("10.0", "trixie"):
        path = qemu_versions.program(lab(guest={"qemu": name}), host)
        said = host.run([path, "--version", "a b"]).output
        assert said == f"QEMU emulator version 10.0.13 -L {tree}/usr/share/qemu --version a b\n"
    with pytest.raises(InputError, match=r"no QEMU `9.9`; .*trixie \(10.0.13\)"):
        qemu_versions.program(lab(guest={"qemu": "9.9"}), host)


def test_a_qemu_on_the_path_is_left_alone(host: LocalHost) -> None:
    assert qemu_versions.program(lab(), host) == "qemu-system-x86_64"
    assert qemu_versions.program(lab(guest={"qemu": "/opt/qemu"}), host) == "/opt/qemu"
