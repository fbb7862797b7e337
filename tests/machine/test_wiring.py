"""The wiring probe, over real veth pairs between network namespaces of the test's own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.machine.wiring import End, Wires, _judge, find


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@dataclass
class Rack:
    """Two namespaces standing for DUT and generator, and one for what is between them."""

    dut: str
    generator: str
    between: str

    def wire(self, dut: str, generator: str) -> None:
        ip("link", "add", dut, "netns", self.dut, "type", "veth",
           "peer", "name", generator, "netns", self.generator)  # fmt: skip
        ip("-n", self.dut, "link", "set", dut, "up")
        ip("-n", self.generator, "link", "set", generator, "up")

    def plug(self, netns: str, name: str, port: str) -> None:
        """Into the hub between them."""
        ip("link", "add", name, "netns", netns, "type", "veth",
           "peer", "name", port, "netns", self.between)  # fmt: skip
        ip("-n", netns, "link", "set", name, "up")
        ip("-n", self.between, "link", "set", port, "master", "hub", "up")

    def state(self) -> list[tuple[object, ...]]:
        """What may be changed of each interface; its link comes up in its own time."""
        return [
            tuple(link.get(key) for key in ("ifname", "promiscuity", "allmulti", "mtu", "address"))
            for netns in (self.dut, self.generator)
            for link in json.loads(ip("-n", netns, "-d", "-j", "link"))
        ]


@pytest.fixture
def rack() -> Iterator[Rack]:
    names = [f"vswitch-{role}-{os.getpid()}" for role in ("dut", "tg", "hub")]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("-n", names[2], "link", "add", "hub", "type", "bridge", "group_fwd_mask", "0x4000")
        ip("-n", names[2], "link", "set", "hub", "up")
        yield Rack(*names)
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


@pytest.fixture
def host() -> LocalHost:
    return LocalHost("test-wiring", Transcript(None))


def test_wires_between_two_hosts_are_found(rack: Rack, host: LocalHost) -> None:
    """Steps: two wires crosswise, a wire to nowhere, two DUT ports on one hub with a third.

    Verify: the two wires are found, the others named with the reason, nothing stays changed.
    """
    rack.wire("ens1f0", "eth1")
    rack.wire("ens1f1", "eth0")
    rack.wire("ens2f0", "unasked")
    rack.plug(rack.dut, "ens3f0", "p0")
    rack.plug(rack.dut, "ens3f1", "p1")
    rack.plug(rack.generator, "eth2", "p2")
    before = rack.state()
    near = ["ens1f0", "ens1f1", "ens2f0", "ens3f0", "ens3f1"]
    wires = find(End(host, near, rack.dut), End(host, ["eth0", "eth1", "eth2"], rack.generator))
    assert wires.wired == {"ens1f0": "eth1", "ens1f1": "eth0"}
    assert wires.doubtful == {
        "ens2f0": "no frame of it was heard, and it heard none",
        "ens3f0": "it is on one wire with several: ens3f1, eth2",
        "ens3f1": "it is on one wire with several: ens3f0, eth2",
    }
    assert rack.state() == before


def test_a_bridge_is_no_wire(rack: Rack, host: LocalHost) -> None:
    ip("-n", rack.between, "link", "set", "hub", "type", "bridge", "group_fwd_mask", "0")
    rack.plug(rack.dut, "ens1f0", "p0")
    rack.plug(rack.generator, "eth0", "p1")
    wires = find(End(host, ["ens1f0"], rack.dut), End(host, ["eth0"], rack.generator))
    assert wires.wired == {}
    assert list(wires.doubtful) == ["ens1f0"]


def test_wires_of_one_host_to_itself_are_found(rack: Rack, host: LocalHost) -> None:
    for name, other in (("a0", "b0"), ("b1", "a1")):
        ip("-n", rack.dut, "link", "add", name, "type", "veth", "peer", "name", other)
    names = ["a0", "a1", "b0", "b1"]
    for name in names:
        ip("-n", rack.dut, "link", "set", name, "up")
    assert find(End(host, names, rack.dut), None) == Wires({"a0": "b0", "a1": "b1"}, {})


def test_without_interfaces_there_are_no_wires(rack: Rack, host: LocalHost) -> None:
    rack.wire("ens1f0", "eth0")
    assert find(End(host, []), End(host, ["eth0"], rack.generator)) == Wires({}, {})
    alone = find(End(host, ["ens1f0"], rack.dut), End(host, []))
    assert alone == Wires({}, {"ens1f0": "no frame of it was heard, and it heard none"})


@pytest.mark.parametrize(
    ("heard", "wires"),
    [
        (
            {("0 a", "1 x")},
            Wires({}, {"a": "frames go one way only between it and x"}),
        ),
        (
            {("0 a", "0 b"), ("0 b", "0 a")},
            Wires({}, {n: f"it is wired to {o} of the same host" for n, o in ("ab", "ba")}),
        ),
        (set(), Wires({}, {"a": "no frame of it was heard, and it heard none"})),
    ],
)
def test_what_is_no_wire_is_told(heard: set[tuple[str, str]], wires: Wires) -> None:
    names = sorted({"0 a", *(name for pair in heard for name in pair)})
    assert _judge(heard, names, between_ends=True) == wires


def test_who_is_not_root_cannot_probe(host: LocalHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "is_root", lambda: False)
    with pytest.raises(HostError, match="needs root"):
        find(End(host, ["lo"]), None)
