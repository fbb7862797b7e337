"""The `vfd` topology with a kernel's PF, on an emulated server: wired, used, and undone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.apps.vf_control import NotSupported
from pytest_vswitch.errors import HostError, NotHere, VswitchError
from pytest_vswitch.hosts import knobs
from pytest_vswitch.hosts.plan import PlanHost, script_for
from pytest_vswitch.measure.vf_bench import Bench
from pytest_vswitch.measure.vf_checks import KERNEL_CHECKS
from pytest_vswitch.measure.vf_kernel import known_lacks
from pytest_vswitch.topologies import vfd
from tests.emulated.dut import Generator
from tests.emulated.ip_link import PF_NAME
from tests.emulated.sriov_host import state
from tests.emulated.vf_kernel import KernelDut
from tests.emulated.vf_kernel_host import UP, KernelServer, kernel_server
from tests.topologies.test_vfd import lab

BDF = "0000:03:00.0"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KernelServer]:
    with kernel_server(tmp_path, monkeypatch) as made:
        yield made


def test_wired_and_undone(host: KernelServer) -> None:
    """Verify: the PF keeps its driver, its VFs are for DPDK; no program has it, nor its token."""
    before = state(host.kernel)
    with vfd.provision(lab(), host) as topology:
        assert host.kernel.driver(BDF) == "igb"
        assert host.kernel.driver("0000:03:10.0") == "vfio-pci"
        assert sorted(host.dut.programs) == [0, 1]
        assert (topology.road, topology.driver, topology.emulated) == ("kernel", "igb", False)
        assert topology.facts.versions["kernel's igb"] == "6.1.0"
        assert all("--vfio-vf-token" not in argv for _, argv in topology.commands)
        assert [vf.mac for vf in topology.vfs] == ["02:00:C6:12:F0:00", "02:00:C6:12:F0:01"]
        assert (host.kernel.sys / f"class/net/{PF_NAME}/flags").read_text() == UP
        topology.check_alive()
    assert host.dut.programs == {}
    assert state(host.kernel) == before


def test_every_check_on_a_wired_topology(host: KernelServer) -> None:
    """From the lab file to the frames and back: what the suite does, on one bring-up."""
    with vfd.provision(lab(), host) as topology:
        for vf in topology.vfs:
            vf.notice_s = 0.0
        running = Bench(
            topology, Generator(host.dut, topology), trial_s=1.0, lacks=known_lacks(topology)
        )
        left_out = []
        for check in KERNEL_CHECKS:
            try:
                check.run(running)
            except NotSupported:
                left_out.append(check.name)
    assert left_out == [check.name for check in KERNEL_CHECKS if "igb" not in check.drivers]


def test_a_fault_at_any_step_leaves_the_host_as_it_was(host: KernelServer) -> None:
    """A write that the kernel refuses, `ip` that fails, or a program that does not start."""
    before = state(host.kernel)
    steps: list[str] = []
    host.on_step = steps.append
    with vfd.provision(lab(), host):
        pass
    assert len(steps) >= 10
    for number in range(1, len(steps) + 1):
        seen: list[str] = []

        def breaks(step: str, number: int = number, seen: list[str] = seen) -> None:
            seen.append(step)
            if len(seen) == number:
                raise HostError(f"lost at {step}")

        host.on_step = breaks
        with pytest.raises(HostError, match="lost at"), vfd.provision(lab(), host):
            pass
        assert state(host.kernel) == before, steps[number - 1]
        assert not host.dut.programs


def test_a_program_that_fails_while_it_is_brought_up(host: KernelServer) -> None:
    """`ip` or a testpmd, at each line in another way."""
    before = state(host.kernel)
    with vfd.provision(lab(), host):
        lines = len(host.dut.said)
    for number in range(1, lines + 1):
        host.dut = KernelDut("igb")
        kind = ("dies", "refuses", "silent")[number % 3]
        host.dut.fault = lambda at, number=number, kind=kind: kind if at == number else ""  # type: ignore[misc]
        with pytest.raises(VswitchError, match=r"testpmd|`ip link"), vfd.provision(lab(), host):
            pass
        assert state(host.kernel) == before


def test_qemus_nic_is_told_from_a_real_one(host: KernelServer) -> None:
    (host.kernel.pci / "devices" / BDF / "subsystem_vendor").write_text("0x1af4\n")
    with vfd.provision(lab(), host) as topology:
        assert topology.emulated
        assert "VF rate limit: no more [Mbit/s]" in known_lacks(topology)


def test_an_interface_in_use_is_left_alone(host: KernelServer) -> None:
    before = state(host.kernel)
    host.addresses = f"3: {PF_NAME}    inet 192.0.2.7/24 scope global {PF_NAME}\n"
    with (
        pytest.raises(HostError, match=r"ens1f0 has the addresses 192\.0\.2\.7/24"),
        vfd.provision(lab(), host),
    ):
        pass
    assert state(host.kernel) == before


def test_the_lab_can_ask_for_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a NIC whose PF testpmd could have, too."""
    with kernel_server(tmp_path, monkeypatch, "ixgbe") as host:
        host.dut = KernelDut("i40e")
        with vfd.provision(lab("kernel"), host) as topology:
            assert (topology.road, topology.driver) == ("kernel", "ixgbe")
            assert known_lacks(topology) == {}


def test_the_kernel_of_a_nic_that_it_does_not_drive(host: KernelServer) -> None:
    host.kernel.force(BDF, "vfio-pci")
    with pytest.raises(NotHere, match=r"0000:03:00\.0 on local, is one of vfio-pci"):
        vfd.preflight(lab("kernel"), host)


def test_a_plan_has_the_steps_in_order(host: KernelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    device = host.kernel.pci / "devices" / BDF
    (device / "sriov_offset").write_text("128\n")
    (device / "sriov_stride").write_text("1\n")
    monkeypatch.setattr(knobs, "SYS", Path("/sys"))  # a plan is for a machine like any
    before = state(host.kernel)
    script = script_for(host, "A test's.")
    planned = PlanHost(host, script)
    with vfd.provision(lab(), planned):
        planned.up()
    assert state(host.kernel) == before
    assert host.dut.said == []
    text = "\n".join(step.text for step in script.up)
    order = [
        "sriov_numvfs",
        "ip link set dev ens1f0 up",
        "ip link set dev ens1f0 vf 1 mac 02:00:c6:12:f0:01",
        "vfio-pci",
        "start VF-0-testpmd",
        "start VF-1-testpmd",
    ]
    places = [text.index(words) for words in order]
    assert places == sorted(places)
