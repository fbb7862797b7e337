"""The `vfd` topology on an emulated server: wired, used by every check, and undone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch.errors import DutError, HostError, InputError, NotHere, VswitchError
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.measure.vf_bench import Bench
from pytest_vswitch.measure.vf_checks import CHECKS
from pytest_vswitch.topologies import vfd
from tests.emulated.dut import Dut, Generator
from tests.emulated.nic import PF, Model
from tests.emulated.sriov_host import Server, server, state
from tests.emulated.testpmd import Testpmd


def lab(driver: str = "vfio-pci", *, hugepages: str = "none", **sections: Any) -> Lab:
    port = {"kind": "nic", "bdf": "0000:03:00.0", "generator": "eth2", "line_rate_gbps": 10}
    return Lab.model_validate(
        {
            "name": "it",
            "dut": {"host": "local", "hugepages": hugepages},
            "ports": [{**port, "driver": driver}],
            **sections,
        }
    )


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with server(tmp_path, monkeypatch, Dut("82599")) as made:
        yield made


def test_wired_and_undone(host: Server) -> None:
    before = state(host.kernel)
    with vfd.provision(lab(), host) as topology:
        assert host.kernel.driver("0000:03:00.0") == "vfio-pci"
        assert host.kernel.driver("0000:03:10.0") == "vfio-pci"
        assert sorted(host.dut.programs) == [PF, 0, 1]
        assert topology.driver == "ixgbe"
        assert "ixgbe" in topology.facts.nic
        topology.check_alive()
    assert host.dut.programs == {}
    assert state(host.kernel) == before


@pytest.mark.parametrize("model", ["82599", "X710"])
def test_every_check_on_a_wired_topology(host: Server, model: Model) -> None:
    """From the lab file to the frames and back: what the suite does, on one bring-up."""
    host.dut = Dut(model)
    driver = {"82599": "ixgbe", "X710": "i40e"}[model]
    with vfd.provision(lab(), host) as topology:
        for vf in topology.vfs:
            vf.notice_s = 0.0
        running = Bench(topology, Generator(host.dut, topology), trial_s=1.0, sample=150)
        for check in CHECKS:
            if driver in check.drivers:
                check.run(running)
    assert len(running.asserted) > 40


@pytest.mark.parametrize("driver", ["vfio-pci", "igb_uio"])
def test_a_fault_at_any_step_leaves_the_host_as_it_was(host: Server, driver: str) -> None:
    """A write that the kernel refuses, or a program that does not start."""
    before = state(host.kernel)
    steps: list[str] = []
    host.on_step = steps.append
    with vfd.provision(lab(driver), host):
        pass
    assert len(steps) >= 8
    for number in range(1, len(steps) + 1):
        seen: list[str] = []

        def breaks(step: str, number: int = number, seen: list[str] = seen) -> None:
            seen.append(step)
            if len(seen) == number:
                raise HostError(f"lost at {step}")

        host.on_step = breaks
        with pytest.raises(HostError, match="lost at"), vfd.provision(lab(driver), host):
            pass
        assert state(host.kernel) == before, steps[number - 1]
        assert not host.dut.programs


def test_a_testpmd_that_fails_while_it_is_brought_up(host: Server) -> None:
    """At each of its lines in another way."""
    before = state(host.kernel)
    with vfd.provision(lab(), host):
        lines = len(host.dut.said)
    for number in range(1, lines + 1):
        host.dut = Dut("82599")
        kind = ("dies", "refuses", "silent")[number % 3]
        host.dut.fault = lambda at, number=number, kind=kind: kind if at == number else ""  # type: ignore[misc]
        with pytest.raises(VswitchError, match="testpmd"), vfd.provision(lab(), host):
            pass
        assert state(host.kernel) == before


def test_igb_uio_makes_functions_its_own_way(host: Server) -> None:
    """As the guide has it (5.1): by `max_vfs`, and without a token."""
    before = state(host.kernel)
    with vfd.provision(lab("igb_uio"), host) as topology:
        assert host.kernel.driver("0000:03:10.1") == "igb_uio"
        assert all("--vfio-vf-token" not in argv for _, argv in topology.commands)
    assert state(host.kernel) == before


def test_vfio_ties_the_functions_to_their_port(host: Server) -> None:
    with vfd.provision(lab(), host) as topology:
        tokens = {argv[argv.index("--vfio-vf-token") + 1] for _, argv in topology.commands}
        assert len(tokens) == 1
        assert host.read_text("/sys/module/vfio_pci/parameters/enable_sriov").strip() == "Y"


@pytest.mark.parametrize(
    ("ports", "why"),
    [
        ([{"kind": "memif"}], "needs a NIC of igb, ixgbe, i40e"),
        (
            [
                {
                    "kind": "nic",
                    "bdf": "0000:03:00.0",
                    "line_rate_gbps": 10,
                    "driver": "uio_pci_generic",
                }
            ],
            "with `driver: vfio-pci`, `igb_uio` or `kernel`",
        ),
    ],
)
def test_what_is_no_such_port_is_left_out(host: Server, ports: list[object], why: str) -> None:
    with pytest.raises(NotHere, match=why):
        vfd.preflight(lab(ports=ports), host)


def test_a_nic_of_another_kind_is_named(host: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with vfd.provision(lab(), host) as topology:
        told = host.dut.programs[PF].answer("show port info 0")
        assert "net_ixgbe" in told
        igb = told.replace("net_ixgbe", "net_e1000_igb")
        monkeypatch.setattr(Testpmd, "answer", lambda testpmd, line: igb)
        with pytest.raises(DutError, match="ixgbe and i40e, this one has e1000_igb"):
            _ = topology.driver


def test_a_nic_whose_driver_has_no_such_functions_is_left_out(host: Server) -> None:
    host.kernel.force("0000:03:00.0", "igbvf")
    with pytest.raises(NotHere, match=r"0000:03:00\.0 on local, is one of igbvf"):
        vfd.preflight(lab(), host)


def test_a_generator_that_is_too_slow_is_named(host: Server) -> None:
    with vfd.provision(lab(), host) as topology:
        generator = Generator(host.dut, topology)
        bench = Bench(topology, generator, trial_s=1.0)
        bench.carried_mbps(40)
        generator.share_sent = 0.9
        with pytest.raises(HostError, match=r"cannot offer 40 Mbit/s"):
            bench.carried_mbps(40)


def test_functions_of_somebody_are_not_lost(host: Server) -> None:
    device = host.kernel.pci / "devices/0000:03:00.0"
    host.kernel.write(str(device / "sriov_numvfs"), "3")
    with pytest.raises(InputError, match="has 3 virtual functions of somebody"):
        vfd.preflight(lab(), host)


def test_a_kernel_that_does_not_give_vfio_the_functions_is_named(host: Server) -> None:
    before = state(host.kernel)
    host.kernel.shares = False
    with (
        pytest.raises(HostError, match=r"0000:03:10\.0, a VF of .* has igbvf, not vfio-pci"),
        vfd.provision(lab(), host),
    ):
        pass
    assert state(host.kernel) == before
