"""VPP: what it is told and what it says, against a stand-in that keeps its state.

No real VPP takes part: Debian has no package of it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch.apps import vpp
from pytest_vswitch.errors import DutError, InputError
from pytest_vswitch.hosts.hugepages import Hugepages
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.topologies.lcores import LcorePlan
from pytest_vswitch.topologies.ports import SwitchPorts
from pytest_vswitch.topologies.topology import MemifPort, NicPort
from pytest_vswitch.topologies.vswitches import Order, VhostPort
from pytest_vswitch.topologies.vswitches import vpp as vswitch
from tests.hosts.machine import machine, wait_until
from tests.topologies.elsewhere import lab

CORES = LcorePlan((0, 1, 2), 2, (), shared=False, generator_cpu=None, remarks=())
PAGES = Hugepages(None, "none are wanted")


class Programs:
    """`vpp` and `vppctl` on the PATH."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        text = (Path(__file__).parent / "vpp_standin.py").read_text()
        for name in ("vpp", "vppctl"):
            program = directory / name
            program.write_text(f"#!{sys.executable}\n{text}")
            program.chmod(0o755)

    def tell(self, name: str, **content: object) -> None:
        (self.directory / name).write_text(json.dumps(content))

    @property
    def state(self) -> dict[str, Any]:
        return dict(json.loads((self.directory / "state").read_text()))

    @property
    def argv(self) -> str:
        return " ".join((self.directory / "argv").read_text().splitlines())


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return Programs(tmp_path / "bin")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LocalHost]:
    with machine(tmp_path) as host:
        yield host


def order(host: LocalHost, *, kind: str = "memif") -> Order:
    ports = [MemifPort(f"memif{n}", f"{host.scratch}/memif{n}", 10e9) for n in range(2)]
    name = "server" if kind == "memif" else "vhost"
    inner = [VhostPort(f"{name}{n}", f"{host.scratch}/{name}{n}", kind) for n in range(2)]  # type: ignore[arg-type]
    pairs = [("memif0", f"{name}0"), (f"{name}1", "memif1")]
    return Order(SwitchPorts(ports, []), inner, pairs, CORES, PAGES)


def nics() -> Order:
    ports = [NicPort(f"nic{n}", f"0000:11:00.{n}", "", 10e9) for n in range(2)]
    return Order(SwitchPorts(ports, []), [], [("nic0", "nic1")], CORES, PAGES)


# --- wiring -------------------------------------------------------------------------------


def test_memif_ports_are_made_and_connected_when_it_forwards(
    programs: Programs, host: LocalHost
) -> None:
    with vswitch.start(lab(), host, order(host)) as switch:
        assert switch.versions == {"vpp": "25.10-release"}
        names = ["memif1/0", "memif2/0", "memif3/0", "memif4/0"]
        assert programs.state["up"] == dict.fromkeys(names, True)
        assert programs.state["connected"] == {}
        for socket in ("memif0", "memif1", "server0", "server1"):
            assert host.exists(f"{host.scratch}/{socket}")
        switch.forward()
        ways = [("memif1/0", "memif3/0"), ("memif4/0", "memif2/0")]
        assert programs.state["connected"] == dict(ways + [way[::-1] for way in ways])
        switch.check_alive()
    for left in ("vpp", "memif0", "server1"):
        assert not host.exists(f"{host.scratch}/{left}")


def test_vhost_ports_have_the_names_that_it_gives(programs: Programs, host: LocalHost) -> None:
    with vswitch.start(lab(), host, order(host, kind="vhost")) as switch:
        switch.forward()
        assert programs.state["connected"]["memif1/0"] == "VirtualEthernet0/0/0"
        assert programs.state["connected"]["VirtualEthernet0/0/1"] == "memif2/0"


def test_nics_are_dpdks_under_the_names_of_the_lab(programs: Programs, host: LocalHost) -> None:
    with vswitch.start(lab(), host, nics()) as switch:
        switch.forward()
        assert programs.state["connected"] == {"nic0": "nic1", "nic1": "nic0"}
        assert "dpdk { dev 0000:11:00.0 { name nic0 } dev 0000:11:00.1 { name nic1 } }" in (
            programs.argv
        )
        assert "plugin dpdk_plugin.so { enable }" in programs.argv
        assert switch.driver("nic0") == "dpdk"


def test_it_is_apart_from_any_other(programs: Programs, host: LocalHost) -> None:
    with vswitch.start(lab(), host, order(host)):
        argv = programs.argv
    run = host.scratch.rpartition("/")[2]
    assert argv.count(f"{host.scratch}/vpp") == 5
    assert f"api-segment {{ prefix vswitch-{run} }}" in argv
    assert "cpu { main-core 0 corelist-workers 1,2 }" in argv
    assert "buffers { page-size default }" in argv, "else it reserves hugepages, and keeps them"
    assert "dpdk" not in argv


# --- faults -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("create memif socket", "create memif socket: socket filename already in use"),
        ("create interface memif", "create interface memif: interface id already in use"),
        ("set interface state", "unknown interface `memif1/0'"),
        ("set interface rx-mode", "set interface rx-mode: unable to set: not supported"),
    ],
)
def test_what_it_refuses_is_told_in_its_words(
    programs: Programs, host: LocalHost, command: str, words: str
) -> None:
    programs.tell("faults", **{command: words})
    with pytest.raises(DutError, match=f"VPP refused `{command}.*: {words}"), ExitStack() as stack:
        stack.enter_context(vswitch.start(lab(), host, order(host)))
    assert not host.exists(f"{host.scratch}/vpp")


def test_a_cross_connect_that_it_refuses(programs: Programs, host: LocalHost) -> None:
    with vswitch.start(lab(), host, order(host)) as switch:
        programs.tell("faults", **{"set interface l2": "set interface l2 xconnect: no such table"})
        with pytest.raises(DutError, match="VPP refused `set interface l2 xconnect memif1/0"):
            switch.forward()


def test_it_does_not_start(programs: Programs, host: LocalHost) -> None:
    programs.tell("faults", start="vpp: main heap allocation failed")
    said = r"VPP is gone \(exit status 1\); its last output:\n    vpp: main heap allocation failed"
    with pytest.raises(DutError, match=said), ExitStack() as stack:
        stack.enter_context(vswitch.start(lab(), host, order(host)))


def test_it_dies(programs: Programs, host: LocalHost) -> None:
    with vswitch.start(lab(), host, order(host)) as switch:
        switch.running.process.signal(9)
        wait_until(lambda: switch.running.process.status() is not None, "end of VPP")
        for ask in (switch.check_alive, switch.read, switch.forward):
            with pytest.raises(DutError, match=r"VPP is gone \(exit status -9\)"):
                ask()


def test_it_is_not_there(host: LocalHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(InputError, match="has no program `vpp`: apt-get install vpp"):
        vswitch.preflight(lab(), host)


# --- counters -----------------------------------------------------------------------------


def test_counters(programs: Programs, host: LocalHost) -> None:
    """It counts as sent what a full ring then refused; that is not sent, but dropped."""
    with vswitch.start(lab(), host, order(host)) as switch:
        before = switch.read()
        assert before.ports["memif0"].rx == before.ports["memif0"].tx == 0
        programs.tell(
            "counters",
            interfaces={
                "memif1/0": {"rx packets": 1000, "rx bytes": 60000, "drops": 3},
                "memif3/0": {"tx packets": 997, "tx bytes": 59820},
            },
            errors=[
                [40, "memif3/0-tx", "no free tx slots"],
                [3, "l2-input", "L2 input drops"],
                [7, "memif3/0-tx", "no free tx slots"],
            ],
            runtime=[["l2-input", 50, 1000], ["memif-input", 70, 1000]],
        )
        after = switch.read()
        assert after.ports["memif0"].rx == 1000
        assert after.ports["memif0"].discards == {"drops": 3}
        assert after.ports["server0"].tx == 950
        assert after.ports["server0"].tx_drops == {"no free tx slots": 47}
        assert switch.facts_between(before, after) == {"frames per call": "20.0"}
        assert switch.facts_between(after, after) == {}


def test_a_vhost_port_counts_what_its_ring_refused_as_dropped_too(
    programs: Programs, host: LocalHost
) -> None:
    with vswitch.start(lab(), host, order(host, kind="vhost")) as switch:
        programs.tell(
            "counters",
            interfaces={"VirtualEthernet0/0/0": {"tx packets": 100, "drops": 12}},
            errors=[[10, "VirtualEthernet0/0/0-tx", "tx packet drops (no available descriptors)"]],
        )
        counts = switch.read().ports["vhost0"]
        assert (counts.tx, dict(counts.discards)) == (90, {"drops": 2})
        assert sum(counts.tx_drops.values()) == 10


def test_what_a_nic_missed(programs: Programs, host: LocalHost) -> None:
    with vswitch.start(lab(), host, nics()) as switch:
        programs.tell("counters", interfaces={"nic0": {"rx packets": 5, "rx-miss": 9}})
        assert switch.read().ports["nic0"].rx_drops["rx-miss"] == 9


@pytest.mark.parametrize(
    "output", ["memif1/0 is down\n", "   rx packets   7\n", "a 1 up nonsense\n"]
)
def test_a_table_that_is_none(output: str) -> None:
    with pytest.raises(DutError, match="`show interface` printed"):
        vpp.parse_interfaces(output)


def test_the_table_of_the_command_reference() -> None:
    """Without MTU, as VPP printed it once; in the numbers of fd.io's own example."""
    said = """\
              Name               Idx       State          Counter          Count
TenGigabitEthernet86/0/0          1         up       rx packets               6569213
                                                     tx packets                 50384
VirtualEthernet0/0/0              3         up       rx packets                 50384
                                                     drops                       1498
local0                            0        down
"""
    assert vpp.parse_interfaces(said) == {
        "TenGigabitEthernet86/0/0": {"rx packets": 6569213, "tx packets": 50384},
        "VirtualEthernet0/0/0": {"rx packets": 50384, "drops": 1498},
        "local0": {},
    }
