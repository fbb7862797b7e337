"""docs/plans/, made of the example labs: `python -m tests.plans.page` writes it."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_vswitch import planning
from pytest_vswitch.hosts.shell_script import Script
from pytest_vswitch.lab.choices import chosen
from pytest_vswitch.lab.loader import parse_lab
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.traffic.trex import client
from tests.plans.server import Server, server

ROOT = Path(__file__).parents[2]
PAGES = "docs/plans"
LABS = ("x710", "82599")


@dataclass(frozen=True, slots=True)
class Plan:
    """What `vswitch plan` is asked for."""

    file: str
    suite: str
    topology: str
    wires: str
    guide: str
    choices: Mapping[str, str] = field(default_factory=dict)
    """By option, in place of the lab's."""
    ports: str = ""
    """Of OVDK: `memnic` or `kni`, for a lab with what its comments say of that."""
    labs: tuple[str, ...] = LABS
    driver: str = ""
    """Of all ports, in place of the lab's."""


_OVS, _LIBVIRT, _OVDK = {"vswitch": "ovs-dpdk"}, {"hypervisor": "libvirt"}, {"vswitch": "ovdk"}

PLANS = (
    Plan("p2p", "p2p", "p2p", "testpmd, no guest", "-"),
    Plan("pvp", "pvp", "pvp", "testpmd, a guest", "4"),
    Plan("pvp-ovs-dpdk", "pvp", "pvp", "Open vSwitch, a guest", "4", _OVS),
    Plan("pvp-libvirt", "pvp", "pvp", "testpmd, a guest of libvirt's", "4.2.5", _LIBVIRT),
    Plan("pvvp", "pvvp", "pvvp", "testpmd, two guests in a row", "4"),
    Plan("rfc2544", "rfc2544", "pvp", "as pvp; every benchmark", "4.4", {"topology": "pvp"}),
    Plan("phy_vm_phy", "phy_vm_phy", "phy_vm_phy", "testpmd, a guest whose kernel routes", "M, K"),
    Plan(
        "phy_vm_phy_testpmd",
        "phy_vm_phy",
        "phy_vm_phy_testpmd",
        "testpmd, a guest with testpmd",
        "M, K",
    ),
    *(
        Plan(
            f"phy_vm_phy-ovdk-{ports}",
            "phy_vm_phy",
            "phy_vm_phy",
            f"Intel DPDK vSwitch, a guest with {ports.upper()}",
            ports[0].upper(),
            _OVDK,
            ports,
            ("82599",),
        )
        for ports in ("memnic", "kni")
    ),
    Plan("container", "container", "container", "testpmd, a container", "6"),
    Plan("memif", "memif", "memif", "two testpmds, memif between them", "memif PMD"),
    Plan("memif_zero_copy", "memif", "memif_zero_copy", "the same, not copying", "memif PMD"),
    Plan("memif_loopback", "memif", "memif_loopback", "one testpmd, memif within", "memif PMD"),
    Plan("vhost_switch", "vhost_switch", "vhost_switch", "dpdk-vhost, two guests", "vhost sample"),
    *(
        Plan(f"exception_path_{way}", "exception_path", f"exception_path_{way}", wires, "7")
        for way, wires in (
            ("vhost_net", "testpmd, the kernel by vhost-net"),
            ("tap", "testpmd, the kernel by TAP"),
            ("af_packet", "testpmd, the kernel by af_packet"),
        )
    ),
    Plan("live_migration", "live_migration", "live_migration", "two testpmds, a moving guest", "2"),
    Plan(
        "live_migration-sriov",
        "live_migration",
        "bonded_migration",
        "two PFs, a moving guest with a VF",
        "1",
        {"nic": "sriov"},
    ),
    Plan("vfd", "vfd", "vfd", "a PF, two VFs, a testpmd on each", "5"),
    Plan("vfd-kernel", "vfd", "vfd", "the kernel's PF, testpmds on two VFs", "5", driver="kernel"),
    Plan(
        "flow_bifurcation", "flow_bifurcation", "flow_bifurcation", "a PF, testpmd on two VFs", "3"
    ),
)


_CARDS = {
    "x710": ("i40e", {f"0000:81:00.{n}": f"ens1f{n}" for n in range(4)}),
    "82599": (
        "ixgbe",
        {f"0000:0{3 + n // 2}:00.{n % 2}": f"ens{1 + n // 2}f{n % 2}" for n in range(4)},
    ),
}
_GENERATORS = {
    "x710": ("i40e", {f"0000:18:00.{n}": f"enp24s0f{n}" for n in range(4)}),
    "82599": (
        "ixgbe",
        {f"0000:0{2 + n // 2}:00.{n % 2}": f"enp{2 + n // 2}s0f{n % 2}" for n in range(4)},
    ),
}


def opener(name: str) -> Any:
    """What opens a host of an example lab."""
    made = {
        "dut": server(*_CARDS[name]),
        "generator": server(*_GENERATORS[name]),
    }

    @contextlib.contextmanager
    def opened(lab: Lab, role: str) -> Iterator[Server]:
        address = getattr(lab, role).host or lab.dut.host
        yield Server(address, made[role])

    return opened


def _lab_text(name: str, plan: Plan) -> str:
    """The lab, for OVDK with what its comments say of that."""
    text = (ROOT / f"labs/{name}.yaml").read_text()
    if plan.driver:
        text = re.sub(r"^( +driver:) .*", rf"\1 {plan.driver}", text, flags=re.MULTILINE)
    if plan.ports:
        text = re.sub(r"^( *)#: ", r"\1", text, flags=re.MULTILINE)
        text = re.sub(r": .*  # ovdk: ", ": ", text)
        if plan.ports == "kni":
            text = text.replace("ports: memnic", "ports: kni").replace("/opt/memnic", "/opt/dpdk")
    return text


def _lab(name: str, plan: Plan) -> Lab:
    lab = parse_lab(_lab_text(name, plan), Path(f"labs/{name}.yaml"))
    vswitch, hypervisor, nic = (plan.choices.get(o) for o in ("vswitch", "hypervisor", "nic"))
    return chosen(lab, vswitch=vswitch, hypervisor=hypervisor, nic=nic)


def render(directory: Path) -> None:
    """Every page, below `directory`."""
    os.environ.pop(client.VARIABLE, None)  # of whoever renders
    collected: dict[str, list[planning.Test]] = {}
    with tempfile.TemporaryDirectory() as place:
        for plan in PLANS:
            options = planning.options(plan.choices)
            for name in plan.labs:
                lab = _lab(name, plan)
                copy = Path(place) / f"{name}.yaml"
                words = ["pytest", f"suites/{plan.suite}", "--dut", name, *options]
                words += [f"(driver: {plan.driver})"] * bool(plan.driver)
                key = " ".join([words[1], *options, plan.ports, plan.driver])
                if key not in collected:
                    copy.write_text(_lab_text(name, plan))
                    more = [*options, "--import-mode=importlib"]
                    collected[key] = planning.collect([words[1]], str(copy), more)
                tests = planning.tests_of(collected[key], plan.topology)
                scripts = planning.scripts(
                    lab, plan.topology, tests, " ".join(words), opened=opener(name)
                )
                for suffix, script in zip(("", "-generator"), scripts.values(), strict=False):
                    path = directory / PAGES / name / f"{plan.file}{suffix}.sh"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(_text(script))
    (directory / PAGES / "README.md").write_text(index())


def _text(script: Script) -> str:
    # How the guest's image is built has a share in its name; a plan's page needs none.
    return re.sub(r"guest-[0-9a-f]{16}\b", "guest-0123456789abcdef", script.text())


_INDEX = """\
# Plans for the example labs

Made by `python -m tests.plans.page`, of [labs/x710.yaml](../../labs/x710.yaml) and
[labs/82599.yaml](../../labs/82599.yaml), on made-up servers of Debian 12; a test holds each file
against that. For a lab of yours, `vswitch plan SUITE --dut LAB` prints it: [plan](../plan.md).

Each plan says what must be there before; brings its topology up; says what is sent, typed and
expected, test by test; and undoes everything. Its generator has a plan of its own, on a host of
its own.

| pytest | what is wired | guide | X710 (i40e) | 82599 (ixgbe) |
|---|---|---|---|---|
"""


def index() -> str:
    """README.md of the pages."""
    rows = []
    for plan in PLANS:
        options = " ".join(planning.options(plan.choices))
        pages = [
            f"[DUT]({name}/{plan.file}.sh), [generator]({name}/{plan.file}-generator.sh)"
            if name in plan.labs
            else "-"
            for name in LABS
        ]
        command = f"`suites/{plan.suite} {options}`".replace(" `", "`")
        command += f", `driver: {plan.driver}`" * bool(plan.driver)
        rows.append(f"| {command} | {plan.wires} | {plan.guide} | {' | '.join(pages)} |\n")
    return _INDEX + "".join(rows)


if __name__ == "__main__":
    render(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
