"""The plans of `suites/live_migration --nic sriov`, on one server and on two: chapter 1."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch import planning
from pytest_vswitch.hosts.plan import script_for
from pytest_vswitch.hosts.plan_turns import TurnHost, Turns
from pytest_vswitch.hosts.shell_script import Script
from pytest_vswitch.lab.choices import chosen
from pytest_vswitch.lab.loader import load
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies import bonded_migration, sriov_migration_wiring
from pytest_vswitch.topologies.sriov_migration import SriovMigration
from tests.emulated.migration_bench import IMAGE, hosts, lab
from tests.emulated.migration_host import Host
from tests.emulated.migration_world import Kind, World
from tests.plans.page import opener

ROOT = Path(__file__).parents[2]
KINDS: tuple[Kind, ...] = ("ixgbe", "i40e")


def told_of(host: Host) -> Any:
    """With what a plan looks at: where VFs will be, and that KVM works."""
    for pf in host.pfs:
        device = f"/sys/bus/pci/devices/{pf.bdf}"
        host.files |= {f"{device}/sriov_offset": "128\n", f"{device}/sriov_stride": "1\n"}
    asked = {"boot": "it", "qemu": "QEMU 7.2", "kernel": IMAGE.release}
    known = {"asked": asked, "found": {"name": "kvm", "reason": ""}}
    host.files |= {
        "/dev/kvm": "",
        "/proc/sys/kernel/random/boot_id": "it\n",
        f"{host.cache}/kvm.json": json.dumps(known),
    }
    return host


def plans(kind: Kind, *, two: bool = False) -> list[Script]:
    """Of each server."""
    servers = [told_of(host) for host in hosts(World(kind), two=two)]
    plain = lab(two=two, guest={"nic": "sriov", "accelerator": "kvm"})
    scripts = [script_for(server, "A test's.") for server in servers]
    turns = Turns()
    planned: list[Any] = [TurnHost(*pair, turns) for pair in zip(servers, scripts, strict=True)]
    provision: Any = bonded_migration.provision_between if two else bonded_migration.provision
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sriov_migration_wiring, "_image", lambda lab, host: IMAGE)
        with provision(plain, *planned) as topology:
            assert isinstance(topology, SriovMigration)
            topology.walk()
            for host in planned:
                host.up()
    for server in servers:
        assert not server.qemus
        assert all(pf.vf is None and not pf.bridge for pf in server.pfs)
    return scripts


def plan(kind: Kind) -> Script:
    (script,) = plans(kind)
    return script


def flat(script: Script) -> str:
    text = "\n".join(step.text for step in script.up)
    return re.sub(r"\s*\\\n\s*", " ", text)


@pytest.mark.parametrize("kind", KINDS)
def test_the_plan_has_every_step_of_the_chapter_in_order(kind: Kind) -> None:
    text, asks = flat(plan(kind)), kind == "ixgbe"
    mac = "02:00:c6:12:d9:01"

    def address(pf: str, to: str) -> list[str]:
        return [] if asks else [f"ip link set dev {pf} vf 0 mac {to}"]

    order = [
        "echo 0 >/sys/bus/pci/devices/0000:09:00.0/sriov_drivers_autoprobe",
        "echo 1 >/sys/bus/pci/devices/0000:09:00.0/sriov_numvfs",
        "echo vfio-pci >/sys/bus/pci/devices/0000:09:10.0/driver_override",
        "ip link add name vs-br-source index",
        "ip tuntap add dev vs-tap-source mode tap",
        "ip link set dev ens1f0 master vs-br-source",
        "ip link set dev vs-tap-source master vs-br-source",
        *address("ens1f0", "02:00:c6:12:d9:f0"),
        "echo 1 >/sys/bus/pci/devices/0000:06:00.0/sriov_numvfs",
        "ip link set dev ens2f0 master vs-br-target",
        "start source-qemu",
        "ifname=vs-tap-source",
        "vfio-pci,host=0000:09:10.0,id=vf1,bus=slot0",
        "echo igb_uio > /sys/bus/pci/devices/0000:01:00.0/driver_override",
        *address("ens1f0", mac),
        "show port info all",
        *([f"mac_addr add port 1 vf 0 {mac}"] * asks),
        "create bonded device 1 0",
        "add bonding slave 0 2",
        "add bonding slave 1 2",
        "show bonding config 2",
        "set bonding primary 1 2",
        "port start 2",
        "set portlist 2",
        "show config fwd",
        "start",
        "show port stats all",
        "set bonding primary 0 2",
        "remove bonding slave 1 2",
        *([f"mac_addr remove 1 {mac}"] * asks),
        "port stop 1",
        "port close 1",
        "device detach 0000:01:00.0",
        *address("ens1f0", "02:00:c6:12:d9:f0"),
        '{"execute": "device_del", "arguments": {"id": "vf1"}',
        "DEVICE_DELETED",
        "start target-qemu",
        "-incoming defer",
        '{"execute": "migrate-incoming"',
        '{"execute": "query-status"',
        '{"execute": "migrate", "arguments"',
        "completed|failed|cancelled",
        '{"execute": "query-migrate"',
        '{"execute": "query-status"',
        "RESUME",
        '{"execute": "query-status"',
        '{"execute": "quit"',
        "tell target-guest-testpmd",
        '{"execute": "device_add", "arguments": {"driver": "vfio-pci", "host": "0000:06:10.0"',
        *address("ens2f0", mac),
        "port attach 0000:01:00.0",
        "port start 1",
        *([f"mac_addr add port 1 vf 0 {mac}"] * asks),
        "add bonding slave 1 2",
        "set bonding primary 1 2",
        "show port stats all",
        "remove bonding slave 0 2",
        "port stop 0",
        "port close 0",
        "device detach 0000:00:10.0",
        "show port stats all",
    ]
    at = 0
    for words in order:
        found = text.find(words, at)
        assert found >= 0, f"not after {text[at - 80 : at]!r}: {words}"
        at = found + len(words)


@pytest.mark.parametrize("kind", KINDS)
def test_the_plan_undoes_all(kind: Kind) -> None:
    undone = [step.text for step in plan(kind).undo]
    wanted = [
        "stop target-qemu ''",
        "functions 0000:06:00.0 0 1",
        "put_back /sys/bus/pci/devices/0000:06:00.0/sriov_drivers_autoprobe 1 0",
        "functions 0000:09:00.0 0 1",
        "put_back /sys/bus/pci/devices/0000:09:00.0/sriov_drivers_autoprobe 1 0",
    ]
    assert [text for text in undone if text in wanted] == wanted
    for name in ("vs-br-source", "vs-tap-source", "vs-br-target", "vs-tap-target"):
        assert any(name in text for text in undone)
    assert not any("source-qemu" in text for text in undone), "it has ended with the move"


@pytest.mark.parametrize("kind", KINDS)
def test_the_plan_is_a_script(kind: Kind) -> None:
    checked = subprocess.run(
        ["shellcheck", "-"], input=plan(kind).text(), stdout=subprocess.PIPE, text=True
    )
    assert checked.returncode == 0, checked.stdout


def test_two_servers_take_turns() -> None:
    """Each script says whose turn it is, and waits for its own; the guest goes over TCP."""
    scripts = plans("i40e", two=True)
    texts = [flat(script) for script in scripts]
    told = [re.findall(r"echo 'plan: turn (\d+) is that of dut(\d)'", text) for text in texts]
    waits = [re.findall(r"read -r -p .*?says that it is turn (\d+)", text) for text in texts]
    assert [number for number, _ in told[0]] == waits[1]
    assert [number for number, _ in told[1]] == waits[0]
    assert {name for _, name in told[0]} == {"2"}
    numbers = sorted(int(number) for one in waits for number in one)
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 4
    source, target = texts
    assert '"execute": "migrate", "arguments": {"uri": "tcp:dut2:5555"}' in source
    assert '"execute": "migrate-incoming", "arguments": {"uri": "tcp:dut2:5555"}' in target
    assert "start source-qemu" in source
    assert "start target-qemu" in target
    assert "create bonded device" in source
    assert "port attach 0000:01:00.0" in target
    for script in scripts:
        assert not any("turn" in step.text for step in script.undo)
        checked = subprocess.run(
            ["shellcheck", "-"], input=script.text(), stdout=subprocess.PIPE, text=True
        )
        assert checked.returncode == 0, checked.stdout


def test_a_plan_for_two_servers_has_a_script_for_each() -> None:
    """As `vswitch plan` prints it, for an example lab whose second pair of ports is elsewhere."""
    plain = load(str(ROOT / "labs/82599.yaml"))
    target = {"host": "root@dut3"}
    sections = plain.model_dump(mode="json", exclude={"name"}) | {"target": target}
    two = chosen(
        Lab.model_validate({"name": "two", **sections}), vswitch=None, hypervisor=None, nic="sriov"
    )
    elsewhere = opener("82599")

    def opened(lab: Lab, role: str) -> Any:
        if role != "target":
            return elsewhere(lab, role)
        return elsewhere(lab.model_copy(update={"dut": lab.target}), "dut")

    scripts = planning.scripts(two, "bonded_migration", [], "a test", opened=opened)
    assert list(scripts) == ["root@dut2", "root@gen2", "root@dut3"]
    source, target_ = flat(scripts["root@dut2"]), flat(scripts["root@dut3"])
    assert "start source-qemu" in source
    assert "start target-qemu" in target_
    assert "/sys/bus/pci/devices/0000:04:00.0/sriov_numvfs" in target_
    assert "0000:04:00.0" not in source
    assert "Enter, when the generator sends" in source


def test_a_lab_without_pfs_has_no_plan() -> None:
    program = "import sys; from pytest_vswitch.cli import main; sys.exit(main())"
    words = ["plan", "suites/live_migration", "--nic", "sriov", "--dut", "local"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 4
    assert "no plan of live_migration: live_migration has virtio ports only" in done.stderr
    assert "no plan of bonded_migration: --nic sriov needs NICs with SR-IOV" in done.stderr
    assert "no topology of suites/live_migration fits this lab, as said above" in done.stderr


def test_the_pages_of_the_example_labs() -> None:
    """`python -m tests.plans.page` writes them, tests/plans holds them against the labs."""
    for name, asks in (("82599", True), ("x710", False)):
        text = (ROOT / f"docs/plans/{name}/live_migration-sriov.sh").read_text()
        assert ("mac_addr add port 1 vf 0 " in text) is asks
        assert (" vf 0 mac " in text) is not asks
        for words in ("id=vf1,bus=slot0", "device_del", "device_add", "create bonded device 1 0"):
            assert words in text
