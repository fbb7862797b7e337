"""PCI devices are bound and split, and put back, whenever who did it dies."""

from __future__ import annotations

import pytest

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import changes
from pytest_vswitch.hosts.change import Change
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.undo import undo, undo_all
from tests.hosts.crash import Trial, journal, snapshot
from tests.hosts.pci import PF, Kernel, functions


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


def test_a_device_that_was_about_to_be_bound_is_not_forced(kernel: Kernel) -> None:
    before = snapshot(kernel.sys)
    kernel.write(str(kernel.pci / "devices" / PF / "driver_override"), "vfio-pci")
    undo(Change("bound", PF, "igb", "vfio-pci"))
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


@pytest.mark.parametrize(("before", "driver"), [("igb", "vfio-pci"), ("vfio-pci", "igb")])
def test_a_device_in_use_is_not_taken_away(
    host: LocalHost, kernel: Kernel, before: str, driver: str
) -> None:
    """The kernel would wait for the program, for ever."""
    if before != "igb":
        kernel.force(PF, before)
    found = snapshot(kernel.sys)
    with (
        pytest.raises(HostError, match=rf"cannot undo {PF} .* in use by testpmd \(pid 4711\)"),
        changes.binding(host, PF, driver),
    ):
        kernel.opened_by("/dev/vfio/000", "testpmd")
    assert journal(host).pending() == [Change("bound", PF, before, driver)]
    outcome = undo_all(journal(host), rebooted=False)
    assert "in use by testpmd" in outcome.stuck[0]
    assert kernel.driver(PF) == driver
    (kernel.proc / "4711/comm").unlink()
    (kernel.proc / "4711/fd/3").unlink()
    assert undo_all(journal(host), rebooted=False).stuck == ()
    assert snapshot(kernel.sys) == found


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
