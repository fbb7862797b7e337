from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.lab.document import parse
from pytest_vswitch.lab.json_schema import json_schema
from pytest_vswitch.lab.loader import parse_lab
from pytest_vswitch.lab.ports import NicPortSpec
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.machine import discovery
from pytest_vswitch.machine.discovery import Found, choose_lcores, choose_ports, driver_for
from pytest_vswitch.machine.facts_text import BEGIN, END
from pytest_vswitch.machine.lab_text import renewed, written
from pytest_vswitch.machine.nics import Nic
from pytest_vswitch.machine.software import UNKNOWN
from pytest_vswitch.machine.wiring import Wires
from tests.machine.emulated import EmulatedHost
from tests.machine.nic_trees import add_nic, by, default_route
from tests.machine.trees import CPU, NICS, PCI, Tree, server

Look = Callable[[Tree], Found]

LAB = Path("labs/lab1.yaml")
WIRES = Wires({"ens1f0": "enp1", "ens1f1": "enp2"}, {})


def rack_server() -> Tree:
    """The server with its management port, and what `lab init` asks besides."""
    tree = server()
    add_nic(tree, "0000:03:00.0", "eno1")
    tree.put("/etc", **{"os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"'})
    tree.answers["dpdk-testpmd", "-v", "-h"] = "EAL: RTE Version: 'DPDK 22.11.7'\n\nUsage: x\n"
    tree.answers["qemu-system-x86_64", "--version"] = "QEMU emulator version 7.2.9 (Debian 1)\n"
    tree.answers["python3", "--version"] = "Python 3.11.2\n"
    tree.answers["ovs-vswitchd", "--version"] = "ovs-vswitchd (Open vSwitch) 3.1.0\nDPDK 22.11.1\n"
    return tree


def loaded(text: str) -> Lab:
    """A generated file must load, and satisfy the schema that editors use."""
    jsonschema.Draft202012Validator(json_schema()).validate(parse(text, LAB).data)
    return parse_lab(text, LAB)


def nic_ports(lab: Lab) -> list[NicPortSpec]:
    return [port for port in lab.ports if isinstance(port, NicPortSpec)]


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """Looks at a host that is made of a tree, as often as one likes."""
    hosts = itertools.count()

    def found(tree: Tree) -> Found:
        for unread in ("/proc/irq", f"{CPU}/cpufreq"):
            tree.drop(unread)
        tree.links = {path: to for path, to in tree.links.items() if "/cpufreq" not in path}
        tree.files = {path: text for path, text in tree.files.items() if "/cpuidle/" not in path}
        return discovery.look(EmulatedHost(tmp_path / str(next(hosts)), tree))

    return found


def test_a_lab_file_is_made_of_what_is_found(look: Look) -> None:
    """Verify: ports, CPUs and hugepages are the guide's choice, and each says why."""
    found = look(rack_server())
    proposed = discovery.propose(
        "root@dut1", found, generator="root@tg", beside=found, wires=WIRES,
        ssh={"identity": "/keys/id"},
    )  # fmt: skip
    text = written(proposed, "vswitch lab init root@dut1 root@tg", LAB)
    lab = loaded(text)
    assert lab.dut.host == "root@dut1"
    assert lab.generator.host == "root@tg"
    assert lab.generator.ssh == lab.dut.ssh
    assert lab.dut.ssh is not None
    assert lab.dut.ssh.identity == "/keys/id"
    assert lab.dut.lcores == [9, 10, 11, 12, 13]
    assert lab.dut.hugepages == "1G"
    assert [(p.bdf, p.driver, p.line_rate_gbps, p.generator) for p in nic_ports(lab)] == [
        (NICS[0], "vfio-pci", 25.0, "enp1"),
        (NICS[1], "vfio-pci", 25.0, "enp2"),
    ]
    comments = " ".join(re.sub(r"^ *# *", "", line) for line in text.splitlines())
    for told in (
        "DUT root@dut1: Debian GNU/Linux 12 (bookworm), kernel 6.1.0-18-amd64",
        "DPDK 22.11.7, QEMU 7.2.9, Open vSwitch 3.1.0, Python 3.11.2; not there: VPP, TRex, numpy",
        "node 0: CPUs 0-7; siblings: none",
        "isolated CPUs: 10-15; without a tick: 10-15",
        "hugepages: node 1: 6 of 1G",
        "IOMMU: 3 groups",
        "0000:03:00.0 eno1 (8086:1563, ixgbe): node 0, link up at 10 Gbit/s, PCIe 8 GT/s x4 of x8; "
        "not chosen: never touched: eno1 carries the default route",
        f"{NICS[0]} ens1f0 (8086:159b, ice): node 1, link up at 25 Gbit/s, PCIe 16 GT/s x8 of x8, "
        "firmware 4.40 0x8001c967 1.3534.0; chosen",
        "ens1f0 to the generator's enp1",
        "CPU 9 for the command line, 10-13 forward: node 1, one to a core, isolated, CPU 0 left to "
        "Linux; 14-15 left for the guest.",
        "the IOMMU is on (3 groups).",
        "6144 MiB were free in pages of 1G.",
    ):
        assert told in comments
    assert max(map(len, text.splitlines())) <= 100


def test_what_a_host_says_cannot_leave_its_comment(look: Look) -> None:
    tree = rack_server()
    tree.put("/etc", **{"os-release": 'PRETTY_NAME="Evil\u2028host: x\r\x1b[31m"'})
    tree.answers["qemu-system-x86_64", "--version"] = "QEMU emulator version 7\x0bports:\n"
    proposed = discovery.propose("local", look(tree))
    text = written(proposed, "vswitch\nlab init", LAB)
    assert loaded(text).dut.host == "local"
    assert not re.search(r"[^\n\x20-\x7e]", text)
    assert "# Written by `vswitch lab init`" in text


@pytest.mark.parametrize("name", ["a#b", "null", "{x", "e'th\"0"])
def test_names_are_quoted_where_yaml_needs_it(name: str, look: Look) -> None:
    wires = Wires({"ens1f0": name, "ens1f1": "enp2"}, {})
    proposed = discovery.propose("[::1]:22", look(rack_server()), wires=wires)
    lab = loaded(written(proposed, "vswitch lab init", LAB))
    assert nic_ports(lab)[0].generator == name
    assert lab.dut.host == "[::1]:22"


def test_without_a_nic_port_there_is_shared_memory(look: Look) -> None:
    tree = rack_server()
    default_route(
        tree, [{"dst": "default", "nexthops": [{"dev": d} for d in ("ens1f0", "ens1f1")]}]
    )
    tree.drop(f"{PCI}/devices/0000:03:00.0")
    found = look(tree)
    text = written(discovery.propose("root@dut1", found, generator="tg", beside=found), "x", LAB)
    lab = loaded(text)
    assert [port.kind for port in lab.ports] == ["memif", "memif"]
    assert lab.generator.host is None
    assert "# No NIC port of the DUT can be used (the reasons stand above): the ports are" in text
    assert "# The generator runs on the DUT, not on tg: see above." in text


def test_a_generator_on_the_dut_has_a_core_of_its_own(look: Look) -> None:
    text = written(discovery.propose("local", look(rack_server())), "x", LAB)
    lab = loaded(text)
    assert lab.dut.lcores == [9, 10, 11]  # two forward: four, two vCPUs and it are too many
    assert lab.generator.cpu == 12


# --- choosing -------------------------------------------------------------------------------


def nic(bdf: str, netdev: str = "", **fields: Any) -> Nic:
    defaults: dict[str, Any] = {
        "vendor": "8086", "device": "159b", "driver": "ice" if netdev else "vfio-pci",
        "mac": "", "node": 0, "link_up": True if netdev else None,
        "speed_mbps": 25000 if netdev else None, "pcie_width": 8, "pcie_width_max": 8,
        "pcie_gts": 16.0, "pcie_gts_max": 16.0, "mtu": 1500, "firmware": "",
        "driver_version": "", "total_vfs": 0, "vfs": 0, "vf_of": "", "pause_rx": None,
        "pause_tx": None, "addresses": (), "part_of": (), "management": "",
    }  # fmt: skip
    return Nic(bdf=bdf, netdev=netdev, **{**defaults, **fields})


A, B, C, D = "0000:11:00.0", "0000:11:00.1", "0000:22:00.0", "0000:22:00.1"


@pytest.mark.parametrize(
    ("found", "wired", "chosen", "others"),
    [
        ([], {}, [], {}),
        ([nic(A, "a")], {}, [A], {}),
        ([nic(A, "a"), nic(C, "c"), nic(D, "d")], {}, [C, D], {A: "fit, but 2 are enough"}),
        (
            [nic(A, "a", link_up=False, speed_mbps=None), nic(B, "b"), nic(C, "c")],
            {},
            [B, C],
            {A: "fit, but it has no link"},
        ),
        (
            [nic(A, "a"), nic(B, "b"), nic(C, "c"), nic(D, "d")],
            {"a": "x", "d": "y"},
            [A, D],
            dict.fromkeys((B, C), "fit, but no wire to the generator was found"),
        ),
        (
            [nic(A, "a"), nic(B, "b")],
            {"b": "y"},
            [B],
            {A: "fit, but no wire to the generator was found"},
        ),
        (
            [nic(A, "a", speed_mbps=1000), nic(B, "b", speed_mbps=1000), nic(C, "c"), nic(D, "d")],
            {},
            [C, D],
            dict.fromkeys((A, B), "fit, but 2 are enough"),
        ),
        ([nic(A), nic(B), nic(C, "c", management="c carries")], {}, [A, B],
         {C: "never touched: c carries"}),
    ],
)  # fmt: skip
def test_which_ports_are_chosen(
    found: list[Nic], wired: dict[str, str], chosen: list[str], others: dict[str, str]
) -> None:
    ports = choose_ports(found, wired)
    assert [port.bdf for port in ports.chosen] == chosen
    assert ports.others == others


def test_the_generators_end_of_a_wire_is_not_the_duts() -> None:
    found = [nic(A, "a"), nic(B, "b"), nic(C, "c"), nic(D, "d")]
    ports = choose_ports(found, {"a": "c", "b": "d"}, generator_here=True)
    assert [port.bdf for port in ports.chosen] == [A, B]
    assert ports.others == dict.fromkeys((C, D), "it is the generator's end of a wire")


@pytest.mark.parametrize(
    ("tree", "node", "here", "expected"),
    [
        (server(), 1, False, (9, 10, 11, 12, 13)),
        (server(), -1, False, (9, 10, 11, 12, 13)),  # not told: where the isolated ones are
        (server(), 0, False, (1, 2, 3, 4, 5)),  # none is isolated there
        (server(polling=()), 1, True, (8, 9, 10, 11, 12)),
        (server(threads=2), 1, False, (9, 10, 11, 12, 13)),
        (server(threads=2, polling=range(26, 32)), 1, False, (9, 26, 27, 28, 29)),
        (server(polling=(14, 15)), 1, False, (13, 14)),  # and 15 for the guest
        (server(polling=(15,)), 1, False, (8, 9, 10, 11, 12)),  # one isolated is too few
        (server(polling=range(8, 16)), 1, False, (8, 9, 10, 11, 12)),
    ],
)
def test_which_lcores_are_chosen(
    tree: Tree, node: int, here: bool, expected: tuple[int, ...], look: Look
) -> None:
    """Verify: of the NIC's node, one to a core, none of CPU 0's core, isolated if there are."""
    found = look(tree).cpus
    lcores = choose_lcores(found, node, generator_here=here)
    assert lcores.host == expected
    assert not found.siblings_of(lcores.host) & set(lcores.host)
    assert not {0, *found.siblings_of([0])} & set(lcores.host)
    assert (lcores.generator is not None) == here
    assert lcores.generator not in lcores.host


def test_too_few_cores_are_left_to_auto(look: Look) -> None:
    tree = server()
    tree.put(CPU, online="0-2")
    lcores = choose_lcores(look(tree).cpus, 0, generator_here=False)
    assert lcores.host == ()
    assert lcores.why.startswith("node 0 has 2 cores besides that of CPU 0: too few for polling")


def test_the_driver_fits_the_card_and_the_iommu(look: Look) -> None:
    tree = rack_server()
    found = look(tree)
    assert driver_for(nic(A, "a"), found)[0] == "vfio-pci"
    mellanox = nic(A, "a", vendor="15b3", driver="mlx5_core")
    assert driver_for(mellanox, found) == ("kernel", "its DPDK driver works beside the kernel's")


def test_without_an_iommu_the_driver_says_what_to_do(look: Look) -> None:
    tree = rack_server()
    tree.drop("/sys/kernel/iommu_groups")
    tree.drop("/sys/devices/pci0000:80/0000:80:02.0/0000:81:00.0/iommu_group")
    tree.links = {path: to for path, to in tree.links.items() if "iommu" not in path}
    driver, why = driver_for(nic(A, "a"), look(tree))
    assert driver == "vfio-pci"
    assert why.startswith("but no IOMMU is in use: intel_iommu=on iommu=pt")


def test_without_an_iommu_uio_is_offered_where_the_kernel_has_it(look: Look) -> None:
    tree = rack_server()
    tree.links = {path: to for path, to in tree.links.items() if "iommu" not in path}
    tree.drop("/sys/kernel/iommu_groups")
    modules = "/lib/modules/6.1.0-18-amd64/kernel/drivers/uio"
    tree.put(modules, **{"uio_pci_generic.ko": ""})
    driver, why = driver_for(nic(A, "a"), look(tree))
    assert driver == "uio_pci_generic"
    assert why.startswith("no IOMMU is in use; intel_iommu=on")


def test_versions_are_those_that_the_programs_tell(look: Look) -> None:
    tree = rack_server()
    tree.answers["vpp",] = ""
    tree.answers["dpkg-query", "-W", "-f", "version ${Version}", "vpp"] = "version 25.10-release"
    tree.put("/opt/trex/v3.08", **{"t-rex-64": ""})
    tree.put("/opt/trex/v2.99", **{"t-rex-64": ""})
    tree.answers["qemu-system-x86_64", "--version"] = "something else\n"
    software = look(tree).software
    assert (software.vpp, software.trex, software.qemu) == ("25.10-release", "3.08", UNKNOWN)
    assert (software.dpdk, software.ovs, software.numpy) == ("22.11.7", "3.1.0", "")


# --- renewing -------------------------------------------------------------------------------


def a_lab(look: Look, tree: Tree) -> str:
    found = look(tree)
    return written(discovery.propose("root@dut1", found, generator="tg", beside=found), "x", LAB)


def again(found: Found, wires: Wires | None = None) -> discovery.Discovery:
    return discovery.propose(
        "root@dut1", found, generator="tg", beside=found, wires=wires, ports=list(NICS)
    )


def test_what_has_not_changed_is_not_written(look: Look) -> None:
    tree = rack_server()
    text = a_lab(look, tree)
    assert renewed(text, LAB, again(look(tree))) == (text, [])


def test_only_what_was_found_changes(look: Look) -> None:
    """Steps: edit a lab file by hand, give one port a faster link, look for wires.

    Verify: the comment of what was found, the line rate and the wires change, nothing else.
    """
    tree = rack_server()
    text = a_lab(look, tree)
    edited = (
        text.replace("lcores: [9, 10, 11, 12, 13]", "lcores: [8,  9,10] # mine")
        .replace("    driver: vfio-pci\n", "    driver: igb_uio\n    name: 'left'\n", 1)
        .replace("line_rate_gbps: 25\n", "line_rate_gbps: 25.0  # by hand\n", 1)
        + "# mine, too\nthresholds:\n    pvp:frame_bytes=64: {ndr_pps: 20_000}\n"
    )
    tree.put("/sys/devices/pci0000:80/0000:80:02.0/0000:81:00.0/net/ens1f0", speed=100000)
    result, remarks = renewed(edited, LAB, again(look(tree), WIRES))
    assert remarks == []
    lab = loaded(result)
    assert [(p.line_rate_gbps, p.generator, p.driver, p.name) for p in nic_ports(lab)] == [
        (100.0, "enp1", "igb_uio", "left"),
        (25.0, "enp2", "vfio-pci", "nic1"),
    ]
    assert lab.dut.lcores == [8, 9, 10]
    before, after = (t[: t.index(BEGIN)] + t[t.index(END) :] for t in (edited, result))
    changed = [
        pair
        for pair in zip(before.splitlines(), after.splitlines(), strict=True)
        if len({*pair}) > 1
    ]
    assert changed == [
        ("    line_rate_gbps: 25.0  # by hand", "    line_rate_gbps: 100  # by hand"),
        ("    generator:", "    generator: enp1"),
        ("    generator:", "    generator: enp2"),
    ]
    assert "link up at 100 Gbit/s" in result
    assert renewed(result, LAB, again(look(tree)))[0] == result  # wires are not forgotten


def test_a_line_rate_that_was_not_known_is_put_in(look: Look) -> None:
    tree = rack_server()
    here = "/sys/devices/pci0000:80/0000:80:02.0/0000:81:00.0/net/ens1f0"
    tree.put(here, carrier=0, speed=-1)
    text = a_lab(look, tree)
    assert "    line_rate_gbps: 10  # NOT KNOWN: no link was seen; write what the link has" in text
    tree.put(here, carrier=1, speed=25000)
    result, _ = renewed(text, LAB, again(look(tree)))
    assert result.count("    line_rate_gbps: 25\n") == 2
    assert "NOT KNOWN" not in result


def test_a_lab_written_by_hand_is_renewed_too(look: Look) -> None:
    text = (
        "dut: {host: root@dut1}\nports:\n"
        f"- {{kind: nic, bdf: '{NICS[0]}', line_rate_gbps: 10}} # one\n"
        f"- kind: nic\n  bdf: {NICS[1]}\n  line_rate_gbps: 25\n# end\n"
    )
    result, _ = renewed(text, LAB, again(look(rack_server()), WIRES))
    assert result == (
        "dut: {host: root@dut1}\nports:\n"
        f"- {{kind: nic, bdf: '{NICS[0]}', line_rate_gbps: 25, generator: enp1}} # one\n"
        f"- kind: nic\n  bdf: {NICS[1]}\n  line_rate_gbps: 25\n  generator: enp2\n# end\n"
    )


def test_what_no_longer_fits_the_host_is_told(look: Look) -> None:
    tree = rack_server()
    text = a_lab(look, tree)
    tree.drop(f"{PCI}/devices/{NICS[1]}")
    tree.put(CPU, online="0-11")
    default_route(tree, by("ens1f0"))
    found = look(tree)
    result, remarks = renewed(text, LAB, again(found))
    at = parse_lab(result, LAB)
    assert remarks == [
        f"{at.where('ports', 0, 'bdf')}: NIC port {NICS[0]} will not do: never touched: "
        "ens1f0 carries the default route",
        f"{at.where('ports', 1, 'bdf')}: NIC port {NICS[1]} is not there any more",
        f"{at.where('dut', 'lcores')}: CPUs 12-13 are not online; online: 0-11",
    ]


def test_a_lab_that_cannot_be_renewed_is_left(look: Look) -> None:
    text = (
        f"dut: {{host: d}}\nports:\n- {{kind: nic, bdf: '{NICS[0]}', line_rate_gbps: &r 10}}\n"
        f"- {{kind: nic, bdf: '{NICS[1]}', line_rate_gbps: *r}}\n"
    )
    with pytest.raises(InputError):
        renewed(text, LAB, again(look(rack_server())))
