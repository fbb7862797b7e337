"""Intel DPDK vSwitch: its layout, its words, and what its tools print.

Words that are Open vSwitch's are parsed by today's ovs-ofctl and ovs-vsctl; output is in the form
of release 1.0 (Open vSwitch 2.0), the guides' own where they print it.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.apps import ovdk
from pytest_vswitch.apps.ovdk import DataPlane, Directory, Release
from pytest_vswitch.errors import DutError, InputError
from pytest_vswitch.hosts.local import LocalHost
from tests.hosts.machine import machine

KNI_PORTS = [
    ovdk.phy_port("kni", "dpdkphy", 0),
    ovdk.phy_port("kni", "dpdkphy", 1),
    ovdk.guest_port("kni", 0),
    ovdk.guest_port("kni", 1),
]
GUIDE_SHOW = """\
00000000-0000-0000-0000-000000000000
    Bridge "br0"
        Port "br0"
            Interface "br0"
                type: internal
        Port "port16"
            Interface "port16"
                type: dpdkphy
                options: {port="1"}
        Port "port17"
            Interface "port17"
                type: dpdkphy
                options: {port="2"}
        Port "port32"
            Interface "port32"
                type: dpdkkni
        Port "port33"
            Interface "port33"
                type: dpdkkni
"""
DUMP_PORTS = """\
OFPST_PORT reply (xid=0x2): 2 ports
  port 16: rx pkts=12, bytes=720, drop=1, errs=2, frame=?, over=?, crc=?
           tx pkts=34, bytes=2040, drop=3, errs=0, coll=?
  port LOCAL: rx pkts=0, bytes=0, drop=0, errs=0, frame=0, over=0, crc=0
           tx pkts=0, bytes=0, drop=0, errs=0, coll=0
"""
FLOWS = """\
NXST_FLOW reply (xid=0x4):
 cookie=0x0, duration=2.1s, table=0, n_packets=0, n_bytes=0, idle_age=2, ip,in_port=16 \
actions=output:48
 cookie=0x0, duration=2.1s, table=0, n_packets=0, n_bytes=0, idle_age=2, ip,in_port=49 \
actions=output:17
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LocalHost]:
    with machine(tmp_path / "logs") as here:
        yield here


# --- layout -------------------------------------------------------------------------------

BUILT = (
    "openvswitch/ovsdb/ovsdb-tool",
    "openvswitch/ovsdb/ovsdb-server",
    "openvswitch/utilities/ovs-vsctl",
    "openvswitch/utilities/ovs-ofctl",
    "openvswitch/datapath/dpdk/build/ovs_dpdk",
    "openvswitch/vswitchd/ovs-vswitchd",
    "openvswitch/vswitchd/vswitch.ovsschema",
)


def test_a_built_tree_and_a_flat_folder_are_found(host: LocalHost, tmp_path: Path) -> None:
    for path in BUILT:
        for at in (tmp_path / "tree" / path, tmp_path / "flat" / Path(path).name):
            at.parent.mkdir(parents=True, exist_ok=True)
            at.touch()
    (tmp_path / "logs").mkdir(exist_ok=True)
    tree, flat = (ovdk.find(host, str(tmp_path / name)) for name in ("tree", "flat"))
    assert tree.paths["ovs_dpdk"] == f"{tmp_path}/tree/openvswitch/datapath/dpdk/build/ovs_dpdk"
    assert flat.argv("ovs-vsctl", "show") == [f"{tmp_path}/flat/ovs-vsctl", "show"]


def test_what_was_not_built_is_named(host: LocalHost, tmp_path: Path) -> None:
    for path in BUILT[1:]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    with pytest.raises(InputError) as caught:
        ovdk.find(host, str(tmp_path), ["ovs-ivshm-mngr"])
    assert str(caught.value) == (
        f"local has no built Intel DPDK vSwitch in {tmp_path}: there is no "
        f"{tmp_path}/openvswitch/ovsdb/ovsdb-tool, "
        f"no {tmp_path}/openvswitch/utilities/ovs-ivshm-mngr"
    )


# --- words --------------------------------------------------------------------------------


def test_the_data_planes_words_are_the_guides() -> None:
    plane = {"cores": range(4), "devices": ["0000:05:00.0", "0000:05:00.1"], "memory_mb": 512}
    memnic = DataPlane(transport="memnic", huge_directory="/huge", **plane).words()  # type: ignore[arg-type]
    kni = DataPlane(transport="kni", huge_directory="/huge", **plane).words()  # type: ignore[arg-type]
    eal, own = memnic[: memnic.index("--")], memnic[memnic.index("--") + 1 :]
    assert eal[:5] == ["-c", "0xf", "-n", "4", "--proc-type=primary"]
    assert own[:6] == ["-p", "0x3", "-n", "2", "-m", "2"]
    assert own[7:] == ["--vswitchd=0", "--client_switching_core=1", "--config=(0,0,2),(1,0,3)"]
    assert kni[kni.index("--") + 1 :][:4] == ["-p", "0x3", "-k", "2"]


@pytest.mark.parametrize(("enter", "leave"), [(16, 48), (49, 17), (32, 16)])
def test_the_real_ovs_ofctl_takes_each_flow(enter: int, leave: int) -> None:
    done = subprocess.run(
        ["ovs-ofctl", "parse-flow", ovdk.flow(enter, leave)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert f"ip,in_port={enter} actions=output:{leave}" in done.stdout


@pytest.mark.parametrize("transport", ["memnic", "kni"])
def test_the_real_ovs_vsctl_takes_bridge_and_ports(
    host: LocalHost, tmp_path: Path, transport: ovdk.Transport
) -> None:
    """Against a real database, where `show` prints them as they were added."""
    names = ("ovsdb-tool", "ovsdb-server", "ovs-vsctl", "ovs-ofctl")
    paths = {name: shutil.which(name) or name for name in names}
    paths["vswitch.ovsschema"] = "/usr/share/openvswitch/vswitch.ovsschema"
    directory = Directory(str(Path(host.scratch) / "ovdk"), Release("/usr", paths))
    kind = "dpdk" if transport == "memnic" else "dpdkphy"
    ports = [
        *(ovdk.phy_port(transport, kind, index) for index in range(2)),
        *(ovdk.guest_port(transport, index) for index in range(2)),
    ]
    host.run(["mkdir", "-p", directory.path])
    host.run(directory.create_database())
    with host.spawn(directory.serve_database(), name="ovsdb-server"):
        host.run(directory.add_bridge())
        for port in ports:
            host.run(directory.vsctl(*port.words()))
        shown = host.run(directory.vsctl("show")).output
        ovdk.check_ports(shown, ports)
        with pytest.raises(DutError, match="does not name port"):
            ovdk.check_ports(shown, [ovdk.guest_port(transport, 7)])


# --- output -------------------------------------------------------------------------------


def test_the_guides_show_is_as_its_ports_were_added() -> None:
    ovdk.check_ports(GUIDE_SHOW, KNI_PORTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"port33"', '"port34"'), "does not name port port33, which was added"),
        (("dpdkkni", "system"), "port port32 is of type system, and was added as dpdkkni"),
        (
            ('port="2"', 'port="3"'),
            "port port17 is of type dpdkphy, port 3, and was added as dpdkphy, port 2",
        ),
        (
            ("type: dpdkkni", 'type: dpdkkni\n                error: "could not open port32"'),
            "ovs-vswitchd cannot make a port: could not open port32",
        ),
    ],
)
def test_another_show_is_told(change: tuple[str, str], message: str) -> None:
    with pytest.raises(DutError, match=message):
        ovdk.check_ports(GUIDE_SHOW.replace(*change), KNI_PORTS)


def test_counters_are_read_by_port() -> None:
    assert ovdk.parse_ports(DUMP_PORTS) == {
        16: ovdk.Counters(rx=12, tx=34, rx_dropped=1, rx_errors=2, tx_dropped=3)
    }


def test_a_release_that_does_not_count_is_told() -> None:
    with pytest.raises(DutError, match=r"does not tell 'pkts' of port 16, as releases before 1\.0"):
        ovdk.parse_ports(DUMP_PORTS.replace("rx pkts=12", "rx pkts=?"))
    with pytest.raises(DutError, match="printed no port's counters"):
        ovdk.parse_ports("OFPST_PORT reply (xid=0x2): 0 ports\n")


def test_flows_are_those_that_were_added() -> None:
    ovdk.check_flows(FLOWS, [(16, 48), (49, 17)])
    with pytest.raises(DutError, match="br0 lacks the flow from port 17 to port 49"):
        ovdk.check_flows(FLOWS, [(16, 48), (49, 17), (17, 49)])
    with pytest.raises(
        DutError, match="br0 has a flow that was not added: from port 49 to port 17"
    ):
        ovdk.check_flows(FLOWS, [(16, 48)])
    with pytest.raises(DutError, match=r"br0 has a flow that was not added: .*actions=NORMAL"):
        ovdk.check_flows(f"{FLOWS} cookie=0x0, priority=0 actions=NORMAL\n", [(16, 48), (49, 17)])


def test_the_version_is_that_of_its_open_vswitch(host: LocalHost, tmp_path: Path) -> None:
    program = tmp_path / "ovs-vsctl"
    program.write_text("#!/bin/sh\necho 'ovs-vsctl (Open vSwitch) 2.0.0'\n")
    program.chmod(0o755)
    release = Release(str(tmp_path), {"ovs-vsctl": str(program)})
    assert ovdk.version(host, release) == "Open vSwitch 2.0.0"
    program.write_text("#!/bin/sh\nexit 1\n")
    assert ovdk.version(host, release) == "unknown"
