"""memif: what its topologies need of a host, and what would be done to one."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch import registry
from pytest_vswitch.apps.memif import Options
from pytest_vswitch.errors import DutError, InputError
from pytest_vswitch.hosts.hugepages import Hugepages
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.plan import PlanHost, script_for
from pytest_vswitch.hosts.shell_script import Script
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies import lcores, memif, memif_loopback, memif_zero_copy
from pytest_vswitch.topologies.endpoints import Place, memif_peer
from pytest_vswitch.topologies.lcores import Wanted
from pytest_vswitch.topologies.memif_link import Bench
from pytest_vswitch.topologies.vswitches import VhostPort
from tests.hosts.machine import machine, wait_until
from tests.topologies.elsewhere import Elsewhere, host, lab
from tests.topologies.test_container import Server

__all__ = ["host"]

NAMES = ("memif", "memif_zero_copy", "memif_loopback")


# --- what it needs ------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_machine_that_has_everything_is_not_changed(
    host: Elsewhere, tmp_path: Path, name: str
) -> None:
    registry.topology(name).preflight(lab(), host)
    assert not (tmp_path / "transcript.log").exists()
    assert sorted(path.name for path in Path(host.scratch).iterdir()) == ["owner.json"]


@pytest.mark.parametrize("name", NAMES)
def test_without_testpmd(host: Elsewhere, name: str) -> None:
    host.lacks = ("dpdk-testpmd",)
    says = "local has no program `dpdk-testpmd`: apt-get install dpdk-dev$"
    with pytest.raises(InputError, match=says):
        registry.topology(name).preflight(lab(), host)


@pytest.mark.parametrize("name", NAMES)
def test_without_root(host: Elsewhere, name: str) -> None:
    host.root = False
    with pytest.raises(InputError, match=f"{name} on local needs root: .*try `--dut sim`"):
        registry.topology(name).preflight(lab(), host)


def test_too_little_memory(host: Elsewhere) -> None:
    host.meminfo = "MemTotal: 1 kB\nMemAvailable:    700000 kB\n"
    with pytest.raises(InputError, match="memif needs 768 MB, 683 MB are available"):
        memif.preflight(lab(), host)


@pytest.mark.parametrize("name", NAMES)
def test_frames_longer_than_a_buffer(host: Elsewhere, name: str) -> None:
    jumbo = lab(dut={"host": "local", "mtu": 9000})
    with pytest.raises(InputError, match=f"a hop of {name}, carries an MTU of 1500 "):
        registry.topology(name).preflight(jumbo, host)


def test_a_vswitch_without_memif_ports(host: Elsewhere) -> None:
    """Open vSwitch takes memif ports towards the generator only."""
    ovs = lab(dut={"host": "local", "vswitch": "ovs-dpdk"})
    says = "memif wants a vSwitch with memif ports, and ovs-dpdk has vhost ports here"
    with pytest.raises(InputError, match=says):
        memif.preflight(ovs, host)
    memif_loopback.preflight(ovs, host)  # has a testpmd, whatever the lab's vSwitch is


def test_who_shares_cpus_is_told() -> None:
    def remarks(cpus: int) -> tuple[str, ...]:
        return lcores.plan(
            range(cpus), lcores=None, endpoints=[Wanted("peer", 2)], generator_cpu=None
        ).remarks

    assert remarks(2)[0].startswith("the vSwitch, the peer and the traffic generator share 2 CPUs")
    assert remarks(7) == ()


# --- what would be done -------------------------------------------------------------------


def planned(directory: Path, name: str, asked: Lab) -> Script:
    server = Server("plan-test", Transcript(directory / "log"), directory / "state")
    made = script_for(server, "A test's.")
    host = PlanHost(server, made)
    with registry.topology(name).provision(asked, host):
        host.up()
    return made


def local(hugepages: str = "none") -> Lab:
    return lab(dut={"host": "local", "hugepages": hugepages})


def started(script: Script, name: str) -> str:
    """The command that starts a program, on one line."""
    (found,) = [step.text for step in script.up if step.text.startswith(f"start {name}")]
    return re.sub(r" \\\n\s+", " ", found)


def test_the_server_comes_first_and_forwards_last(tmp_path: Path) -> None:
    script = planned(tmp_path, "memif", local())
    starts = [step.text.split()[1] for step in script.up if step.text.startswith("start ")]
    assert starts == ["host-testpmd", "peer-testpmd"]
    told = [step.text for step in script.up if step.text.endswith(r"$'start\n'")]
    assert told[-2:] == [r"tell peer-testpmd $'start\n'", r"tell host-testpmd $'start\n'"]
    stops = [step.text.split()[1] for step in script.undo if step.text.startswith("stop ")]
    assert stops == ["peer-testpmd", "host-testpmd"]


def test_the_roles_and_sockets_of_both_ends_fit(tmp_path: Path) -> None:
    script = planned(tmp_path, "memif", local())
    server, client = started(script, "host-testpmd"), started(script, "peer-testpmd")
    for index in range(2):
        socket = f"id=0,socket={script.run}/server{index},socket-abstract=no"
        # Numbers of the switch's ports go on from those towards the generator.
        assert f"net_memif{2 + index},role=server,{socket}" in server
        assert f"net_memif{index},role=client,{socket},mac=52:54:00:02:d9:0{index + 1}" in client
        assert f"rm -rf -- {script.run}/server{index}" in [step.text for step in script.undo]
    assert "--portlist=0,2,1,3" in server
    assert "--forward-mode=macswap" in client


@pytest.mark.parametrize("hugepages", ["none", "2M"])
def test_only_a_zero_copy_client_wants_single_file_segments(tmp_path: Path, hugepages: str) -> None:
    for name, zero_copy in (("memif", False), ("memif_zero_copy", True)):
        (tmp_path / name).mkdir()
        script = planned(tmp_path / name, name, local(hugepages))
        client = started(script, "peer-testpmd")
        assert ("--single-file-segments" in client) == zero_copy
        assert ("zero-copy=yes" in client) == zero_copy
        assert "--single-file-segments" not in started(script, "host-testpmd")


def test_the_loopback_is_one_process(tmp_path: Path) -> None:
    script = planned(tmp_path, "memif_loopback", local())
    starts = [step.text.split()[1] for step in script.up if step.text.startswith("start ")]
    assert starts == ["host-testpmd"]
    argv = started(script, "host-testpmd")
    for number, role in ((2, "server"), (3, "client")):
        assert f"net_memif{number},role={role},id=0,socket={script.run}/server0," in argv
    assert "--portlist=0,2,1,3" in argv


def test_vpp_as_the_vswitch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No VPP is there; what it would be told is."""
    monkeypatch.setattr(Server, "which", lambda self, program: f"/usr/bin/{program}")
    script = planned(tmp_path, "memif", lab(dut={"host": "local", "vswitch": "vpp"}))
    texts = [re.sub(r" \\\n\s+", " ", step.text) for step in script.up]
    cli = f"vppctl -s {script.run}/vpp/cli.sock"
    for enter, leave in (("memif1/0", "memif3/0"), ("memif3/0", "memif1/0")):
        assert f"{cli} set interface l2 xconnect {enter} {leave}" in texts
    assert f"{cli} create memif socket id 3 filename {script.run}/server0" in texts
    starts = [text.split()[1] for text in texts if text.startswith("start ")]
    assert starts == ["VPP", "peer-testpmd"]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_valid_shell(tmp_path: Path, name: str) -> None:
    checked = subprocess.run(
        ["shellcheck", "-"],
        input=planned(tmp_path, name, local()).text(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout


def test_the_choices_that_each_leaves() -> None:
    assert memif.AXES.endpoints == ("memif-peer",)
    assert memif_zero_copy.AXES.endpoints == ("memif-peer-zero-copy",)
    assert (memif.AXES.vswitch, memif_loopback.AXES.vswitch) == (None, "testpmd")


# --- a peer and its links, for real -------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path) -> Iterator[LocalHost]:
    with machine(tmp_path) as here:
        yield here


def behind(served: Options) -> Place:
    """Where a peer is started with a link to that server."""
    return Place(
        number=0,
        vhosts=[VhostPort("server0", served.socket, "memif")],
        listens=False,
        vcpus=2,
        cpus=(),
        pages=Hugepages(None, "a test wants none"),
    )


def test_a_link_that_comes_up(here: LocalHost) -> None:
    served = Options(role="server", socket=f"{here.scratch}/server0")
    with (
        Bench(local(), here).testpmd("server", served) as server,
        memif_peer.COPYING.start(local(), here, behind(served)) as peer,
    ):
        peer.check_alive()
        assert server.connected()
        assert server.testpmd.version == peer.facts.versions["peer dpdk"]


@pytest.mark.parametrize(
    ("served", "reason"),
    [({"id": 5}, "ID not found"), ({"secret": "abc123"}, "Secret required")],
)
def test_a_link_that_does_not_come_up(
    here: LocalHost, monkeypatch: pytest.MonkeyPatch, served: dict[str, Any], reason: str
) -> None:
    monkeypatch.setattr(memif_peer, "_LINK_S", 1.0)  # it will not come
    port = Options(role="server", socket=f"{here.scratch}/server0", **served)
    with (
        Bench(local(), here).testpmd("server", port),
        memif_peer.COPYING.start(local(), here, behind(port)) as peer,
    ):
        says = rf"^peer testpmd has no connection to server0, {port.socket}: {reason}$"
        with pytest.raises(DutError, match=says):
            peer.check_alive()


def test_a_peer_that_is_started_again(here: LocalHost) -> None:
    """The server takes it as it took the first; what it had counted is gone."""
    served = Options(role="server", socket=f"{here.scratch}/server0")
    with (
        Bench(local(), here).testpmd("server", served) as server,
        memif_peer.COPYING.start(local(), here, behind(served)) as peer,
    ):
        first = peer.process
        peer.respawn()
        assert first.status() == -signal.SIGKILL
        assert peer.process.pid != first.pid
        assert server.connected()
        assert not any(counters.rx_packets for counters in peer.forwarder.counters().values())


def test_a_peer_that_dies(here: LocalHost) -> None:
    served = Options(role="server", socket=f"{here.scratch}/server0")
    with (
        Bench(local(), here).testpmd("server", served),
        memif_peer.ZERO_COPY.start(local(), here, behind(served)) as peer,
    ):
        peer.process.signal(signal.SIGKILL)
        wait_until(lambda: peer.process.status() is not None, "end of the peer")
        with pytest.raises(
            DutError, match=r"(?s)^peer testpmd is gone \(exit status -9\); its last "
        ):
            peer.check_alive()
