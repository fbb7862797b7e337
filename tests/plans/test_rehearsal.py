"""A test that is called with recorders: what it would say is written down, and nothing is done."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, SimpleNamespace
from typing import Any

import pytest

from pytest_vswitch import planning, rehearsal
from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.plan import PlanHost, script_for
from pytest_vswitch.hosts.shell_script import Check, Script, Step
from pytest_vswitch.lab.loader import load
from pytest_vswitch.rehearsal.benches import described
from pytest_vswitch.rehearsal.unknown import Unknown
from pytest_vswitch.results.certification import Wired
from pytest_vswitch.topologies.topology import NicPort
from tests.plans.page import ROOT
from tests.plans.server import Server, server

LAB = load(str(ROOT / "labs/82599.yaml"))
BDF = "0000:03:00.0"


@pytest.fixture
def script() -> Script:
    return Script("A test's.", "dut2", "/run/vswitch-plan")


@pytest.fixture
def host(script: Script) -> PlanHost:
    real: Any = Server("root@dut2", server("ixgbe", {BDF: "ens1f0"}))
    return PlanHost(real, script)


def rehearsed(
    host: PlanHost, function: Callable[..., None], **parameters: object
) -> tuple[bool, list[Step]]:
    """Of a topology `pvp` with one port."""
    topology: Any = SimpleNamespace(
        name="pvp",
        ports=[NicPort("x", BDF, "", 10e9)],
        check=lambda: host.run(["check", "it"], why="is it so?"),
    )
    steps: list[Step] = []
    wanted = list(function.__code__.co_varnames[: function.__code__.co_argcount])
    with host.aside(steps):
        fits = rehearsal.rehearse(LAB, function, parameters, wanted, topology, host)
    return fits, steps


def test_what_a_test_does_is_recorded_beside_the_script(host: PlanHost, script: Script) -> None:
    def test(pvp: Any) -> None:
        pvp.topology.check()

    assert rehearsed(host, test) == (True, [Step("check it", "is it so?")])
    assert script.up == []


def test_measurements_say_what_they_send(host: PlanHost) -> None:
    def test(wired: Wired, measure: Any, threshold: Any, frame_bytes: int) -> None:
        measure.functional(wired, frame_bytes=frame_bytes)
        threshold.check(measure.throughput(wired, frame_bytes=1518))
        _, found = measure.mrr(wired, frame_bytes=frame_bytes)
        assert found.rate > 0

    _, steps = rehearsed(host, test)
    text = " ".join(step.why for step in steps)
    for words in ("send 256 frames", "812,744 frames/s of 1518 bytes", "none is lost", "0.5 %"):
        assert words in text
    assert "expect of pvp:frame_bytes=1518: ndr_pps 100000" in text
    assert "offer the line rate" in text


def test_a_fixture_that_is_not_known_leaves_the_docstring(host: PlanHost) -> None:
    def test(pvp: Any, of_somebody: Any) -> None:
        raise AssertionError("it was called")

    assert rehearsed(host, test) == (True, [])


def test_one_of_a_suite_of_yours_is_not_carried_out(host: PlanHost) -> None:
    def test(pvp: Any) -> None:
        """What it says."""
        pvp.topology.check()

    topology = SimpleNamespace(name="pvp", ports=[], check=lambda: host.run(["check", "it"]))
    mine = planning.Test("mine.py::test", "", test, {}, ["pvp"], "What it says.")
    found = planning.checked(LAB, mine, topology, host)
    assert found
    assert found.about == "What it says."
    assert "check it" not in [step.text for step in found.steps]


def test_an_answer_that_is_missing_ends_a_test(host: PlanHost) -> None:
    def test(pvp: Any) -> None:
        pvp.topology.check()
        int(pvp.topology.check().output)
        pvp.topology.check()

    _, steps = rehearsed(host, test)
    assert len(steps) == 2


def test_a_question_without_end_ends(host: PlanHost) -> None:
    def test(pvp: Any) -> None:
        while True:
            pvp.topology.check()

    _, steps = rehearsed(host, test)
    assert len(steps) == 500
    with host.aside([Step("again")] * 499), pytest.raises(HostError, match="never ends"):
        _again(host)


def _again(host: PlanHost) -> None:
    for _ in range(501):
        host.run(["again"])


def test_one_for_another_driver_is_left_out(host: PlanHost) -> None:
    def test(pvp: Any) -> None: ...

    for driver, fits in (("ixgbe", True), ("i40e", False)):
        copied = FunctionType(test.__code__, {**test.__globals__, "DRIVER": driver})
        assert rehearsed(host, copied)[0] is fits


def test_what_is_not_known_is_never_what_is_expected() -> None:
    unknown = Unknown()
    assert unknown.a["b"](c=1) - 1 != 0
    assert unknown != unknown.other
    assert list(unknown) == []
    assert bool(unknown)
    assert unknown < 5
    assert unknown > 5


def test_the_script_says_it_in_comments(script: Script, host: PlanHost) -> None:
    script.needs = ["a wire"]
    script.traffic = ["The generator sends nothing."]
    steps = [Step("unmount /x 0", "why"), Step("", "expect: nothing")]
    script.checks = [Check("a test", "Steps: none.\n\nVerify: nothing.", steps)]
    text = script.text()
    assert "# Before:\n# - a wire\nset -eEu" in text
    shown = text[text.index("    # a test") :].partition("\n}")[0].splitlines()
    assert shown == [
        "    # a test",
        "    #   Steps: none.",
        "    #   Verify: nothing.",
        "    #     # why",
        "    #     unmount /x 0",
        "    #     # expect: nothing",
        "    #",
    ]
    assert "\nunmount() {" in text, "a word that only a person uses is explained, too"


def test_a_host_is_looked_at_only() -> None:
    real: Any = Server("root@dut2", server("ixgbe", {BDF: "ens1f0"}))
    assert script_for(real, "A test's.").node == "dut2"
    with pytest.raises(AssertionError, match="has no answer"):
        real.ask(["date"])
    with pytest.raises(AssertionError, match="a plan has touched"):
        real.run(["true"])


def test_frames_are_described_from_their_bytes() -> None:
    """Scapy makes them; its own words depend on the machine's /etc/services."""
    from scapy.layers.inet import ICMP, IP, TCP, UDP
    from scapy.layers.l2 import ARP, Dot1Q, Ether
    from scapy.layers.vxlan import VXLAN

    mac, other = "02:00:00:00:00:02", "02:00:00:00:00:01"
    ether, way = Ether(src=mac, dst=other), IP(src="1.1.1.1", dst="2.2.2.2")
    start = f"2 frames of {{}} bytes, {mac} to {other}"
    for packet, said in (
        (ether / ARP(pdst="2.2.2.2", psrc="1.1.1.1", hwsrc=mac), ", type 0x0806"),
        (ether / Dot1Q(vlan=100, prio=3, type=0x88B5), ", VLAN 100 priority 3, type 0x88b5"),
        (ether / way / ICMP(), ", ping from 1.1.1.1 to 2.2.2.2"),
        (ether / way / TCP(sport=5, dport=6), ", TCP 1.1.1.1 port 5 and up to 2.2.2.2 port 6"),
        (ether / way / UDP(sport=5, dport=6), ", UDP 1.1.1.1 port 5 and up to 2.2.2.2 port 6"),
        (
            ether / way / UDP(sport=5, dport=8472) / VXLAN(vni=8) / Ether(src=other, dst=mac) / way,
            f", 1.1.1.1 to 2.2.2.2, VXLAN 8, in it {other} to {mac}, ",
        ),
    ):
        frame = bytes(packet)
        assert described([frame] * 2).startswith(start.format(len(frame) + 4) + said)
