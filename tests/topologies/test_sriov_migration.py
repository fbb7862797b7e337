"""`--nic sriov`: what it needs of a lab and its servers, and what it leaves alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from pytest_vswitch import registry
from pytest_vswitch.apps.qmp_console import QmpConsole
from pytest_vswitch.errors import DutError, HostError, InputError, NotHere
from pytest_vswitch.lab.choices import chosen
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.measure import outage
from pytest_vswitch.topologies import bonded_migration, live_migration, sriov_migration_wiring
from pytest_vswitch.topologies.topology import NicPort
from pytest_vswitch.traffic.generator import Silence
from tests.emulated.migration_bench import hosts, lab, running
from tests.emulated.migration_host import Host
from tests.emulated.migration_world import World
from tests.emulated.ovdk_terminal import Terminal

PCI = "/sys/bus/pci/devices/0000:09:00.0"


def one() -> Any:
    (host,) = hosts(World())
    return host


def test_the_option_chooses_it() -> None:
    plain = lab(guest={"accelerator": "tcg"})
    assert plain.guest.nic == "virtio"
    made = chosen(plain, vswitch=None, hypervisor=None, nic="sriov")
    bonded_migration.preflight(made, one())
    assert chosen(made, vswitch=None, hypervisor=None).guest.nic == "sriov"


def test_the_other_topology_is_left_out() -> None:
    with pytest.raises(NotHere, match="with --nic sriov, bonded_migration is it"):
        live_migration.preflight(lab(), one())


def test_ports_that_are_no_pfs_are_left_out() -> None:
    memif = Lab.model_validate(
        {
            "name": "it",
            "dut": {"host": "local"},
            "guest": {"nic": "sriov"},
            "ports": [{"kind": "memif"}, {"kind": "memif"}],
        }
    )
    with pytest.raises(NotHere, match="needs NICs with SR-IOV as ports: lab `it` is of kind memif"):
        bonded_migration.preflight(memif, one())
    host = one()
    del host.files[f"{PCI}/sriov_numvfs"]
    with pytest.raises(NotHere, match=r"0000:09:00\.0 of dut1 cannot have virtual functions"):
        bonded_migration.preflight(lab(), host)


def without_root(host: Host) -> None:
    host.is_root = lambda: False  # type: ignore[method-assign]


def without_igb_uio(host: Host) -> None:
    host.modules.remove("igb_uio")


def without_ip(host: Host) -> None:
    host.which = lambda program: None if program == "ip" else program  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("sections", "spoil", "says"),
    [
        ({"guest": {"nic": "sriov", "hypervisor": "libvirt"}}, None, "tells QEMU itself what to"),
        ({"guest": {"nic": "sriov", "image": "/i.qcow2"}}, None, "moves the built-in guest"),
        ({"target": {"host": "root@dut2"}}, None, "by which the other one reaches it, not `local`"),
        ({}, without_root, "needs root: for VFs, a bridge and hugepages"),
        ({}, without_igb_uio, "lacks igb_uio: apt-get install dpdk-kmods-dkms builds it"),
        ({}, without_ip, "has no program `ip`: apt-get install iproute2"),
    ],
)
def test_what_it_lacks_is_told(
    sections: dict[str, Any], spoil: Callable[[Host], None] | None, says: str
) -> None:
    host = one()
    if spoil is not None:
        spoil(host)
    with pytest.raises(InputError, match=re.escape(says)):
        bonded_migration.preflight(lab(**sections), host)


def test_of_two_pairs_of_ports_the_first_of_each_is_taken() -> None:
    names = ("09:00.0", "09:00.1", "06:00.0", "06:00.1")
    nics = [{"kind": "nic", "bdf": f"0000:{name}", "line_rate_gbps": 10} for name in names]
    four = lab(ports=nics)
    taken = [sriov_migration_wiring._spec(four, number).bdf for number in range(2)]
    assert taken == ["0000:09:00.0", "0000:06:00.0"]
    with pytest.raises(InputError, match="--nic sriov needs 2 ports, lab `it` has 1"):
        sriov_migration_wiring.preflight(lab(ports=nics[:1]), one())


class Addressed(Host):
    """Somebody uses the port."""

    def _answer(self, line: str) -> tuple[int, str]:
        if line.startswith("ip -o address"):
            return 0, "2: ens1f0    inet 192.0.2.7/24 brd 192.0.2.255 scope global ens1f0\n"
        return super()._answer(line)


def with_functions(host: Host) -> None:
    host.files[f"{PCI}/sriov_numvfs"] = "4\n"


def with_a_bridge(host: Host) -> None:
    host.links.add("vs-br-source")


def with_two_names(host: Host) -> None:
    plain, names = host.glob, [f"{PCI}/net/a", f"{PCI}/net/b"]
    host.glob = lambda pattern: names if pattern.endswith("/net/*") else plain(pattern)  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("kind", "spoil", "says"),
    [
        (Addressed, None, "has the addresses 192.0.2.7/24, which a run would take away"),
        (Host, with_functions, "has 4 virtual functions; there must be none yet"),
        (Host, with_a_bridge, "there is an interface vs-br-source already"),
        (Host, with_two_names, "0000:09:00.0 has a, b; its kernel's driver must have made one"),
    ],
)
def test_what_is_somebody_elses_is_left(
    kind: type[Host],
    spoil: Callable[[Host], None] | None,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sriov_migration_wiring, "_image", lambda lab, host: None)
    host: Any = kind(World(), "dut1", (0, 1))
    if spoil is not None:
        spoil(host)
    before = host.state()
    with (
        pytest.raises(HostError, match=re.escape(says)),
        bonded_migration.provision(lab(), host),
    ):
        pass
    assert host.state() == before


def test_two_servers_are_for_this_topology_only() -> None:
    assert isinstance(registry.topology("bonded_migration"), registry.Spanning)
    assert not isinstance(registry.topology("live_migration"), registry.Spanning)
    other: Any = one()
    nics = [{"kind": "nic", "bdf": f"0000:0{n}:00.0", "line_rate_gbps": 10} for n in range(4)]
    virtio = lab(guest={"nic": "virtio"}, target={"host": "root@dut2"}, ports=nics)
    with (
        pytest.raises(InputError, match="between two back-ends of one machine so far"),
        bonded_migration.provision_between(virtio, other, other),
    ):
        pass


def test_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(World("ixgbe"), monkeypatch) as (topology, _, hosts):
        assert topology.variant == {"nic": "sriov"}
        assert topology.facts.versions["qemu"] == "7.2.22"
        assert topology.facts.nic == "nic0 (ixgbe), and a VF of it"
        assert "both places are on one machine, and share its CPUs" in topology.facts.remarks
        assert topology.ports == (NicPort("nic0", "0000:09:00.0", "e0", 1e10),)
        assert [node.name for node in topology.nodes][:2] == ["generator", "both PFs"]
        before = topology.snapshot()
        (hop,) = topology.path(0, before, topology.snapshot())
        assert (hop.entered, hop.balanced) == (0, True)
        hosts[0].qemus[0].process.ended = True
        with pytest.raises(DutError, match=r"QEMU is gone \(exit status 1\)"):
            topology.check_alive()


def test_the_longest_silence_that_touches_a_step() -> None:
    silences = [Silence(1.0, 500.0), Silence(3.0, 100.0)]
    assert outage.longest(silences, 1.4, 2.0) == 500.0
    assert outage.longest(silences, 1.6, 2.9) == 0.0


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ('{"error": {"class": "GenericError", "desc": "no"}, "id": 2}', "was refused: no"),
        ('{"id": 2}', "was refused: an answer without `return`"),
        ('[1]\n{"return": {}, "id": 2}', r"said what is not QMP: \[1\]"),
        ("", "qmp: no answer to stop within 10 s"),
    ],
)
def test_what_qemu_answers(answer: str, says: str) -> None:
    answers = {1: '{"return": {}, "id": 1}\n', 2: f"{answer}\n"}
    terminal = Terminal("qmp", lambda text: answers[2 if '"stop"' in text else 1])
    terminal.say('{"QMP": {}}\n')
    qmp = QmpConsole(terminal)
    with pytest.raises(DutError, match=says):
        qmp.execute("stop")


def test_events_before_the_last_command_are_not_waited_for() -> None:
    event = '{"timestamp": {"seconds": 1, "microseconds": 0}, "event": "STOP"}\n'
    told = iter(['{"return": {}, "id": 1}\n', event + '{"return": {}, "id": 2}\n'])
    terminal = Terminal("qmp", lambda text: next(told, '{"return": {}, "id": 3}\n'))
    terminal.say('{"QMP": {}}\n')
    qmp = QmpConsole(terminal)
    qmp.execute("stop")
    qmp.wait("STOP", timeout_s=1.0, what="its stop")
    qmp.execute("cont")
    with pytest.raises(DutError, match="no its stop within 1 s"):
        qmp.wait("STOP", timeout_s=1.0, what="its stop")
