"""Files and settings of a kernel are changed, and put back, whenever their changer dies."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import changes
from pytest_vswitch.hosts.local import LocalHost
from tests.hosts.crash import Trial, fill, in_namespaces, journal, snapshot
from tests.hosts.pci import Kernel


def test_a_file_is_rewritten_and_as_before(host: LocalHost, place: Path) -> None:
    before = snapshot(place)
    with changes.rewriting(host, str(place / "link"), "new") as now:
        assert now == (place / "file").read_text() == "new"
        assert (place / "link").is_symlink()
    assert snapshot(place) == before


@pytest.mark.parametrize("data", [b"", b"\0\xff\n", b"x" * (1 << 20)])
@pytest.mark.parametrize("name", ["file", "link", "new", "new\n ü $(x)"])
def test_a_file_is_written_and_as_before(
    host: LocalHost, place: Path, data: bytes, name: str
) -> None:
    before = snapshot(place)
    with changes.writing_file(host, str(place / name), data):
        assert (place / name).read_bytes() == data
    assert snapshot(place) == before


def test_what_is_made_is_removed(host: LocalHost, place: Path) -> None:
    before = snapshot(place)
    with changes.making_directory(host, str(place / "d")), changes.making(host, f"{place}/x"):
        (place / "d/below").mkdir()
        (place / "x").symlink_to(place)
    assert snapshot(place) == before


def test_what_is_there_already_is_not_made(host: LocalHost, place: Path) -> None:
    with (
        pytest.raises(HostError, match=r"local: .*/link is there already"),
        changes.making(host, str(place / "link")),
    ):
        pytest.fail("made")


def test_a_file_too_large_for_the_journal_is_not_rewritten(host: LocalHost, place: Path) -> None:
    (place / "file").write_bytes(bytes(changes.CONTENTS_LIMIT + 1))
    with (
        pytest.raises(HostError, match=r"/file is too large to be put back \(1048577 bytes\)"),
        changes.writing_file(host, str(place / "file"), b""),
    ):
        pytest.fail("written")
    assert (place / "file").stat().st_size == changes.CONTENTS_LIMIT + 1


def test_a_new_file_may_be_of_any_size(host: LocalHost, place: Path) -> None:
    with changes.writing_file(host, str(place / "big"), bytes(changes.CONTENTS_LIMIT + 1)):
        assert (place / "big").exists()
    assert not (place / "big").exists()


def test_a_file_that_is_not_there_or_cannot_be_written(host: LocalHost, place: Path) -> None:
    with (
        pytest.raises(HostError, match=r"cannot set .*/none to 'x': No such file"),
        changes.rewriting(host, str(place / "none"), "x"),
    ):
        pytest.fail("set")
    with (
        pytest.raises(HostError, match=r"cannot write .*/no/file: No such file"),
        changes.writing_file(host, str(place / "no/file"), b"x"),
    ):
        pytest.fail("written")


@in_namespaces
def test_files_survive_any_death(survives_all_deaths: Trial, host: LocalHost, place: Path) -> None:
    # In memory: a disk takes its time to replace a file.
    subprocess.run(["mount", "-t", "tmpfs", "quick", place], check=True)
    fill(place)

    def scenario() -> None:
        with (
            changes.rewriting(host, str(place / "link"), "one"),
            changes.writing_file(host, str(place / "file"), b"\0" * 100),
            changes.writing_file(host, str(place / "new"), b"\xff"),
            changes.making_directory(host, str(place / "d")),
            changes.making(host, str(place / "d/x")),
        ):
            (place / "d/x").touch()

    survives_all_deaths(scenario, lambda: snapshot(place), least=60)


# --- kernel settings ---


SETTING = "net.ipv4.conf.lo.rp_filter"


@in_namespaces
def test_a_sysctl_is_set_and_as_before(host: LocalHost) -> None:
    path = Path("/proc/sys/net/ipv4/conf/lo/rp_filter")
    before = path.read_text()
    wanted = "2" if before != "2\n" else "1"
    with changes.sysctl(host, SETTING, wanted) as now:
        assert now == path.read_text() == f"{wanted}\n"
    assert path.read_text() == before
    with changes.sysctl(host, "net.ipv4.tcp_rmem", "4096 70000 80000") as now:
        assert now == "4096\t70000\t80000\n"
    assert not journal(host).pending()


@in_namespaces
def test_a_sysctl_of_an_interface_with_a_dot(host: LocalHost) -> None:
    with changes.interface(host, "br0.7", "bridge"):
        for name in ("net.ipv4.conf.br0/7.rp_filter", "net/ipv4/conf/br0.7/rp_filter"):
            with changes.sysctl(host, name, "2") as now:
                assert now == "2\n"


@in_namespaces
def test_sysctls_survive_any_death(survives_all_deaths: Trial, host: LocalHost) -> None:
    paths = [Path("/proc/sys/net/ipv4") / name for name in ("ip_forward", "conf/lo/rp_filter")]

    def scenario() -> None:
        wanted = [str(1 - int(path.read_text()[:1] == "1")) for path in paths]
        with (
            changes.sysctl(host, "net.ipv4.ip_forward", wanted[0]),
            changes.sysctl(host, SETTING, wanted[1]),
        ):
            pass

    survives_all_deaths(scenario, lambda: [path.read_text() for path in paths], least=50)


def test_a_setting_that_the_kernel_does_not_know_or_refuses(host: LocalHost) -> None:
    with (
        pytest.raises(HostError, match="cannot set /proc/sys/net/none to '1': No such file"),
        changes.sysctl(host, "net.none", "1"),
    ):
        pytest.fail("set")


def test_what_the_kernel_makes_of_a_value_is_ours(host: LocalHost, kernel: Kernel) -> None:
    """A number that it clamps, a list that it sorts, a choice."""
    before = snapshot(kernel.sys.parent)
    pages = kernel.sys / "kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
    thp = kernel.sys / "kernel/mm/transparent_hugepage/enabled"
    with changes.rewriting(host, str(pages), "50") as now:
        assert now == "20\n"
    with changes.rewriting(host, str(thp), "never") as now:
        assert now == "always madvise [never]\n"
    with changes.irq_affinity(host, 24, [2, 1]) as now:
        assert now == "1-2\n"
    with changes.sysctl(host, "net.core.somaxconn", "9999") as now:
        assert now == "4096\n"
    assert snapshot(kernel.sys.parent) == before


def test_a_value_that_the_kernel_refuses_stays(host: LocalHost, kernel: Kernel) -> None:
    thp = kernel.sys / "kernel/mm/transparent_hugepage/enabled"
    with (
        pytest.raises(HostError, match=r"cannot set .*/enabled to 'often': Invalid argument"),
        changes.rewriting(host, str(thp), "often"),
    ):
        pytest.fail("set")
    assert thp.read_text() == "always [madvise] never\n"


def test_kernel_values_survive_any_death(
    survives_all_deaths: Trial, host: LocalHost, kernel: Kernel
) -> None:
    mm = kernel.sys / "kernel/mm"

    def scenario() -> None:
        with (
            changes.rewriting(host, f"{mm}/hugepages/hugepages-2048kB/nr_hugepages", "50"),
            changes.rewriting(host, f"{mm}/transparent_hugepage/enabled", "never"),
            changes.irq_affinity(host, 24, [2, 1]),
        ):
            pass

    survives_all_deaths(scenario, lambda: snapshot(kernel.sys.parent), least=60)
