"""vhost_switch: what it refuses, its plan for a real NIC, and the hops it counts."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_vswitch.apps.testpmd import PortCounters
from pytest_vswitch.apps.vhost_switch import (
    DeviceStatistics,
    NicStatistics,
    Options,
    Registered,
)
from pytest_vswitch.errors import InputError, NotHere
from pytest_vswitch.hosts.plan import PlanHost, script_for
from pytest_vswitch.hosts.shell_script import Script
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.measure import books
from pytest_vswitch.topologies import vhost_switch
from pytest_vswitch.topologies.topology import NicPort
from pytest_vswitch.topologies.vhost_switch import GuestOptions, Snapshot, Topology
from pytest_vswitch.traffic.generator import DirectionCounts
from tests.hosts.test_plan import Nic
from tests.topologies.elsewhere import Elsewhere, host, lab

__all__ = ["host"]

NIC_PORTS = [
    {"kind": "nic", "bdf": "0000:01:00.0", "generator": "eth2", "line_rate_gbps": 10},
    {"kind": "nic", "bdf": "0000:02:00.0", "generator": "eth3", "line_rate_gbps": 10},
]


# --- what is refused ----------------------------------------------------------------------


def test_ports_that_have_no_vmdq_are_left_out_with_the_reason(host: Elsewhere) -> None:
    with pytest.raises(NotHere, match=r"a NIC with VMDq .* is of kind memif.*--dut vlab"):
        vhost_switch.preflight(lab(), host)


@pytest.mark.parametrize(
    ("program", "package"), [("dpdk-testpmd", "dpdk-dev"), ("dpdk-telemetry.py", "dpdk")]
)
def test_a_missing_program_is_named_with_its_package(
    host: Elsewhere, program: str, package: str
) -> None:
    host.lacks = (program,)
    with pytest.raises(InputError, match=f"`{program}`: apt-get install {package}$"):
        vhost_switch.preflight(lab(ports=NIC_PORTS), host)


def test_it_needs_root(host: Elsewhere) -> None:
    host.root = False
    with pytest.raises(InputError, match="needs root"):
        vhost_switch.preflight(lab(ports=NIC_PORTS), host)


# --- its plan -----------------------------------------------------------------------------


class Server(Nic):
    """This machine with a NIC of a real vendor."""

    def exists(self, path: str) -> bool:
        return "0000:02:00.0" in path or super().exists(path)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    made = Server("plan-test", Transcript(tmp_path / "log"), tmp_path / "state")
    made.root = tmp_path / "pci"
    made.cache = str(tmp_path / "cache")
    for name in ("devices/0000:01:00.0", "drivers/ixgbe", "drivers/vfio-pci"):
        (made.root / name).mkdir(parents=True)
    device = made.root / "devices/0000:01:00.0"
    (device / "driver_override").write_text("(null)\n")
    (device / "subsystem_vendor").write_text("0x8086\n")
    (device / "driver").symlink_to("../../drivers/ixgbe")
    return made


def plan(server: Server, options: Options, guest: GuestOptions) -> Script:
    made = script_for(server, "A test's.")
    planned = PlanHost(server, made)
    nics = Lab.model_validate(
        {"name": "it", "dut": {"host": "local", "hugepages": "none"}, "ports": NIC_PORTS}
    )
    with vhost_switch.started(nics, planned, options, guest) as topology:
        planned.up()
        (port,) = topology.ports
        assert port.line_rate_bps == pytest.approx(10e9)
    return made


def test_the_sample_is_built_bound_and_started_before_its_guest(server: Server) -> None:
    script = plan(server, Options(), GuestOptions())
    text = re.sub(r"\s*\\\n\s*", " ", "\n".join(step.text for step in script.up))
    order = ["make -C", "echo vfio-pci", "start dpdk-vhost", "start guest-testpmd", "tx_first"]
    places = [text.index(word) for word in order]
    assert places == sorted(places)
    assert re.search(
        r"start dpdk-vhost .* -a 0000:01:00\.0 -- -p 0x1 --socket-file \S+/vhost0", text
    )
    assert "0000:02:00.0" not in text  # the sample takes one port
    assert [step.text.split()[1] for step in script.undo if step.text.startswith("stop")] == [
        "dpdk-telemetry",
        "guest-testpmd",
        "dpdk-vhost",
    ]


def test_as_client_the_sample_comes_after_its_guest(server: Server) -> None:
    script = plan(server, Options(client=True), GuestOptions())
    started = [step.text.split()[1] for step in script.up if step.text.startswith("start ")]
    assert started == ["guest-testpmd", "dpdk-vhost", "dpdk-telemetry"]
    text = "\n".join(step.text for step in script.up)
    assert text.count("server=1") == 2
    assert "--client" in text


def test_what_is_made_is_removed(server: Server) -> None:
    script = plan(server, Options(), GuestOptions())
    undone = [step.text for step in script.undo]
    for path in ("vhost0", "vhost1"):
        assert f"rm -rf -- {script.run}/{path}" in undone
    assert any(step.startswith("rebind 0000:01:00.0 ixgbe") for step in undone)


# --- its hops -----------------------------------------------------------------------------

NONE = PortCounters(0, 0, 0, 0, 0, 0, 0, 0)
START = Snapshot(
    NicStatistics(0, 64, 0, 0, 0),
    {0: DeviceStatistics(32, 0, 0, 0), 1: DeviceStatistics(32, 0, 0, 0)},
    {0: NONE, 1: NONE},
)


def topology() -> Topology:
    """Wired to nothing, for its arithmetic."""
    nothing: Any = SimpleNamespace(generator_cpu=None)
    port = NicPort("nic0", "0000:01:00.0", "eth2", 1e9)
    made = Topology(port, nothing, nothing, nothing, nothing, (), nothing, nothing)
    made.learned = [
        Registered(1, vhost_switch.guest_mac(0), 1001),
        Registered(0, vhost_switch.guest_mac(1), 1000),
    ]
    return made


def passed(sent: int, *, missed: int = 0, full: int = 0, slow: int = 0) -> Snapshot:
    """After so many frames, of which some were lost at the NIC, at vhost, in the guest."""
    taken = sent - missed
    arrived = taken - full
    left = arrived - slow
    return Snapshot(
        NicStatistics(taken, 64 + left, missed, 0, 0),
        {1: DeviceStatistics(32, 0, taken, full), 0: DeviceStatistics(32 + left, 0, 0, 0)},
        {0: replace(NONE, rx_packets=arrived), 1: replace(NONE, tx_packets=left, tx_dropped=slow)},
    )


@pytest.mark.parametrize(
    ("losses", "hop"),
    [
        ({"missed": 5}, "nic0 -> VMDq pool of vhost0"),
        ({"full": 7}, "dpdk-vhost: vhost0 -> virtio0"),
        ({"slow": 3}, "guest testpmd: virtio0 -> virtio1"),
    ],
)
def test_each_loss_is_on_the_hop_that_tells_it(losses: dict[str, int], hop: str) -> None:
    hops = topology().path(0, START, passed(100, **losses))
    (lost,) = losses.values()
    assert {found.name: found.lost for found in hops if found.lost} == {hop: lost}
    counts = DirectionCounts(0, 0, 100, 100, 0, 100 - lost, 0, 0, 0, 0)
    books.check([books.full_path(counts, hops, "nic0", "nic0")])


def test_what_the_sample_throws_away_untold_does_not_balance() -> None:
    after = passed(100)
    untold = replace(after, nic=replace(after.nic, tx=after.nic.tx - 4))
    last = topology().path(0, START, untold)[-1]
    assert last.name == "dpdk-vhost: vhost1 -> nic0"
    assert (last.lost, last.balanced) == (4, False)


def test_frames_go_by_what_was_learned() -> None:
    made = topology()
    flow = made.flow(0)
    assert (flow.dst_mac, flow.vlan) == (vhost_switch.guest_mac(0), 1001)
    frame = bytes(range(12)) + b"\x81\x00" + (1001).to_bytes(2, "big") + b"\x08\x00rest"
    back = made.transform(frame, 0)
    assert back == bytes(range(6, 12)) + bytes(range(6)) + b"\x81\x00\x03\xe8" + b"\x08\x00rest"
    assert made.peer(0) == 0
