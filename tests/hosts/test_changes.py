"""Every kind of change to a host is made, and undone, whenever its maker dies."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import changes
from pytest_vswitch.hosts.change import Change
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.undo import Outcome, UndoJournal, undo_all
from pytest_vswitch.hosts.undo_files import mounted
from tests.hosts.crash import deaths, in_namespaces, snapshot
from tests.hosts.pci import PF, Kernel, functions


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel(tmp_path / "kernel")
    kernel.attach(monkeypatch)
    return kernel


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """With a file and a link to it."""
    place = tmp_path / "place"
    place.mkdir()
    fill(place)
    return place


def fill(place: Path) -> None:
    (place / "file").write_bytes(b"as it\0was\xff\n")
    (place / "file").chmod(0o640)
    (place / "link").symlink_to("file")
    (place / "empty").mkdir()


def journal(host: LocalHost) -> UndoJournal:
    return UndoJournal(Path(host.scratch) / "undo.jsonl")


Trial = Callable[..., None]


@pytest.fixture
def survives_all_deaths(host: LocalHost, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """Whatever the step its maker dies at, the next undoes all: `look` finds what was there.

    `least`: how many steps there are at least.
    """

    def trial(scenario: Callable[[], None], look: Callable[[], object], *, least: int) -> None:
        # The machine does not die: what was written is there, on the disk or not.
        monkeypatch.setattr(os, "fsync", lambda handle: None)
        before = look()
        steps = 0
        for step in deaths(scenario):
            outcome = undo_all(journal(host), rebooted=False)
            assert (outcome.remarks, outcome.stuck) == ((), ()), f"step {step}"
            assert look() == before, f"step {step}"
            assert journal(host).pending() == []
            (Path(host.scratch) / "undo.jsonl").unlink(missing_ok=True)
            steps = step
        assert look() == before
        assert steps >= least

    return trial


# --- files ---


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


# --- PCI devices ---


@pytest.mark.parametrize("forced", ["", "igb", "vfio-pci"])
@pytest.mark.parametrize("driver", ["igb", "vfio-pci"])
def test_a_device_is_bound_and_as_before(
    host: LocalHost, kernel: Kernel, forced: str, driver: str
) -> None:
    if forced:
        kernel.force(PF, forced)
    before = snapshot(kernel.sys)
    with changes.binding(host, PF, driver):
        assert kernel.driver(PF) == driver
    assert snapshot(kernel.sys) == before


def test_a_device_without_a_driver_has_none_again(host: LocalHost, kernel: Kernel) -> None:
    kernel.write(str(kernel.pci / "drivers/igb/unbind"), PF)
    before = snapshot(kernel.sys)
    with changes.binding(host, PF, "vfio-pci"):
        assert kernel.driver(PF) == "vfio-pci"
    assert snapshot(kernel.sys) == before


def test_a_device_that_cannot_be_bound(
    host: LocalHost, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(kernel.sys)
    for bdf, driver, fault in (
        ("0000:99:00.0", "igb", "there is no PCI device 0000:99:00.0"),
        (PF, "uio", f"there is no driver uio for {PF}: modprobe uio"),
    ):
        with pytest.raises(HostError, match=fault), changes.binding(host, bdf, driver):
            pytest.fail("bound")
    monkeypatch.setattr(kernel, "probe", lambda bdf: None)
    with (
        pytest.raises(HostError, match=f"vfio-pci did not take {PF}, it has no driver; .*dmesg"),
        changes.binding(host, PF, "vfio-pci"),
    ):
        pytest.fail("bound")
    assert snapshot(kernel.sys) == before


def test_a_device_that_is_gone_is_undone(host: LocalHost, kernel: Kernel) -> None:
    with changes.binding(host, PF, "vfio-pci"):
        kernel.unplug(PF)
    assert journal(host).pending() == []


def test_a_device_in_use_is_not_taken_away(host: LocalHost, kernel: Kernel) -> None:
    """The kernel would wait for the program, for ever."""
    with (
        pytest.raises(HostError, match=rf"cannot undo {PF} .* in use by testpmd \(pid 4711\)"),
        changes.binding(host, PF, "vfio-pci"),
    ):
        kernel.opened_by("/dev/vfio/000", "testpmd")
    assert journal(host).pending() == [Change("bound", PF, "igb", "vfio-pci")]
    outcome = undo_all(journal(host), rebooted=False)
    assert "in use by testpmd" in outcome.stuck[0]
    (kernel.proc / "4711/comm").unlink()
    (kernel.proc / "4711/fd/3").unlink()
    assert undo_all(journal(host), rebooted=False).stuck == ()
    assert kernel.driver(PF) == "igb"


def test_a_device_that_others_bound_is_theirs(host: LocalHost, kernel: Kernel) -> None:
    with changes.binding(host, PF, "vfio-pci"):
        kernel.force(PF, "igbvf")
        outcome = undo_all(journal(host), rebooted=False)
        assert kernel.driver(PF) == "igbvf"
        assert outcome.remarks == (
            f"the driver of {PF} was igb, we made it vfio-pci, now it is igbvf: left as it is",
            f"{kernel.pci.parent.parent}/devices/pci0000:00/{PF}/driver_override was (null), "
            "we made it vfio-pci, now it is igbvf: left as it is",
        )
        assert journal(host).pending() == []


@pytest.mark.parametrize("forced", ["", "vfio-pci"])
def test_bindings_survive_any_death(
    survives_all_deaths: Trial, host: LocalHost, kernel: Kernel, forced: str
) -> None:
    if forced:
        kernel.force(PF, forced)

    def scenario() -> None:
        with changes.binding(host, PF, "igb" if forced else "vfio-pci"):
            pass

    survives_all_deaths(scenario, lambda: snapshot(kernel.sys), least=50)


@pytest.mark.parametrize("had", [0, 1, 2, 4])
def test_virtual_functions_are_had_and_as_before(host: LocalHost, kernel: Kernel, had: int) -> None:
    numvfs = kernel.pci / "devices" / PF / "sriov_numvfs"
    kernel.write(str(numvfs), str(had))
    if had > 1:
        kernel.force(functions(2)[1], "vfio-pci")
    before = snapshot(kernel.sys)
    with changes.virtual_functions(host, PF, 2) as found:
        assert found == functions(2)
        assert numvfs.read_text() == "2\n"
        with changes.binding(host, found[0], "vfio-pci"):
            assert kernel.driver(found[0]) == "vfio-pci"
    if had > 2:  # a new function has no driver_override; its driver is what counts
        assert kernel.driver(functions(2)[1]) == "vfio-pci"
        kernel.write(str(kernel.pci / "devices" / functions(2)[1] / "driver_override"), "vfio-pci")
    assert snapshot(kernel.sys) == before


def test_no_more_virtual_functions_than_there_are(host: LocalHost, kernel: Kernel) -> None:
    with (
        pytest.raises(HostError, match=f"{PF} can have 8 virtual functions, not 9"),
        changes.virtual_functions(host, PF, 9),
    ):
        pytest.fail("had")
    (kernel.pci / "devices" / PF / "sriov_numvfs").unlink()
    with (
        pytest.raises(HostError, match=f"{PF} cannot have virtual functions: No such file"),
        changes.virtual_functions(host, PF, 1),
    ):
        pytest.fail("had")


def test_virtual_functions_of_others(host: LocalHost, kernel: Kernel) -> None:
    numvfs = str(kernel.pci / "devices" / PF / "sriov_numvfs")
    with changes.virtual_functions(host, PF, 2):
        kernel.write(numvfs, "0")
        kernel.write(numvfs, "5")
        assert undo_all(journal(host), rebooted=False).remarks == (
            f"the number of virtual functions of {PF} was 0, we made it 2, now it is 5: "
            "left as it is",
        )


def test_a_virtual_function_in_use_is_not_taken_away(host: LocalHost, kernel: Kernel) -> None:
    with (
        pytest.raises(HostError, match=rf"by testpmd \(pid 4711\): '{functions(2)[1]}'"),
        changes.virtual_functions(host, PF, 2),
    ):
        kernel.opened_by("/dev/vfio/101", "testpmd")
    assert kernel.driver(functions(2)[1]) == "igbvf"


def test_virtual_functions_survive_any_death(
    survives_all_deaths: Trial, host: LocalHost, kernel: Kernel
) -> None:
    kernel.write(str(kernel.pci / "devices" / PF / "sriov_numvfs"), "1")

    def scenario() -> None:
        with (
            changes.virtual_functions(host, PF, 2) as found,
            changes.binding(host, found[1], "vfio-pci"),
        ):
            pass

    survives_all_deaths(scenario, lambda: snapshot(kernel.sys), least=100)


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
