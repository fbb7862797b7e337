"""`vswitch lab init` of machines with a real sshd, wired by real veth pairs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pytest_vswitch import cli
from pytest_vswitch.hosts.opening import open_address
from pytest_vswitch.lab.loader import load
from pytest_vswitch.lab.remote import Ssh
from pytest_vswitch.machine import management, wiring
from pytest_vswitch.machine.wiring import End, Wires
from tests.machines.fixtures import MakeMachine, dut, machines
from tests.machines.machine import Machine

__all__ = ["dut", "machines"]


def first_process(machine: Machine) -> str:
    """As this machine numbers it."""
    (init,) = (process for process in machine.processes() if process.pid == 1)
    return str(init.outer_pid)


def wire(one: Machine, name: str, other: Machine, peer: str) -> None:
    """A wire between two machines; both ends are up."""
    ends = [name, "netns", first_process(one), "type", "veth"]
    ends += ["peer", "name", peer, "netns", first_process(other)]
    subprocess.run(["ip", "link", "add", *ends], check=True)
    one.run(["ip", "link", "set", name, "up"])
    other.run(["ip", "link", "set", peer, "up"])


def test_a_host_is_looked_at_over_ssh(
    dut: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verify: the file loads and says how the host was reached, and the host is as it was."""
    monkeypatch.chdir(tmp_path)
    before = dut.snapshot()
    argv = ["lab", "init", "root@dut", "--config", str(dut.config), "-o", "labs/lab1.yaml"]
    assert cli.main(argv) == 0
    lab = load("lab1")
    assert (lab.dut.host, lab.dut.ssh) == ("root@dut", Ssh(config=str(dut.config)))
    assert dut.snapshot() == before
    assert cli.main(["lab", "init", "--update", "-o", "labs/lab1.yaml"]) == 0


def test_the_interface_of_the_session_is_management(dut: Machine) -> None:
    session = dut.run(["ip", "-o", "-4", "route", "get", dut.cable.near_address]).stdout.decode()
    interface = session.split(" dev ")[1].split()[0]
    with open_address("root@dut", Ssh(config=str(dut.config))) as host:
        assert management.reasons(host) == {
            interface: f"carries the SSH session from {dut.cable.near_address}"
        }


def test_members_of_a_bridge_with_the_default_route_are_management(machines: MakeMachine) -> None:
    one, other = machines("dut"), machines("tg")
    wire(one, "ens1f0", other, "enp1s0f0")
    wire(one, "ens1f1", other, "enp1s0f1")
    for words in (
        "link add br0 up type bridge",
        "link set ens1f1 master br0",
        "address add 198.18.0.1/24 dev br0",
        "route add default via 198.18.0.2 dev br0",
    ):
        one.run(["ip", *words.split()])
    with open_address("root@dut", Ssh(config=str(one.config))) as host:
        found = management.reasons(host)
    assert found.pop("br0") == "carries the default route"
    assert found.pop("ens1f1") == "carries br0, which carries the default route"
    assert "ens1f0" not in found


def test_wires_between_two_hosts_over_ssh_are_found(machines: MakeMachine) -> None:
    one, other = machines("dut"), machines("tg")
    wire(one, "ens1f0", other, "enp1s0f1")
    wire(one, "ens1f1", other, "enp1s0f0")
    with (
        open_address("root@dut", Ssh(config=str(one.config))) as near,
        open_address("root@tg", Ssh(config=str(other.config))) as far,
    ):
        found = wiring.find(End(near, ["ens1f0", "ens1f1"]), End(far, ["enp1s0f0", "enp1s0f1"]))
    assert found == Wires({"ens1f0": "enp1s0f1", "ens1f1": "enp1s0f0"}, {})


def test_an_interface_that_is_down_is_up_for_the_probe_only(machines: MakeMachine) -> None:
    one, other = machines("dut"), machines("tg")
    wire(one, "ens1f0", other, "enp1s0f0")
    one.run(["ip", "link", "set", "ens1f0", "down"])
    show = ["ip", "-o", "link", "show", "ens1f0"]
    assert b"state DOWN" in one.run(show).stdout
    with open_address("root@dut", Ssh(config=str(one.config)), run="probe") as host:
        with wiring.up(host, ["ens1f0"]):
            wiring.wait_for_links(host, ["ens1f0"])
            assert b"state UP" in one.run(show).stdout
        assert b"state DOWN" in one.run(show).stdout
