"""Phy-VM-Phy: what the router does to a frame, whose drops are whose, what would be done."""

from __future__ import annotations

import contextlib
import random
import re
import subprocess
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_vswitch import registry
from pytest_vswitch.apps.kvm import Accelerator
from pytest_vswitch.apps.linux_router import InterfaceCounters, RouterCounters
from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.hugepages import Hugepages
from pytest_vswitch.hosts.plan import PlanHost, script_for
from pytest_vswitch.hosts.shell_script import Script
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.measure.functional import build_frames
from pytest_vswitch.topologies import phy_vm_phy, phy_vm_phy_testpmd, virtual_machine
from pytest_vswitch.topologies.counts import PortCounts, since
from pytest_vswitch.topologies.endpoints import Place, guest_kernel
from pytest_vswitch.topologies.endpoints.guest_kernel import GuestKernel, Shares
from pytest_vswitch.topologies.topology import plain_flow
from pytest_vswitch.traffic.frames import STAMP, template
from tests.apps.conftest import KERNEL
from tests.topologies.elsewhere import Elsewhere, host, lab
from tests.topologies.test_pvp_plan import Server

__all__ = ["host"]

MACS = ["52:54:00:02:d9:01", "52:54:00:02:d9:02"]
GATEWAYS = ["de:ad:be:ef:ca:fd", "de:ad:be:ef:ca:fe"]


# --- what it needs ------------------------------------------------------------------------


def test_a_machine_that_has_everything(host: Elsewhere) -> None:
    phy_vm_phy.preflight(lab(), host)
    phy_vm_phy_testpmd.preflight(lab(), host)


@pytest.mark.parametrize("program", ["ip", "tc"])
def test_the_kernels_tools_are_needed_for_its_case_only(host: Elsewhere, program: str) -> None:
    host.lacks = (program,)
    with pytest.raises(InputError, match=f"local has no program `{program}`: apt-get .* iproute2$"):
        phy_vm_phy.preflight(lab(), host)
    phy_vm_phy_testpmd.preflight(lab(), host)


def test_a_vswitch_that_takes_interrupts_back_needs_kvm(
    host: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = SimpleNamespace(accelerator=Accelerator("tcg", "the guest hung on it"))
    monkeypatch.setattr(virtual_machine, "boot", lambda *_, **__: contextlib.nullcontext(machine))
    pages = cast(Hugepages, None)
    place = Place(0, (), False, 2, (), pages, interrupts_tcg=registry.vswitch("vpp").INTERRUPTS_TCG)
    vpp = lab(dut={"host": "local", "vswitch": "vpp"})
    wanted = r"kernel behind vpp needs KVM: .* local has no KVM \(the guest hung on it\)"
    with pytest.raises(InputError, match=wanted), guest_kernel.start(vpp, host, place):
        pass


# --- what it does to a frame --------------------------------------------------------------


@pytest.fixture
def router() -> GuestKernel:
    pages = cast(Hugepages, None)
    place = Place(number=0, vhosts=(), listens=False, vcpus=2, cpus=(), pages=pages)
    devices = ("0000:00:10.0", "0000:00:11.0")
    return GuestKernel("guest kernel", cast(Any, None), guest_kernel.interfaces(place, devices))


@pytest.mark.parametrize("entered", [0, 1])
def test_a_frame_goes_one_hop_further(router: GuestKernel, entered: int) -> None:
    """Verify: as scapy would make it, for frames of every time to live, options too."""
    from scapy.layers.inet import IP, IPOption_NOP
    from scapy.layers.l2 import Ether

    flow = router.flow(entered, plain_flow(0, 1))
    assert (flow.src_mac, flow.dst_mac) == (GATEWAYS[entered], MACS[entered])
    frames = [frame for ttl in range(1, 256) for frame in build_frames(flow, 64, 2, ttl=ttl)]
    packet = Ether(frames[0])
    packet[IP].options = [IPOption_NOP()] * 4
    del packet[IP].chksum, packet[IP].ihl, packet[IP].len
    frames.append(bytes(packet))
    for frame in frames:
        expected = Ether(frame)
        expected.src, expected.dst = MACS[1 - entered], GATEWAYS[1 - entered]
        expected[IP].ttl -= 1
        del expected[IP].chksum
        assert router.transform(frame, entered) == bytes(expected)


def test_the_stamp_of_a_trials_frame_stays(router: GuestKernel) -> None:
    frame = template(router.flow(0, plain_flow(0, 1)), 64)
    assert router.transform(frame, 0)[34:] == frame[34:]
    assert STAMP in router.transform(frame, 0)


def test_the_way_back_is_another_network(router: GuestKernel) -> None:
    """So that there is no route to a source, as in the guide: rp_filter=1 must be noticed."""
    there, back = (router.flow(port, plain_flow(port, 1 - port)) for port in (0, 1))
    assert there.dst_ip.split(".")[:2] == back.src_ip.split(".")[:2]
    assert there.src_ip.split(".")[:2] != back.dst_ip.split(".")[:2]


def test_interrupts_go_to_the_cpus_that_forward() -> None:
    def cpus(vcpus: int) -> list[int]:
        pages = cast(Hugepages, None)
        place = Place(number=0, vhosts=(), listens=False, vcpus=vcpus, cpus=(), pages=pages)
        return [port.cpu for port in guest_kernel.interfaces(place, ("a", "b"))]

    assert [cpus(vcpus) for vcpus in (1, 2, 3, 4)] == [[0, 0], [1, 1], [1, 2], [1, 2]]


# --- what the IP layer dropped ------------------------------------------------------------


def reading(
    rx: tuple[int, int], tx: tuple[int, int], dropped: dict[str, int] | None = None
) -> RouterCounters:
    """`tx` by the interface where frames leave: those of interface 0 leave by 1."""
    one, other = (InterfaceCounters(rx=rx[port], tx=tx[port]) for port in (0, 1))
    return RouterCounters((one, other), dropped or {})


def test_drops_belong_to_the_port_whose_frames_are_missing() -> None:
    one, other = Shares().counts(reading((10, 10), (10, 7), {"InNoRoutes": 3}))
    assert (one.discards["InNoRoutes"], other.discards["InNoRoutes"]) == (3, 0)
    one, other = Shares().counts(reading((10, 10), (4, 8), {"InAddrErrors": 8}))
    assert (one.discards["InAddrErrors"], other.discards["InAddrErrors"]) == (2, 6)


def test_what_an_interface_knows_itself_is_not_missing() -> None:
    one = InterfaceCounters(rx=10, tx=8, rx_drops={"rx otherhost": 2})
    other = InterfaceCounters(rx=8, tx=5, tx_drops={"qdisc dropped": 3})
    counts = Shares().counts(RouterCounters((one, other), {"InHdrErrors": 0}))
    assert counts[0].discards == {"rx otherhost": 2, "InHdrErrors": 0}
    assert counts[1].tx_drops == {"qdisc dropped": 3}
    assert counts[1].discards == {"InHdrErrors": 0}


def test_frames_under_way_are_not_taken_for_dropped_for_good() -> None:
    """Steps: frames of port 0 are under way while ones of port 1 are dropped; then none are."""
    shares = Shares()
    shares.counts(reading((20, 20), (15, 10), {"InNoRoutes": 5}))
    one, other = shares.counts(reading((20, 20), (15, 20), {"InNoRoutes": 5}))
    assert (one.discards["InNoRoutes"], other.discards["InNoRoutes"]) == (0, 5)


def test_a_drop_that_nobody_misses_is_not_hidden() -> None:
    one, other = Shares().counts(reading((10, 10), (10, 10), {"InDelivers": 2}))
    assert one.discards["InDelivers"] + other.discards["InDelivers"] == 2


@pytest.mark.parametrize("seed", range(20))
def test_each_trial_balances_whatever_was_dropped(seed: int) -> None:
    """Steps: trial after trial, frames of both ports are dropped in three ways.

    Verify: at each port what was dropped in a trial is what is missing, and no count is
    negative.
    """
    rng = random.Random(seed)
    shares = Shares()
    rx, tx = [0, 0], [0, 0]
    words = dict.fromkeys(("InHdrErrors", "InNoRoutes", "IPReversePathFilter"), 0)
    before = shares.counts(reading((0, 0), (0, 0), dict(words)))
    for _ in range(20):
        for port in (0, 1):
            rx[port] += 1000
            tx[1 - port] += 1000
            for word in words:
                lost = rng.choice((0, 0, rng.randrange(50)))
                words[word] += lost
                tx[1 - port] -= lost
        after = shares.counts(reading((rx[0], rx[1]), (tx[0], tx[1]), dict(words)))
        trial = [since(old, new) for old, new in zip(before, after, strict=True)]
        for port in (0, 1):
            lost = trial[port].rx - trial[1 - port].tx
            assert sum(trial[port].discards.values()) == lost
            assert min(trial[port].discards.values()) >= 0
        before = after


def test_frames_are_counted_where_they_enter_and_leave() -> None:
    one, _ = Shares().counts(reading((10, 20), (20, 10)))
    assert one == PortCounts(rx=10, tx=20)


# --- what would be done -------------------------------------------------------------------


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Script:
    directory = tmp_path_factory.mktemp("server")
    server = Server("plan-test", Transcript(directory / "log"), directory / "state")
    server.cache = str(directory / "cache")
    (directory / "cache").mkdir()
    (directory / "cache/kernel").symlink_to(KERNEL)
    made = script_for(server, "A test's.")
    host = PlanHost(server, made)
    planned = lab(guest={"accelerator": "tcg"})
    with phy_vm_phy.provision(planned, host) as topology:
        host.up()
        assert [node.name for node in topology.nodes] == [
            "generator",
            "host testpmd",
            "guest kernel",
        ]
        assert topology.flow(0).dst_mac == MACS[0]
    return made


def told(script: Script) -> list[str]:
    """What the guest's shell is told, in order."""
    return [step.text for step in script.up if step.text.startswith("tell guest-shell")]


def test_the_guest_is_made_a_router_before_the_switch_forwards(script: Script) -> None:
    steps = [step.text for step in script.up]
    for words in (
        "ip_forward",
        "rp_filter",
        "addr add 2.2.2.1/24 dev $port0",
        "route add default via 3.3.3.2 dev $port1",
        "neigh replace 3.3.3.2 lladdr de:ad:be:ef:ca:fe nud permanent dev $port1",
        "/sys/bus/pci/devices/0000:00:11.0/msi_bus",
    ):
        assert any(words in step for step in told(script)), words
    start = max(index for index, step in enumerate(steps) if step.startswith("tell host-testpmd"))
    assert start > max(index for index, step in enumerate(steps) if "guest-shell" in step)
    assert not any("dpdk-testpmd" in step for step in told(script))


def test_each_step_has_its_reason(script: Script) -> None:
    for step in script.up:
        if step.text.startswith(("start", "connect", "tell", "pin")):
            assert step.why, step.text


def test_the_guests_image_has_the_kernels_driver_and_tools(script: Script) -> None:
    texts = "\n".join(step.text for step in script.up)
    assert re.search(r"net/\d+-virtio_net\.ko", texts)
    assert re.search(r"net/\d+-failover\.ko", texts)
    assert "/tc" in texts


def test_it_is_valid_shell(script: Script) -> None:
    checked = subprocess.run(
        ["shellcheck", "-"], input=script.text(), stdout=subprocess.PIPE, text=True
    )
    assert checked.returncode == 0, checked.stdout
