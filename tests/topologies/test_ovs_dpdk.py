"""Open vSwitch as the vSwitch: what it needs, how it is wired, what its counters mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from pytest_vswitch.apps import openvswitch
from pytest_vswitch.apps.openvswitch import FlowCount, OpenVswitch, PortCounters
from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.host import Completed
from pytest_vswitch.hosts.hugepages import Hugepages
from pytest_vswitch.hosts.plan import PlanHost, script_for
from pytest_vswitch.hosts.shell_script import Script
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.topologies.lcores import LcorePlan
from pytest_vswitch.topologies.ports import SwitchPorts
from pytest_vswitch.topologies.topology import MemifPort, NicPort
from pytest_vswitch.topologies.vswitches import Order, VhostPort, ovs_dpdk
from pytest_vswitch.topologies.vswitches.ovs_dpdk import Switch
from tests.hosts.machine import machine
from tests.hosts.test_plan import Untouchable
from tests.topologies.elsewhere import Elsewhere, lab

PAIRS = (("a", "vhost0"), ("vhost1", "b"))
VHOSTS = [VhostPort(f"vhost{index}", f"/run/it/vhost{index}") for index in range(2)]


# --- what it needs ------------------------------------------------------------------------


class Equipped(Elsewhere):
    """A machine with Open vSwitch, where no other one runs."""

    here: frozenset[str] = frozenset({"/dev/net/tun"})
    version = "ovs-vswitchd (Open vSwitch) 3.1.0\nDPDK 22.11.11\n"

    def exists(self, path: str) -> bool:
        return path in self.here

    def ask(self, argv: Sequence[str], **how: Any) -> Completed:
        return Completed(tuple(argv), 0, self.version)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Equipped]:
    with machine(tmp_path) as here:
        other = object.__new__(Equipped)
        other.__dict__.update(here.__dict__)
        yield other


def test_a_machine_that_has_everything(host: Equipped) -> None:
    ovs_dpdk.preflight(lab(), host)


@pytest.mark.parametrize("tool", ["ovsdb-tool", "ovsdb-server", "ovs-vsctl", "ovs-ofctl"])
def test_a_missing_tool_is_told_with_its_package(host: Equipped, tool: str) -> None:
    host.lacks = (tool,)
    with pytest.raises(InputError, match=f"`{tool}`: apt-get install openvswitch-switch-dpdk$"):
        ovs_dpdk.preflight(lab(), host)


def test_a_daemon_without_dpdk_is_refused(host: Equipped) -> None:
    host.version = "ovs-vswitchd (Open vSwitch) 3.1.0\n"
    with pytest.raises(InputError, match="no Open vSwitch with DPDK"):
        ovs_dpdk.preflight(lab(), host)


def test_a_machine_without_tun_is_refused(host: Equipped) -> None:
    host.here = frozenset()
    with pytest.raises(InputError, match=r"no /dev/net/tun, .*: modprobe tun$"):
        ovs_dpdk.preflight(lab(), host)


@pytest.mark.parametrize("device", ["ovs-netdev", ovs_dpdk.BRIDGE])
def test_another_one_in_the_way_is_named(host: Equipped, device: str) -> None:
    host.here |= {f"/sys/class/net/{device}"}
    with pytest.raises(InputError, match=rf"local has an interface {device}: another Open vSwitch"):
        ovs_dpdk.preflight(lab(), host)


# --- how it is wired ----------------------------------------------------------------------


def cores(*cpus: int, shared: bool = False) -> LcorePlan:
    return LcorePlan(
        host_cpus=cpus,
        host_forwarding=1 if shared else len(cpus) - 1,
        endpoints=(),
        shared=shared,
        generator_cpu=None,
        remarks=(),
    )


def order(plan: LcorePlan, *, nics: bool = False) -> Order:
    ports: list[MemifPort | NicPort]
    if nics:
        devargs = ["0000:11:00.0", "0000:11:00.1"]
        ports = [NicPort(name, bdf, "", 1e10) for name, bdf in zip("ab", devargs, strict=True)]
    else:
        devargs = [f"net_memif{n},role=server,socket=/run/it/memif{n}" for n in range(2)]
        ports = [MemifPort(name, f"/run/it/memif{n}", 1e10) for n, name in enumerate("ab")]
    pages = Hugepages(2048 if nics else None, "it")
    return Order(SwitchPorts(ports, devargs), VHOSTS, PAIRS, plan, pages)


def test_where_cpus_are_shared_one_thread_polls_all_ports() -> None:
    shared = cores(0, 1, 2, shared=True)
    assert ovs_dpdk.pmd_cpus(shared) == (2,)
    assert {port.pmd_cpu for port in ovs_dpdk.bridge_ports(order(shared), (2,), 1500)} == {2}


def test_where_they_are_not_each_forwarding_cpu_has_a_thread() -> None:
    plan = cores(0, 2, 4, 6, 8)
    assert ovs_dpdk.pmd_cpus(plan) == (2, 4, 6, 8)
    ports = ovs_dpdk.bridge_ports(order(plan), ovs_dpdk.pmd_cpus(plan), 1500)
    assert [(port.name, port.number, port.pmd_cpu) for port in ports] == [
        ("a", 1, 2),
        ("b", 2, 4),
        ("vhost0", 3, 6),
        ("vhost1", 4, 8),
    ]


def planned(tmp_path: Path, wanted: Order) -> Script:
    """What is done for a switch, up to its flows, and undone."""
    here = Untouchable("plan-test", Transcript(tmp_path / "log"), tmp_path / "state")
    script = script_for(here, "A test's.")
    host = PlanHost(here, script)
    with ovs_dpdk.start(lab(), host, wanted) as switch:
        switch.forward()
        host.up()
    return script


def test_a_plan_for_nics_gives_them_to_dpdk_by_their_addresses(tmp_path: Path) -> None:
    script = planned(tmp_path, order(cores(0, 2, 4), nics=True))
    text = "\n".join(step.text for step in script.up)
    assert "-a 0000:11:00.0 -a 0000:11:00.1" in text
    assert "--no-pci" not in text
    assert "options:dpdk-devargs=" in text
    assert "dpdk-socket-limit" in text
    assert "pmd-cpu-mask=0x14" in text
    assert "dpdk-lcore-mask=0x1" in text
    assert text.index("wait-until") < text.index("del-flows") < text.index("add-flows")
    assert "priority=1,in_port=1,actions=output:3\n" in text
    assert "priority=1,in_port=4,actions=output:2\n" in text


def test_a_plan_starts_the_database_first_and_leaves_nothing(tmp_path: Path) -> None:
    script = planned(tmp_path, order(cores(0, 1, shared=True)))
    started = [step.text.split()[1] for step in script.up if step.text.startswith("start ")]
    assert started == ["ovsdb-server", "ovs-vswitchd"]
    undone = [step.text for step in script.undo]
    assert [text.split()[1] for text in undone if text.startswith("stop ")] == started[::-1]
    for text in (
        "delete_interface ovs-netdev",
        f"delete_interface {ovs_dpdk.BRIDGE}",
        f"rm -rf -- {script.run}/ovs",
        "rm -rf -- /var/run/dpdk/vswitch-vswitch-plan",
    ):
        assert text in undone


# --- what its counters mean ---------------------------------------------------------------


class Counted:
    """An Open vSwitch with these counters."""

    version, dpdk_version = "3.1.0", "22.11.11"

    def __init__(self) -> None:
        self.ports = {number: PortCounters(0, 0) for number in (1, 2, 3, 4)}
        self.of_flows: list[FlowCount] = []
        self.of_pmds: dict[str, int] = {}
        self.asked_for_flows = 0
        self.told: list[str] = []

    def kill(self, links: Iterable[str]) -> None:
        self.told.append(f"kill {' '.join(links)}")

    def wait_for_links(self, names: Sequence[str], *, timeout_s: int) -> None:
        self.told.append(f"wait for {' '.join(names)}")

    def replace_flows(self, flows: Iterable[str]) -> None:
        self.told += flows

    def counters(self) -> dict[int, PortCounters]:
        return dict(self.ports)

    def flows(self) -> list[FlowCount]:
        self.asked_for_flows += 1
        return self.of_flows

    def pmds(self) -> dict[str, int]:
        return dict(self.of_pmds)


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def switch(counted: Counted) -> Switch:
    numbers = {"a": 1, "b": 2, "vhost0": 3, "vhost1": 4}
    running = cast(OpenVswitch, counted)
    return Switch(running, (), numbers, PAIRS, frozenset({"a"}), 1, spawn=lambda: running)


def test_drops_are_told_by_its_own_words(switch: Switch, counted: Counted) -> None:
    counted.ports[1] = PortCounters(100, 0, {"rx_missed_errors": 7, "ovs_rx_qos_drops": 10})
    counted.ports[3] = PortCounters(0, 60, {"ovs_tx_failure_drops": 30, "ovs_tx_retries": 2})
    reading = switch.read()
    a, vhost0 = reading.ports["a"], reading.ports["vhost0"]
    assert (a.rx, a.rx_drops["rx_missed_errors"], a.discards) == (100, 7, {"ovs_rx_qos_drops": 10})
    assert (vhost0.tx, vhost0.tx_drops, vhost0.rx_drops) == (60, {"ovs_tx_failure_drops": 30}, {})
    assert counted.asked_for_flows == 0, "all frames are accounted for"


def test_what_flows_dropped_is_asked_only_when_frames_are_missing(
    switch: Switch, counted: Counted
) -> None:
    counted.ports[1] = PortCounters(100, 0)
    counted.ports[3] = PortCounters(0, 60)
    counted.of_flows = [
        FlowCount("in_port=1", 1, "output:3", 60),
        FlowCount("in_port=1", 1, "drop", 25),
        FlowCount("in_port=1", 1, "output:4", 15),
        FlowCount("in_port=4", 4, "dec_ttl,output:2", 9),
    ]
    for _ in range(2):
        reading = switch.read()
        assert reading.ports["a"].discards == {
            "ovs_rx_qos_drops": 0,
            "flow in_port=1 actions=drop": 25,
            "flow in_port=1 actions=output:4": 15,
        }
        assert reading.ports["vhost1"].discards == {"ovs_rx_qos_drops": 0}
    assert counted.asked_for_flows == 1, "no more frames were missing"


def test_a_flow_that_was_made_again_counts_on(switch: Switch, counted: Counted) -> None:
    for frames, packets, total in ((25, 25, 25), (35, 10, 35), (40, 15, 40)):
        counted.ports[1] = PortCounters(frames, 0)
        counted.of_flows = [FlowCount("in_port=1", 1, "drop", packets)]
        reading = switch.read()
        assert reading.ports["a"].discards["flow in_port=1 actions=drop"] == total


def test_a_new_one_forwards_and_counts_anew(switch: Switch, counted: Counted) -> None:
    counted.ports[1] = PortCounters(100, 0)
    counted.ports[3] = PortCounters(0, 60)
    counted.of_flows = [FlowCount("priority=0,in_port=1", 1, "drop", 40)]
    switch.read()
    switch.respawn()
    assert counted.told[:2] == ["kill vhost0 vhost1", "wait for vhost0 vhost1"]
    assert openvswitch.flow(1, 3) in counted.told
    counted.ports[1] = PortCounters(50, 0)
    counted.ports[3] = PortCounters(0, 40)
    counted.of_flows = [FlowCount("priority=0,in_port=1", 1, "drop", 10)]
    dropped = switch.read().ports["a"].discards
    assert dropped["flow priority=0,in_port=1 actions=drop"] == 10


def test_facts_of_a_trial(switch: Switch, counted: Counted) -> None:
    counted.of_pmds = {"processing cycles": 1000, "idle cycles": 5000, "emc hits": 10}
    before = switch.read()
    counted.of_pmds = {
        "processing cycles": 4000,
        "idle cycles": 14000,
        "emc hits": 25,
        "megaflow hits": 4,
        "miss with success upcall": 1,
    }
    counted.ports[3] = PortCounters(0, 0, {"ovs_tx_retries": 5})
    assert switch.facts_between(before, switch.read()) == {
        "PMD busy": "25.0% of its cycles",
        "PMD cycles per frame": "150",
        "flows found in": "EMC 75.00%, megaflow 20.00%, upcall 5.00%",
        "vhost transmit retries": "5",
    }


def test_a_trial_without_frames_has_no_rates(switch: Switch, counted: Counted) -> None:
    reading = switch.read()
    assert switch.facts_between(reading, reading) == {}


def test_a_memif_client_offers_a_ring_for_each_thread_and_one_more(switch: Switch) -> None:
    assert switch.queues == 2
