"""The plans of vfd, with igb_uio and with vfio-pci."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.hosts import knobs
from pytest_vswitch.hosts.plan import PlanHost, script_for
from pytest_vswitch.hosts.shell_script import Script
from pytest_vswitch.topologies import vfd
from tests.emulated.dut import Dut
from tests.emulated.sriov_host import Server, server, state
from tests.topologies.test_vfd import lab

PAGES_2M = "kernel/mm/hugepages/hugepages-2048kB"
DRIVERS = ("igb_uio", "vfio-pci")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Whose port's VFs can be known before there are any."""
    with server(tmp_path, monkeypatch, Dut("82599")) as made:
        device = made.kernel.pci / "devices/0000:03:00.0"
        (device / "sriov_offset").write_text("128\n")
        (device / "sriov_stride").write_text("1\n")
        for word in ("nr", "free", "resv"):
            (made.kernel.sys / f"{PAGES_2M}/{word}_hugepages").write_text("0\n")
        monkeypatch.setattr(knobs, "SYS", Path("/sys"))  # a plan is for a machine like any
        yield made


def plan(host: Server, driver: str) -> Script:
    script = script_for(host, "The topology vfd on dut1, a made-up host.")
    before = state(host.kernel)
    planned = PlanHost(host, script)
    with vfd.provision(lab(driver, hugepages="2M"), planned):
        planned.up()
    assert state(host.kernel) == before
    assert not host.dut.programs
    return script


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_plan_has_the_guides_steps_in_order(host: Server, driver: str) -> None:
    script = plan(host, driver)
    text = "\n".join(step.text for step in script.up)
    knob = "max_vfs" if driver == "igb_uio" else "sriov_numvfs"
    order = [driver, knob, "0000:03:10.0", "start PF-testpmd", "start VF-0-testpmd"]
    places = [text.index(word) for word in order]
    assert places == sorted(places)
    ends = [step.text.split()[1] for step in script.undo if step.text.startswith("stop")]
    assert ends == ["VF-0-testpmd", "VF-1-testpmd", "PF-testpmd"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_programs_of_a_plan_have_devices_and_lcores_of_their_own(
    host: Server, driver: str
) -> None:
    text = re.sub(r"\s*\\\n\s*", " ", "\n".join(step.text for step in plan(host, driver).up))
    starts = re.findall(r"start (\S+)-testpmd .*?--lcores (\S+) .*?-a (\S+)", text)
    assert [name for name, _, _ in starts] == ["PF", "VF-0", "VF-1"]
    assert len({device for _, _, device in starts}) == 3
    polling = [lcores.rpartition("@")[2] for name, lcores, _ in starts if name != "PF"]
    assert len(set(polling)) == 2


def test_a_plan_for_a_host_whose_module_is_not_loaded(host: Server) -> None:
    (host.kernel.sys / "module/vfio_pci/parameters/enable_sriov").unlink()
    assert any("enable_sriov" in step.text for step in plan(host, "vfio-pci").up)


def test_a_generator_is_planned_too(host: Server) -> None:
    """It asks for the addresses of frames, which no program tells yet."""
    planned = PlanHost(host, script_for(host, "A test's."))
    with vfd.provision(lab(), planned) as topology:
        assert topology.flow(0).dst_mac == "02:00:c6:12:f0:00"
