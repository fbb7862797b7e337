"""A real Open vSwitch with DPDK: it forwards, its faults are found, and nothing is left of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_vswitch.apps.openvswitch import Directory
from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts import reservation
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.measure.functional import FunctionalError, check_functional
from pytest_vswitch.measure.runner import TrialRunner
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.results.certification import Wired
from pytest_vswitch.results.run import Run
from pytest_vswitch.topologies.vswitches import ovs_dpdk
from pytest_vswitch.topologies.vswitches.ovs_dpdk import BRIDGE
from tests.system import running
from tests.system.conftest import Start
from tests.system.machine import Machine, processes, wait_until
from tests.system.session import ENDLESS, SHORT, vswitch

OVS = ("--vswitch", "ovs-dpdk")
ERROR_S = 30
"""How soon a fault has to be an error."""
HOP = "Open vSwitch: memif0 -> memif1"
STRONGER = "flow priority=9,in_port=1"


def open_run(reports: Path, hugepages: str = "auto") -> Run:
    ports = [{"kind": "memif"}, {"kind": "memif"}]
    dut = {"host": "local", "hugepages": hugepages, "vswitch": "ovs-dpdk"}
    lab = Lab.model_validate({"name": "it", "dut": dut, "ports": ports})
    return running.open_run(reports, lab)


def interfaces() -> set[str]:
    return set(os.listdir("/sys/class/net"))


# --- it forwards --------------------------------------------------------------------------


def test_a_certificate(start: Start, machine: Machine) -> None:
    """Steps: a quick search through Open vSwitch and a guest.

    Verify: frames return exactly, the books of every trial balance, the case is not that of
    another vSwitch, its threads' statistics are with its hops; what the guest was too slow
    for at line rate is missing where its ring was full; nothing is left.
    """
    before = interfaces()
    session = start("certified", *SHORT, *OVS)
    assert session.end(300) == 0, session.output
    (case,) = session.record["cases"]
    assert case["id"] == "pvp:frame_bytes=64,vswitch=ovs-dpdk"
    assert {"open vswitch", "host dpdk", "guest dpdk"} <= case["facts"]["versions"].keys()
    assert "net_memif" in case["facts"]["nic"]
    for trial in session.trials:
        for path in trial["paths"]:
            for hop in path:
                assert hop["entered"] == hop["left"] + sum(hop["drops"].values()), hop
        facts = [hop["facts"] for hop in trial["paths"][0] if hop["name"].startswith("Open v")]
        assert len(facts) == 2
        assert {"PMD busy", "PMD cycles per frame", "flows found in"} <= facts[0].keys()
    overload = [hop for path in session.trials[0]["paths"] for hop in path]
    for hop in overload:
        if hop["name"] in ("Open vSwitch: memif0 -> vhost0", "Open vSwitch: memif1 -> vhost1"):
            assert hop["drops"]["ovs_tx_failure_drops"] == hop["entered"] - hop["left"] > 0
    assert machine.traces(session.run) == []
    assert interfaces() == before


def test_rounds_leave_the_machine_as_it_was(machine: Machine, tmp_path: Path) -> None:
    """Steps: wire it, exchange frames and unwire it: twice on hugepages, once without.

    Verify: frames return exactly; after each there is no process or interface of it.
    """
    before = interfaces()
    for hugepages, rounds in (("2M", 2), ("none", 1)):
        with open_run(tmp_path, hugepages) as run:
            name = run.directory.path.name
            for _ in range(rounds):
                wired = run.wired("p2p")
                assert (hugepages == "none") == wired.topology.facts.memory.startswith("no huge")
                check_functional(wired.topology, wired.generator, 64)
                assert interfaces() - before == {"ovs-netdev", BRIDGE}
                run.unwire()
                assert processes(name) == {}
                assert interfaces() == before
        assert machine.traces(name) == []


def test_the_next_look_cleans_up_after_a_killed_run(start: Start, machine: Machine) -> None:
    """Steps: `kill -9` pytest in its second trial; `vswitch doctor local --clean`.

    Verify: then there is no process, file or interface of it.
    """
    before = interfaces()
    killed = start("killed", *ENDLESS, *OVS, suite="suites/p2p")
    killed.wait_for_trials(1)
    name = killed.run
    killed.process.kill()
    assert killed.end() == -signal.SIGKILL
    wait_until(lambda: not processes(name), f"its programs have ended: {processes(name)}", 30)
    assert f"change {reservation.RUNTIME}/{name}/ovs" in vswitch("doctor", "local")
    assert "cleaned" in vswitch("doctor", "local", "--clean")
    assert machine.traces(name) == []
    assert interfaces() == before


# --- planted faults -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One run for all faults: what one leaves must not disturb the next."""
    machine = Machine()
    with open_run(tmp_path_factory.mktemp("faults")) as run:
        yield run
    assert machine.traces(run.directory.path.name) == []


@pytest.fixture
def wired(run: Run) -> Wired:
    """From port to port through Open vSwitch."""
    return run.wired("p2p")


def tell(run: Run, argv: Sequence[str]) -> None:
    run.host.run(argv)


def settle(run: Run) -> None:
    """Frames that Open vSwitch has not counted yet, it counts for the flows that are there then."""
    tell(run, directory(run).appctl("revalidator/wait"))


def without_flow(run: Run, flow: str) -> list[str]:
    """The command that deletes the one flow of that priority and match."""
    program, *words = directory(run).ofctl(BRIDGE, "del-flows", flow)
    return [program, "--strict", *words]


def directory(run: Run) -> Directory:
    return Directory(f"{run.host.scratch}/ovs")


@pytest.mark.parametrize(
    ("flow", "says"),
    [
        ("actions=drop", rf"lost at {HOP}: 256 \({STRONGER} actions=drop: 256\)"),
        ("actions=in_port", rf"lost at {HOP}: 256 \({STRONGER} actions=IN_PORT: 256\)"),
        ("ip,actions=dec_ttl,output:2", "IPv4 time to live"),
        ("actions=mod_dl_src:02:00:00:00:00:01,output:2", "Ethernet source"),
        ("actions=output:2,output:2", "256 of 256 frames came back more than once"),
    ],
    ids=["dropped", "sent back", "TTL lowered", "source address changed", "doubled"],
)
def test_a_wrong_flow(run: Run, wired: Wired, flow: str, says: str) -> None:
    """Steps: a stronger flow for frames of the first port; exchange frames; take it away.

    Verify: the functional test fails, and tells what is wrong and where; then it passes.
    """
    check_functional(wired.topology, wired.generator, 64)
    match, _, actions = flow.rpartition("actions=")
    stronger = f"priority=9,{match}in_port=1"
    settle(run)
    tell(run, directory(run).ofctl(BRIDGE, "add-flow", f"{stronger},actions={actions}"))
    try:
        with pytest.raises(FunctionalError, match=says):
            check_functional(wired.topology, wired.generator, 64, wait_s=2)
    finally:
        tell(run, without_flow(run, stronger))
    check_functional(wired.topology, wired.generator, 64)


def test_a_missing_flow(run: Run, wired: Wired) -> None:
    """Steps: delete the flow of the first port; exchange frames.

    Verify: they are missing there, and counted by the flow that takes what no other takes.
    """
    flow = "priority=1,in_port=1"
    says = rf"lost at {HOP}: 256 \(flow priority=0,in_port=1 actions=drop: 256\)"
    settle(run)
    tell(run, without_flow(run, flow))
    try:
        with pytest.raises(FunctionalError, match=says):
            check_functional(wired.topology, wired.generator, 64, wait_s=2)
    finally:
        tell(run, directory(run).ofctl(BRIDGE, "add-flow", f"{flow},actions=output:2"))
    check_functional(wired.topology, wired.generator, 64)


POLICED = {
    "ingress": (
        ["set", "Interface", "memif0", "ingress_policing_rate=1000", "ingress_policing_burst=100"],
        ["set", "Interface", "memif0", "ingress_policing_rate=0", "ingress_policing_burst=0"],
        "ovs_rx_qos_drops",
    ),
    "egress": (
        [
            *("set", "port", "memif1", "qos=@it", "--", "--id=@it", "create", "qos"),
            *("type=egress-policer", "other-config:cir=100000", "other-config:cbs=2048"),
        ],
        ["--", "clear", "port", "memif1", "qos", "--", "--all", "destroy", "qos"],
        "ovs_tx_qos_drops",
    ),
}


@pytest.mark.parametrize("where", POLICED)
def test_a_policer(run: Run, wired: Wired, where: str) -> None:
    """Steps: a policer for a tenth of the load, on the way in or out; one trial.

    Verify: the books balance, and the loss is at the switch, by the policer's own name.
    """
    set_up, tear_down, name = POLICED[where]
    trials: list[Trial] = []
    tell(run, directory(run).vsctl(*set_up))
    try:
        runner = TrialRunner(
            wired.topology, wired.generator, 64, record=trials.append, progress=lambda now: None
        )
        runner.run(20_000, 1.0)
    finally:
        tell(run, directory(run).vsctl(*tear_down))
    (hop,) = [hop for hop in trials[0].paths[0] if hop.name == HOP]
    assert hop.balanced, hop
    assert hop.drops[name] == hop.lost > 5_000, hop
    assert all(hop.lost == 0 for hop in trials[0].paths[1]), "the other direction is not policed"
    check_functional(wired.topology, wired.generator, 64)


# --- what ends a trial --------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """What is done to a running switch, and what has to be said about it."""

    name: str
    program: str
    says: str


FAULTS = [
    Fault("switch", "ovs-vswitchd-dpdk", r"ovs-vswitchd is gone \(exit status -9\); its last"),
    Fault("database", "ovsdb-server ", r"ovsdb-server is gone \(exit status -9\); its last"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_daemon_killed_in_a_trial(run: Run, wired: Wired, fault: Fault) -> None:
    """Steps: kill a daemon in the middle of a long trial.

    Verify: within 30 s an error that names it, with its last output; nothing is left, and
    the next one that is wired forwards.
    """
    running.check_named(run, wired, running.kill(fault.program), fault.says)
    assert not {"ovs-netdev", BRIDGE} & interfaces()
    again = run.wired("p2p")
    check_functional(again.topology, again.generator, 64)


def test_a_second_one_is_refused(run: Run, wired: Wired) -> None:
    """Steps: ask whether another could be started on the same host.

    Verify: it is refused for the interface in the way.
    """
    with pytest.raises(InputError, match="has an interface ovs-netdev: another Open vSwitch"):
        ovs_dpdk.preflight(run.lab, run.host)
