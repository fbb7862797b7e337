"""memif links for real: they carry frames, and each planted fault is found at its hop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pytest_vswitch.apps import memif
from pytest_vswitch.errors import DutError
from pytest_vswitch.measure.functional import FunctionalError, check_functional
from pytest_vswitch.results.certification import Wired
from pytest_vswitch.results.run import Run
from pytest_vswitch.topologies.chain import Chain
from pytest_vswitch.traffic.profile import Profile
from tests.system import running
from tests.system.conftest import Start
from tests.system.machine import Machine, process, processes
from tests.system.session import SHORT

ERROR_S = 30
"""How soon a fault has to be an error."""

WIRINGS = ("memif", "memif_zero_copy", "memif_loopback")
SWITCHED = {"host testpmd: memif0 -> server0", "host testpmd: memif1 -> server1"}


def test_a_certificate(start: Start, machine: Machine) -> None:
    """Steps: the whole suite, with a quick search for each wiring.

    Verify: it passes, every option's test too; the books of every trial balance at every
    hop; nothing is left.
    """
    session = start("certified", *SHORT, suite="suites/memif")
    assert session.end(400) == 0, session.output
    assert "skipped" not in session.output
    assert [case["suite"] for case in session.record["cases"]] == list(WIRINGS)
    copying, _, loopback = session.record["cases"]
    assert [node["name"] for node in copying["nodes"]][-1] == "peer testpmd"
    assert "peer dpdk" in copying["facts"]["versions"]
    assert [node["name"] for node in loopback["nodes"]][-1] == "host testpmd"
    names = set()
    for trial in session.trials:
        for path in trial["paths"]:
            for hop in path:
                names.add(hop["name"])
                assert hop["entered"] == hop["left"] + sum(hop["drops"].values()), hop
    assert {"server0 -> client0", "client0 -> server0", "peer testpmd: client0 -> client1"} <= names
    assert machine.traces(session.run) == []


ANYHOW = {
    "test_role",
    "test_a_second_server_is_refused",
    "test_rsize[None]",
    "test_socket",
    "test_a_secret_that_matches",
    "test_zero_copy[False-1]",
    "test_a_client_of_another_version_is_refused",
    "test_a_server_of_another_version_is_refused",
    "test_the_client_dies[copy]",
    "test_the_client_dies[zero-copy]",
    "test_the_server_dies",
}
"""Tests of the suite that pass without their option: those of defaults, and of no option."""


def test_an_option_left_out_is_found(start: Start, machine: Machine, tmp_path: Path) -> None:
    """Steps: the suite's tests of options, with every option left out.

    Verify: each test fails that is about an option, and no other.
    """
    found = tmp_path / "junit.xml"
    plugin = ("-p", "tests.system.memif_left_out", "--junitxml", str(found))
    session = start("left-out", *SHORT, *plugin, suite="suites/memif/test_memif_options.py")
    assert session.end(300) == 1, session.output
    cases = list(ElementTree.parse(found).iter("testcase"))
    wrong = {"failure", "error"}
    passed = {case.attrib["name"] for case in cases if not wrong & {child.tag for child in case}}
    assert passed == ANYHOW
    assert len(cases) >= 2 * len(ANYHOW)
    assert machine.traces(session.run) == []


# --- one run for all that follows: what one leaves must not disturb the next --------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with running.opened(tmp_path_factory.mktemp("memif")) as run:
        yield run


def wired(run: Run) -> tuple[Wired, Any, Any]:
    """The topology of two processes; the consoles of the switch and of the peer."""
    now = run.wired("memif")
    assert isinstance(now.topology, Chain)
    vswitch: Any = now.topology.vswitch
    peer: Any = now.topology.endpoints[0]
    return now, vswitch.testpmd.command, peer.forwarder.command


@pytest.mark.parametrize("name", WIRINGS)
@pytest.mark.parametrize("frame_bytes", [64, 1518])
def test_the_good_system_passes(run: Run, name: str, frame_bytes: int) -> None:
    now = run.wired(name)
    check_functional(now.topology, now.generator, frame_bytes)


@pytest.mark.parametrize("name", WIRINGS)
def test_it_leaves_nothing(run: Run, name: str) -> None:
    """Steps: bring it up and take it down, twice.

    Verify: it forwards each time; no process and no file is left.
    """
    for _ in range(2):
        now = run.wired(name)
        check_functional(now.topology, now.generator, 64)
        run.unwire()
        nothing_left(run)


def nothing_left(run: Run) -> None:
    left = {path.name for path in Path(run.host.scratch).iterdir()}
    assert left <= {"owner.json", "undo.jsonl"}
    assert processes(run.directory.path.name) == {}


# --- planted faults -----------------------------------------------------------------------


def test_a_wrong_port_list(run: Run) -> None:
    """Steps: chain the switch's ports past the peer.

    Verify: frames come back as they were sent; the switch's hop to the peer lost them.
    """
    now, switch, _ = wired(run)
    for text in ("stop", "set portlist 0,1,2,3", "start"):
        switch(text)
    with pytest.raises(FunctionalError) as told:
        check_functional(now.topology, now.generator, 64, 64, wait_s=1.0)
    run.unwire()
    assert "byte 5 (Ethernet destination)" in str(told.value)
    for hop in SWITCHED:
        assert f"lost at {hop}: 64 (no counter says why)" in str(told.value)


def test_addresses_that_are_not_swapped(run: Run) -> None:
    """Steps: let the peer pass frames as they are.

    Verify: the first wrong byte is named; no hop lost a frame.
    """
    now, _, peer = wired(run)
    for text in ("stop", "set fwd io", "start"):
        peer(text)
    with pytest.raises(FunctionalError, match=r"64 frames came back changed") as told:
        check_functional(now.topology, now.generator, 64, 64, wait_s=1.0)
    run.unwire()
    assert "(Ethernet destination)" in str(told.value)
    assert "lost at" not in str(told.value)


def clients_have(monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str]) -> None:
    """Let memif clients get other options than they should."""
    device = memif.Options.device

    def changed(port: memif.Options, number: int) -> str:
        text = device(port, number)
        return change(text) if port.role == "client" else text

    monkeypatch.setattr(memif.Options, "device", changed)


def test_a_wrong_id(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps: give the peer's ports an id that the switch does not serve.

    Verify: it does not come up, and the error names the link and the driver's reason.
    """
    run.unwire()
    clients_have(monkeypatch, lambda text: text.replace("id=0", "id=5"))
    says = r"peer testpmd has no connection to server0, \S+/server0: ID not found"
    with pytest.raises(DutError, match=says):
        run.wired("memif")
    nothing_left(run)


def test_a_shrunk_ring(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps: a trial with rings of 1024 frames; one with rings of two; both in bursts, which
    a ring of two cannot hold however quick the peer is.

    Verify: the first loses next to nothing; the second loses frames, most of them where the
    switch has no room in the ring to the peer.
    """
    run.unwire()
    bursts = Profile(burst_frames=32)
    good = running.trial(wired(run)[0], 4000, 1.0, profile=bursts)
    run.unwire()
    clients_have(monkeypatch, lambda text: f"{text},rsize=1")
    bad = running.trial(wired(run)[0], 4000, 1.0, profile=bursts)
    run.unwire()
    assert bad.lost > 10 * good.lost + 100
    assert bad.lossy_hop
    assert bad.lossy_hop.name in SWITCHED
    assert bad.lossy_hop.drops["TX-dropped"] == bad.lossy_hop.lost


def test_a_full_queue(run: Run) -> None:
    """Steps: a trial at a low rate, in which the peer gets no CPU for more than a second.

    Verify: the books balance, and most is lost where the switch finds the ring full.
    """
    now, _, _ = wired(run)
    peer = process(run.directory.path.name, "-peer")
    trial = running.trial_with_pause(now, peer, 1.5, 8000)
    assert trial.lost > 1000
    assert trial.lossy_hop
    assert trial.lossy_hop.name in SWITCHED
    assert trial.lossy_hop.drops["TX-dropped"] == trial.lossy_hop.lost


# --- killed in a trial --------------------------------------------------------------------


@dataclass(frozen=True)
class Victim:
    """A program of a topology."""

    topology: str
    name: str
    command: str
    """What only its command line has."""


VICTIMS = [
    Victim("memif", "host testpmd", "role=server"),
    Victim("memif", "peer testpmd", "-peer"),
    Victim("memif_zero_copy", "peer testpmd", "-peer"),
    Victim("memif_loopback", "host testpmd", "role=server"),
]


@pytest.mark.parametrize("victim", VICTIMS, ids=lambda victim: f"{victim.topology}-{victim.name}")
def test_a_program_killed_in_a_trial(run: Run, victim: Victim) -> None:
    """Steps: `kill -9` in the middle of a long trial.

    Verify: within 30 s an error that names it; nothing is left, and the next topology is as
    good as new.
    """
    says = rf"{victim.name} is gone \(exit status -9\); its last output:\n.*testpmd>"
    wired = run.wired(victim.topology)
    running.check_named(run, wired, running.kill(victim.command), says)
    nothing_left(run)
    again = run.wired(victim.topology)
    check_functional(again.topology, again.generator, 64)
