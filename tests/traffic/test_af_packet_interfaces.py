"""Finding and preparing the generator's interfaces, and leaving them as they were."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts import netns, shell_script
from pytest_vswitch.hosts.change import Change, ChangedByOthers
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.plan import PlanHost, Unanswered, script_for
from pytest_vswitch.hosts.undo import undo
from pytest_vswitch.machine import management
from pytest_vswitch.traffic.af_packet import interface
from pytest_vswitch.traffic.af_packet.generator import attach
from tests.traffic.wires import Topology, Wires, attached, ip, lab, reflector, wires

DOWN, UP = "0x1002", "0x1003"


@pytest.fixture
def where() -> Iterator[Wires]:
    with wires() as made:
        yield made


def test_interfaces_are_up_and_silent_and_then_as_before(host: LocalHost, where: Wires) -> None:
    ip("-n", where.generator, "link", "set", "dev", "g1", "up")
    with attached(host, where):
        assert where.state("g0") == (hex(int(UP, 16) | 0x100), "1")  # 0x100: promiscuous
        assert where.state("g1") == (hex(int(UP, 16) | 0x100), "1")
    assert where.state("g0") == (DOWN, "0")
    assert where.state("g1") == (UP, "0")


def test_in_the_hosts_own_namespace(host: LocalHost) -> None:
    names = [f"vsw{os.getpid() % 10**6}{letter}" for letter in "ab"]
    ip("link", "add", names[0], "type", "veth", "peer", "name", names[1])
    flags, ipv6 = (
        Path(f"/sys/class/net/{names[0]}/flags"),
        Path(f"/proc/sys/net/ipv6/conf/{names[0]}/disable_ipv6"),
    )
    try:
        with attach(lab(None), host, Topology(names, transform=bytes)) as generator:
            assert (flags.read_text().strip(), ipv6.read_text().strip()) == ("0x1103", "1")
            assert f" on {names[0]} and {names[1]}, a shared CPU" in generator.description
            # The two are the ends of one wire.
            assert generator.exchange({0: [bytes(60)]}, wait_s=30.0)[1] == [bytes(60)]
        assert (flags.read_text().strip(), ipv6.read_text().strip()) == (DOWN, "0")
    finally:
        ip("link", "delete", "dev", names[0])


def test_as_before_after_a_failure(host: LocalHost, where: Wires) -> None:
    ip("-n", where.dut, "link", "set", "dev", "d1", "address", "02:00:00:00:00:01")
    with pytest.raises(ZeroDivisionError), reflector(where), attached(host, where):
        raise ZeroDivisionError
    assert where.state("g0") == where.state("g1") == (DOWN, "0")


def test_what_a_dead_run_left_is_undone(where: Wires) -> None:
    """As the journal has it, also when it was never made, done already, or its place is gone."""
    flags = f"{where.generator}:/sys/class/net/g0/flags"
    up = Change("rewrote_in", flags, f"{DOWN}\n", f"{UP}\n")
    assert undo(up) == ""
    ip("-n", where.generator, "link", "set", "dev", "g0", "up")
    assert undo(up) == ""
    assert where.state("g0")[0] == DOWN
    ip("-n", where.generator, "link", "set", "dev", "g0", "arp", "off", "up")
    with pytest.raises(ChangedByOthers, match=f"{flags} was 0x1002, we made it 0x1003, now it is"):
        undo(up)
    ip("-n", where.generator, "link", "delete", "dev", "g0")
    assert undo(up) == ""
    assert undo(Change("rewrote_in", "vswitch-none:/sys/class/net/g0/flags", "0x1002")) == ""


@pytest.mark.parametrize("others", [False, True])
def test_a_plan_undoes_it_too(host: LocalHost, where: Wires, others: bool) -> None:
    """Steps: plan the generator; carry out by hand what it does to interfaces, and the undo."""
    script = script_for(host, "The generator")
    planned = PlanHost(host, script, needs_answers=True)
    with contextlib.suppress(Unanswered), attached(planned, where):
        pytest.fail("a plan ends before a program answers")
    assert where.state("g0") == where.state("g1") == (DOWN, "0")
    up = [step.text for step in script.up if " tee " in step.text]
    back = [step.text for step in script.undo if step.text.startswith("put_back_in ")]
    assert len(up) == len(back) == 4
    bash("\n".join(up))
    assert where.state("g0") == where.state("g1") == (UP, "1")
    if others:
        ip("-n", where.generator, "link", "set", "dev", "g1", "arp", "off")
    lines = "\n".join(f"    {line}" for line in back)
    bash(f"run=/nowhere\n{shell_script._words(lines)}{lines}\n")
    assert where.state("g0") == (DOWN, "0")
    assert where.state("g1") == ("0x1083" if others else DOWN, "0")


def bash(script: str) -> None:
    subprocess.run(["bash"], input=script, text=True, check=True, timeout=60)


def test_what_the_kernel_refuses(host: LocalHost, where: Wires) -> None:
    with (
        pytest.raises(HostError, match="tee -- /sys/class/net/g0/mtu` failed"),
        netns.rewriting(host, where.generator, "/sys/class/net/g0/mtu", "7000000\n"),
    ):
        pytest.fail("written")
    assert where.read("/sys/class/net/g0/mtu") == "1500"


def test_a_wire_that_the_lab_does_not_name(host: LocalHost, where: Wires) -> None:
    with (
        pytest.raises(
            InputError,
            match=r"lab `wires`: which of the generator's interfaces nic1 is wired to is not known"
            r".*`vswitch lab init --probe-wiring` finds it",
        ),
        attached(host, where, Topology(("g0", ""))),
    ):
        pytest.fail("attached")
    assert where.state("g0") == (DOWN, "0")


def test_an_interface_that_is_not_there(host: LocalHost, where: Wires) -> None:
    with (
        pytest.raises(
            InputError,
            match=f"local has no interface g7 in the network namespace {where.generator}",
        ),
        attached(host, where, Topology(("g0", "g7"))),
    ):
        pytest.fail("attached")


def test_a_namespace_that_is_not_there(host: LocalHost) -> None:
    with (
        pytest.raises(InputError, match="local has no network namespace `vswitch-none`"),
        attached(host, Wires("vswitch-none", "vswitch-none")),
    ):
        pytest.fail("attached")


def test_interfaces_by_pci_address(host: LocalHost, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Path(host.scratch) / "pci"
    for bdf, names in (("0000:01:00.0", ["ens1"]), ("0000:01:00.1", ["ens2", "ens2r0"])):
        for name in names:
            (tree / bdf / "net" / name).mkdir(parents=True)
    (tree / "0000:01:00.2/virtio3/net/ens3").mkdir(parents=True)
    (tree / "vfio-pci").mkdir()
    (tree / "0000:01:00.3").mkdir()
    (tree / "0000:01:00.3/driver").symlink_to(tree / "vfio-pci")
    monkeypatch.setattr(interface, "_PCI", str(tree))
    assert interface.find(host, "", "0000:01:00.0", "lab.yaml:3") == "ens1"
    assert interface.find(host, "", "0000:01:00.2", "lab.yaml:3") == "ens3"
    with pytest.raises(InputError, match=r"lab.yaml:3: .* several interfaces; .* ens2, ens2r0"):
        interface.find(host, "", "0000:01:00.1", "lab.yaml:3")
    with pytest.raises(InputError, match=r"PCI device 0000:01:00.3 \(its driver: vfio-pci\)"):
        interface.find(host, "", "0000:01:00.3", "lab.yaml:3")


def test_an_interface_of_the_management_is_left_alone(
    host: LocalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(management, "reasons", lambda host: {"lo": "carries the default route"})
    with (
        pytest.raises(HostError, match="local: the interface lo is left alone: carries the def"),
        attach(lab(None), host, Topology(("lo", "lo"))),
    ):
        pytest.fail("attached")


def test_an_interface_that_merges_frames_is_refused(host: LocalHost, where: Wires) -> None:
    within = netns.command(where.generator)
    host.run([*within, "ethtool", "-K", "g0", "rx-udp-gro-forwarding", "on"])
    with (
        pytest.raises(HostError, match=r"g0 makes one .* ethtool -K g0 rx-udp-gro-forwarding off"),
        attached(host, where),
    ):
        pytest.fail("attached")
