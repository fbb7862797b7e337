"""The Intel DPDK vSwitch in a lab: what it wants, what it cannot be combined with, its plan."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch.errors import InputError, NotHere
from pytest_vswitch.hosts.hugepages import Hugepages
from pytest_vswitch.hosts.plan import PlanHost, script_for
from pytest_vswitch.hosts.shell_script import Script
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies import phy_vm_phy, phy_vm_phy_testpmd
from pytest_vswitch.topologies.endpoints import Place, guest_kni, guest_memnic
from pytest_vswitch.topologies.lcores import LcorePlan
from pytest_vswitch.topologies.vswitches import ovdk
from tests.emulated.ovdk import BDFS, TRANSPORTS, Transport, lab, order, wired
from tests.emulated.ovdk_host import OvdkHost
from tests.hosts.test_plan import Untouchable

ROOT = Path(__file__).parents[2]


def changed(base: Lab, section: str, **keys: Any) -> Lab:
    part = getattr(base, section).model_copy(update=keys)
    return base.model_copy(update={section: part})


@pytest.mark.parametrize("transport", ["memnic", "kni"])
def test_a_lab_that_has_everything(transport: Transport) -> None:
    ovdk.preflight(lab(transport), OvdkHost())
    kind = guest_memnic if transport == "memnic" else guest_kni
    kind.preflight(lab(transport), OvdkHost())


@pytest.mark.parametrize(
    ("section", "keys", "message"),
    [
        ("dut", {"hugepages": "none"}, "needs hugepages"),
        ("ovdk", {"path": "/none"}, "has no built Intel DPDK vSwitch in /none: there is no /none/"),
        ("ovdk", {"sources": "/none"}, "emulated has no /none, which the guest builds of"),
        ("ovdk", {"qemu": "guest"}, "only the QEMU of the release knows"),
        ("guest", {"image": "builtin"}, "builds a kernel module: name an image with a compiler"),
        ("guest", {"kernel": "/boot/vmlinuz"}, "the image boots its own kernel"),
        ("guest", {"hypervisor": "libvirt"}, "only qemu starts one"),
    ],
)
def test_what_it_cannot_do_is_told(section: str, keys: dict[str, Any], message: str) -> None:
    chosen = changed(lab("kni"), section, **keys)
    host = OvdkHost()

    def preflight() -> None:
        ovdk.preflight(chosen, host)
        guest_kni.preflight(chosen, host)

    with pytest.raises(InputError, match=message):
        preflight()


@pytest.mark.parametrize(
    "path",
    [
        "/opt/dpdk-ovs/guest/memnic/memnic_set_mac_address.patch",
        "/opt/dpdk-ovs/guest/kni/rte_kni_module_1_6.patch",
        "/opt/dpdk-ovs/guest/kni/kni_client/kni_client.c",
    ],
)
def test_a_release_without_the_guests_part_is_told(path: str) -> None:
    host = OvdkHost()
    del host.files[path]
    transport: Transport = "memnic" if "memnic" in path else "kni"
    kind = guest_memnic if transport == "memnic" else guest_kni
    missing = path.removesuffix("/kni_client.c")
    with pytest.raises(InputError, match=f"emulated has no {missing}, which the guest builds of"):
        kind.preflight(lab(transport), host)


def test_a_lab_without_its_section_is_told_what_to_write() -> None:
    without = lab("memnic").model_copy(update={"ovdk": None})
    with pytest.raises(InputError, match=r"name its folder in a section `ovdk` of the lab, e\.g\."):
        phy_vm_phy.chain(without)._kinds(without)[0].preflight(without, OvdkHost())


def test_memif_ports_are_told() -> None:
    memif = Lab.model_validate(
        {
            "name": "it",
            "dut": {"host": "local", "vswitch": "ovdk"},
            "ports": [{"kind": "memif"}, {"kind": "memif"}],
            "ovdk": {"path": "/opt/dpdk-ovs", "sources": "/opt/memnic"},
        }
    )
    with pytest.raises(InputError, match="drives NICs only; a lab with ports of kind `memif`"):
        ovdk.preflight(memif, OvdkHost())


@pytest.mark.parametrize("cpus", [(0, 1, 2, 3), (0,)])
def test_too_few_cpus_are_told(cpus: tuple[int, ...]) -> None:
    wanted = order("memnic")
    few = LcorePlan(cpus, len(cpus) - 1, (), False, None, ())
    host = OvdkHost()
    wanted = type(wanted)(wanted.ports, wanted.vhosts, wanted.pairs, few, wanted.pages)
    too_few = pytest.raises(InputError, match=f"needs 5 CPUs of its own .*, and has {len(cpus)}")
    with too_few, ovdk.start(lab("memnic"), host, wanted):
        pass


def test_leftovers_of_another_run_are_refused_not_removed() -> None:
    host = OvdkHost()
    host.files["/var/run/.rte_config"] = ""
    there = pytest.raises(Exception, match=r"/var/run/.rte_config is there already")
    with there, ovdk.start(lab("memnic"), host, order("memnic")):
        pass
    assert "/var/run/.rte_config" in host.files


def test_the_wiring_follows_vswitch_and_ports() -> None:
    assert phy_vm_phy.chain(lab("memnic")).endpoints == ("guest-memnic",)
    assert phy_vm_phy.chain(lab("kni")).endpoints == ("guest-kni",)
    assert phy_vm_phy.chain(lab("kni"))._variant(lab("kni")) == {"vswitch": "ovdk", "ports": "kni"}
    other = changed(lab("kni"), "dut", vswitch="testpmd")
    assert phy_vm_phy.chain(other).endpoints == ("guest-kernel",)


def test_testpmd_in_the_guest_is_left_out() -> None:
    with pytest.raises(NotHere, match="none for its testpmd"):
        phy_vm_phy_testpmd.preflight(lab("kni"), OvdkHost())


def test_nics_are_numbered_by_their_addresses() -> None:
    chosen = lab("kni")
    assert chosen.ovdk is not None
    wanted = order("kni")
    swapped = type(wanted.ports)(wanted.ports.ports, BDFS[::-1])
    crossed = type(wanted)(swapped, wanted.vhosts, wanted.pairs, wanted.cores, wanted.pages)
    ports = ovdk.wired_ports(chosen.ovdk, crossed)
    assert [(name, port.number, port.option) for name, port in ports.items()] == [
        ("nic0", 17, 2),
        ("nic1", 16, 1),
        ("kni0", 32, None),
        ("kni1", 33, None),
    ]


def planned(tmp_path: Path, transport: Transport, **ovdk_keys: object) -> Script:
    """What is done for the switch and its guest, up to its flows, and undone."""
    here = Installed("plan-test", Transcript(tmp_path / "log"), tmp_path / "state")
    script = script_for(here, "A test's.")
    host = PlanHost(here, script)
    chosen, wanted = lab(transport, **ovdk_keys), order(transport)
    place = Place(0, wanted.vhosts, False, 2, (4, 5), Hugepages(2048, "it"))
    kind = guest_memnic if transport == "memnic" else guest_kni
    vswitch, guest = ovdk.start(chosen, host, wanted), kind.start(chosen, host, place)
    with vswitch as switch, guest:
        switch.forward()
        host.up()
    return script


class Installed(Untouchable):
    """This machine, with what the emulated host has, for a plan to look at."""

    def exists(self, path: str) -> bool:
        return OvdkHost().exists(path)

    def which(self, program: str) -> str | None:
        return program

    def ask(self, argv: Any, **how: Any) -> Any:
        return super().ask(argv, **how) if argv[0] == "uname" else OvdkHost().run(argv)


@pytest.mark.parametrize("transport", ["memnic", "kni"])
def test_a_plan_has_every_step_of_the_guide_in_its_order(
    tmp_path: Path, transport: Transport
) -> None:
    script = planned(tmp_path, transport)
    text = "\n".join(step.text for step in script.up)
    metadata = "dmesg | grep" if transport == "memnic" else "IVSHMEM metadata found"
    line = ["ovsdb-tool create", "add-br", "ofport_request=17", "ovs_dpdk -c 0xf", "ovs-vswitchd"]
    line += ["ovs-ivshm-mngr -c 0x1"] if transport == "kni" else []
    line += ["qemu-system-x86_64 -c 0x30", "mount -o iocharset", "insmod", metadata, "hw ether"]
    line += ["ip_forward=1", "route add default gw 3.3.3.2", "arp -s", "del-flows", "add-flow"]
    places = [text.index(words) for words in line]
    assert places == sorted(places)
    undone = "\n".join(step.text for step in script.undo)
    assert "/var/run/.rte_config" in undone
    assert "unmount" in undone


def test_a_plan_with_the_labs_qemu_has_the_device_that_it_knows(tmp_path: Path) -> None:
    text = "\n".join(step.text for step in planned(tmp_path, "memnic", qemu="guest").up)
    assert "--proc-type secondary" not in text
    assert "mem-path=/dev/shm/ovs_dpdk_49,size=16M" in text
    assert "-device ivshmem-plain,memdev=shared1" in text


# --- the suite, and its page ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("dut", "vswitch", "there"),
    [("local", "ovdk", True), ("local", "testpmd", False), ("sim", "ovdk", False)],
)
def test_the_guides_checks_are_for_this_vswitch_alone(dut: str, vswitch: str, there: bool) -> None:
    argv = [sys.executable, "-m", "pytest", "suites/phy_vm_phy", "--dut", dut, "-q"]
    argv += ["--vswitch", vswitch, "--collect-only", "-p", "no:cacheprovider"]
    plain = {**os.environ, "PYTEST_ADDOPTS": ""}
    done = subprocess.run(
        argv, cwd=ROOT, env=plain, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("test_ovdk.py::test_guest_found_the_metadata" in done.stdout) is there
    assert "test_phy_vm_phy.py::test_frames_are_routed_exactly" in done.stdout


def test_every_line_of_the_pages_table_is_carried_out() -> None:
    """The last column's first words in backticks, unless they name a key or a file."""
    done = []
    for transport in TRANSPORTS:
        host = OvdkHost()
        with wired(host, transport):
            done += host.steps
    page = (ROOT / "docs" / "ovdk.md").read_text()
    table = page.partition("|---|---|---|\n")[2].partition("\n\n")[0]
    rows = [line.replace("\\|", "\0").split("|")[3] for line in table.splitlines()]
    said = [words.replace("\0", "|") for row in rows for words in re.findall(r"`([^`]+)`", row)[:1]]
    others = {"ovdk.path", "test_phy_vm_phy.py"}
    missing = [words for words in said if not any(words in step for step in done)]
    assert set(missing) == others
    assert len(said) == len(rows)
