"""Live migration: what it needs of a lab and a host, and its plan."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.plan import PlanHost, script_for
from pytest_vswitch.hosts.shell_script import Script
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.topologies import bonded_migration, live_migration
from pytest_vswitch.topologies.topology import MemifPort
from tests.apps.conftest import KERNEL
from tests.topologies.elsewhere import Elsewhere, host, lab
from tests.topologies.test_pvp_plan import Server

__all__ = ["host"]

NICS = [
    {
        "kind": "nic",
        "bdf": f"0000:0{number}:00.0",
        "generator": f"gen{number}",
        "line_rate_gbps": 10,
    }
    for number in range(1, 5)
]


def test_a_machine_that_has_everything(host: Elsewhere) -> None:
    live_migration.preflight(lab(), host)
    bonded_migration.preflight(lab(), host)


def test_both_places_take_memory(host: Elsewhere) -> None:
    host.meminfo = "MemTotal: 1 kB\nMemAvailable:    3000000 kB\n"
    message = "live_migration has two of all, which needs 3072 MB, 2929 MB are available"
    with pytest.raises(InputError, match=message):
        live_migration.preflight(lab(), host)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"target": {"host": "root@dut2"}}, "between two back-ends of one machine so far"),
        ({"guest": {"hypervisor": "libvirt"}}, "tells QEMU itself what to do: write `qemu`"),
        ({"dut": {"host": "local", "vswitch": "ovs-dpdk"}}, "needs a vSwitch that listens"),
        ({"ports": NICS[:2]}, "live_migration needs 4 ports, lab `it` has 2"),
    ],
)
def test_labs_with_which_no_guest_moves(
    host: Elsewhere, sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        live_migration.preflight(lab(**sections), host)


def test_nics_of_both_places(host: Elsewhere) -> None:
    here, there = live_migration.halves(lab(ports=NICS))
    assert [getattr(port, "bdf", "") for port in here.ports[:2]] == ["0000:01:00.0", "0000:02:00.0"]
    assert [getattr(port, "bdf", "") for port in there.ports] == ["0000:03:00.0", "0000:04:00.0"]
    with pytest.raises(InputError, match="needs ports of kind `memif`"):
        bonded_migration.preflight(lab(ports=NICS), host)


def planned(wiring: Any, directory: Path) -> tuple[Script, Any]:
    """The script of a server with eight CPUs, and what it brings up."""
    server = Server("plan-test", Transcript(directory / "log"), directory / "state")
    server.cache = str(directory / "cache")
    (directory / "cache").mkdir()
    (directory / "cache/kernel").symlink_to(KERNEL)
    made = script_for(server, "A test's.")
    recorder = PlanHost(server, made)
    with wiring.provision(lab(guest={"accelerator": "tcg"}), recorder) as topology:
        recorder.up()
    return made, topology


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Script, Any]:
    return planned(live_migration, tmp_path_factory.mktemp("plan"))


def test_the_plan_has_two_of_all_but_one_guest(plan: tuple[Script, Any]) -> None:
    script, topology = plan
    started = [step.text for step in script.up if step.text.startswith("start ")]
    assert [text.split()[1] for text in started] == [
        "source-host-testpmd",
        "target-host-testpmd",
        "source-qemu",
    ]
    prefixes = [re.findall(r"--file-prefix (\S+)", text) for text in started[:2]]
    assert prefixes == [["vswitch-vswitch-plan-source"], ["vswitch-vswitch-plan-target"]]
    for port in topology.ports:
        assert isinstance(port, MemifPort)
        assert "-source/" in port.socket
        assert [port.socket.replace("-source/", "-target/")] == list(port.also)


def test_whatever_is_made_is_removed(plan: tuple[Script, Any]) -> None:
    script, _ = plan
    undone = [step.text for step in script.undo]
    for place in ("source", "target"):
        directory = f"{script.run}/vswitch-plan-{place}"
        assert f"rm -rf -- {directory}" in undone
        assert f"rm -rf -- {directory}/vhost0" in undone
        assert f"rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-{place}" in undone


def test_the_bond_is_made_as_the_guide_does(tmp_path: Path) -> None:
    script, topology = planned(bonded_migration, tmp_path)
    told = [step.text for step in script.up if step.text.startswith("tell source-guest-testpmd")]
    commands = [re.sub(r".*\$'(.*)\\n'", r"\1", text) for text in told]
    assert [command for command in commands if not command.startswith("show")] == [
        "create bonded device 1 0",
        "add bonding slave 0 2",
        "add bonding slave 1 2",
        "set bonding primary 1 2",
        "port start 2",
        "set portlist 2",
        "start",
    ]
    (port,) = topology.ports
    assert len(port.also) == 3
    (guest,) = [step.text for step in script.up if step.text.startswith("start source-qemu")]
    words = guest.replace("\\\n", " ").split()
    assert "pcie-root-port,id=slot0,chassis=1,addr=0x18" in words
    vf = "virtio-net-pci,netdev=vf1,id=vf1,mac=52:54:00:02:d9:02,bus=slot0"
    assert f"{vf},guest_announce=off" in words


def test_it_is_valid_shell(plan: tuple[Script, Any]) -> None:
    script, _ = plan
    checked = subprocess.run(
        ["shellcheck", "-"], input=script.text(), stdout=subprocess.PIPE, text=True
    )
    assert checked.returncode == 0, checked.stdout
