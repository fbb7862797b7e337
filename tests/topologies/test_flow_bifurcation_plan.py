"""The plans of flow_bifurcation, by the driver of the card."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.plan import PlanHost, script_for
from pytest_vswitch.hosts.shell_script import Script
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies import flow_bifurcation
from tests.emulated.bifurcated import BDF, Host
from tests.emulated.ethtool import Kind

KINDS: tuple[Kind, ...] = ("ixgbe", "i40e", "i40e 1.x")
LAB = Lab.model_validate(
    {
        "name": "it",
        "dut": {"host": "root@dut1"},
        "ports": [
            {"kind": "nic", "bdf": BDF, "driver": "kernel", "generator": "e0", "line_rate_gbps": 10}
        ],
    }
)


_HUGEPAGES = "/sys/kernel/mm/hugepages/hugepages-2048kB"


class Planned(Host):
    """A port whose VFs can be known before there are any."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(kind)
        self.files[f"/sys/bus/pci/devices/{BDF}/sriov_offset"] = "128\n"
        self.files[f"/sys/bus/pci/devices/{BDF}/sriov_stride"] = "2\n"
        for word in ("nr", "free", "resv"):
            self.files[f"{_HUGEPAGES}/{word}_hugepages"] = "0\n"

    def exists(self, path: str) -> bool:
        """Not yet with vfio-pci."""
        if path == "/sys/bus/pci/drivers/vfio-pci":
            return False
        return path == _HUGEPAGES or super().exists(path)

    def _answer(self, line: str) -> tuple[int, str]:
        return (0, "dut1\n") if line == "uname -n" else super()._answer(line)


def plan(kind: Kind) -> Script:
    host: Any = Planned(kind)
    made = script_for(host, "The topology flow_bifurcation on dut1, a made-up host.")
    before = host.state()
    planned = PlanHost(host, made)
    with flow_bifurcation.provision(LAB, planned):
        planned.up()
    assert host.state() == before
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_the_plan_has_the_guides_steps_in_order(kind: Kind) -> None:
    text = re.sub(r"\s*\\\n\s*", " ", "\n".join(step.text for step in plan(kind).up))
    order = [
        f"echo 0 >/sys/bus/pci/devices/{BDF}/sriov_drivers_autoprobe",
        f"echo 2 >/sys/bus/pci/devices/{BDF}/sriov_numvfs",
        *["ethtool -K ens1f0 ntuple on"] * (kind == "ixgbe"),
        "ip netns add vswitch-pf",
        "ip link set dev ens1f0 netns vswitch-pf",
        *["link add vxlan0 type vxlan id 42 group 239.1.1.1"] * (kind != "ixgbe"),
        "vf 0 mac 02:00:c6:12:f0:00",
        "modprobe vfio-pci",
        "echo vfio-pci >/sys/bus/pci/devices/0000:01:10.0/driver_override",
        "echo vfio-pci >/sys/bus/pci/devices/0000:01:10.2/driver_override",
        "start testpmd-on-the-VFs",
        "-a 0000:01:10.0 -a 0000:01:10.2",
        "--forward-mode=mac",
        "ip netns exec vswitch-pf ethtool -N ens1f0 flow-type",
        "ip netns exec vswitch-pf ethtool -n ens1f0 rule",
    ]
    places = [text.index(words) for words in order]
    assert places == sorted(places)


@pytest.mark.parametrize("kind", KINDS)
def test_the_plan_undoes_all_in_reverse(kind: Kind) -> None:
    undone = [step.text for step in plan(kind).undo]
    location = 8 if kind != "ixgbe" else 2
    order = [
        f"delete_filter vswitch-pf ens1f0 {location}",
        r"stop testpmd-on-the-VFs $'quit\n'",
        "rebind 0000:01:10.2 '' vfio-pci",
        "ip netns delete vswitch-pf",
        "put_back /sys/class/net/ens1f0/flags 0x1003",
        *["set_feature '' ens1f0 ntuple off"] * (kind == "ixgbe"),
        f"functions {BDF} 0 2",
    ]
    assert [line for line in undone if line in order] == order


def test_the_plan_is_a_script(tmp_path: Path) -> None:
    script = tmp_path / "plan.sh"
    script.write_text(plan("i40e 1.x").text())
    subprocess.run(["bash", "-n", str(script)], check=True)
    subprocess.run(["shellcheck", "-S", "error", str(script)], check=True)
    text = script.read_text()
    assert "delete_filter() {" in text
    assert "at() {" in text


def test_a_kernel_that_does_not_tell_where_vfs_will_be_is_a_fault() -> None:
    host: Any = Planned("ixgbe")
    del host.files[f"/sys/bus/pci/devices/{BDF}/sriov_offset"]
    with (
        pytest.raises(HostError, match=r"will have are not known: its kernel \(before 4\.14\)"),
        flow_bifurcation.provision(LAB, PlanHost(host, script_for(host, "A test's."))),
    ):
        pass
