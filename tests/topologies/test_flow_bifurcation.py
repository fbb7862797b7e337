"""flow_bifurcation: what it refuses, and that all is undone wherever it breaks."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from pytest_vswitch.errors import DutError, HostError, InputError, NotHere, VswitchError
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies import flow_bifurcation
from pytest_vswitch.topologies.bifurcated_port import SPACE
from pytest_vswitch.topologies.topology import Topology
from tests.emulated.bifurcated import BDF, MAC, NAME, Host
from tests.emulated.ethtool import Filters, Kind

KINDS: tuple[Kind, ...] = ("ixgbe", "i40e", "i40e 1.x")


def lab(**port: Any) -> Lab:
    nic = {"kind": "nic", "bdf": BDF, "driver": "kernel", "generator": "e0", "line_rate_gbps": 10}
    dut = {"host": "local", "hugepages": "none"}
    return Lab.model_validate({"name": "it", "dut": dut, "ports": [{**nic, **port}]})


def bring_up(host: Any) -> Topology:
    with flow_bifurcation.provision(lab(), host) as topology:
        topology.check_alive()
        return topology


# --- what is refused ----------------------------------------------------------------------


def test_ports_without_filters_are_left_out_with_the_reason() -> None:
    host: Any = Host("ixgbe")
    memif = Lab.model_validate(
        {"name": "it", "dut": {"host": "local"}, "ports": [{"kind": "memif"}, {"kind": "memif"}]}
    )
    with pytest.raises(NotHere, match=r"SR-IOV and filters .* is of kind memif"):
        flow_bifurcation.preflight(memif, host)
    host.bound[BDF] = "vfio-pci"
    with pytest.raises(NotHere, match=r"its kernel's driver, ixgbe or i40e; \S+ has vfio-pci"):
        flow_bifurcation.preflight(lab(), host)
    with pytest.raises(InputError, match=r"emulated has no PCI device 0000:09:00\.0"):
        flow_bifurcation.preflight(lab(bdf="0000:09:00.0"), host)


class Addressed(Host):
    """Somebody uses the port."""

    def _answer(self, line: str) -> tuple[int, str]:
        if line.startswith("ip -o address"):
            return 0, f"2: {NAME}    inet 192.0.2.7/24 brd 192.0.2.255 scope global {NAME}\n"
        return super()._answer(line)


def filtered(host: Host) -> None:
    host.filters.command("-K", ["ntuple", "on"])
    words = "flow-type udp4 src-ip 1.1.1.1 action 0 loc 7".split()  # noqa: SIM905
    assert host.filters.command("-N", words) == (0, "")


def with_functions(host: Host) -> None:
    host.files[f"/sys/bus/pci/devices/{BDF}/sriov_numvfs"] = "4\n"


def with_namespace(host: Host) -> None:
    host.spaces.add(SPACE)


class Fixed(Filters):
    """A driver that cannot have filters."""

    def command(self, option: str, words: list[str]) -> tuple[int, str]:
        if option == "-k":
            return 0, "ntuple-filters: off [fixed]\n"
        return super().command(option, words)


@pytest.mark.parametrize(
    ("make", "spoil", "says"),
    [
        (Addressed, lambda host: None, r"has the addresses 192\.0\.2\.7/24"),
        (Host, filtered, r"has 1 filters of somebody already"),
        (Host, with_functions, r"has 4 virtual functions; there must be none yet"),
        (Host, with_namespace, r"has a network namespace vswitch-pf already"),
        (
            lambda kind: Host(kind, Fixed),
            lambda host: None,
            r"its driver cannot turn them on \(ethtool -k ens1f0\)",
        ),
    ],
    ids=["addresses", "filters", "functions", "namespace", "no filters"],
)
def test_what_is_somebody_elses_is_left(
    make: Callable[[str], Host], spoil: Callable[[Host], None], says: str
) -> None:
    host = make("ixgbe")
    spoil(host)
    before = host.state()
    with pytest.raises(VswitchError, match=says):
        bring_up(host)
    assert host.state() == before


# --- all is undone ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_it_leaves_the_host_as_it_was(kind: Kind) -> None:
    host = Host(kind)
    before = host.state()
    with flow_bifurcation.provision(lab(), _any(host)) as topology:
        assert host.state() != before
        assert sorted(host.filters.table) == [
            rule.location for rule in flow_bifurcation.rules(topology.driver.name, topology.dialect)
        ]
        assert topology.facts.versions["host dpdk"] == "22.11.11"
        assert topology.facts.nic == f"nic0 ({BDF}), driver {kind.split()[0]}"
    assert host.state() == before


def _any(host: Any) -> Any:
    return host


class Broken(HostError):
    """The host fails here."""


def steps(kind: Kind) -> list[str]:
    host = Host(kind)
    found: list[str] = []
    host.on_step = found.append
    bring_up(host)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_wherever_it_breaks_the_host_is_restored(kind: Kind) -> None:
    """At each step in turn the host fails once, as with a lost command or a time-out."""
    count = len(steps(kind))
    assert count > 25
    for broken in range(count):
        host = Host(kind)
        seen: list[str] = []
        before = host.state()

        def step(what: str, seen: list[str] = seen, broken: int = broken) -> None:
            seen.append(what)
            if len(seen) == broken + 1:
                raise Broken(f"no answer to `{what}` within 30 s")

        host.on_step = step
        with contextlib.suppress(Broken):  # some looks may fail: a run goes on without
            bring_up(host)
        assert host.state() == before, seen[broken]


class Refusing(Host):
    """Commands that match fail, as the real ones would."""

    refuse = ""
    words = "RTNETLINK answers: Operation not permitted\n"

    def _answer(self, line: str) -> tuple[int, str]:
        return (2, self.words) if re.search(self.refuse, line) else super()._answer(line)


@pytest.mark.parametrize(
    "command",
    [
        r"ethtool -i",
        r"ethtool -K",
        r"ip netns add",
        r"link set dev ens1f0 netns",
        r"sysctl",
        r"address add",
        r"dev ens1f0 up",
        r"neighbour",
        r"vf 1 mac",
        r"vxlan0 type",
        r"ethtool -N",
        r"ethtool -n ens1f0 rule",
    ],
)
def test_a_refusal_is_told_with_the_command(command: str) -> None:
    host = Refusing("i40e 1.x" if "vxlan" in command else "ixgbe")
    host.refuse = command
    before = host.state()
    with pytest.raises(HostError, match=r"emulated: `.*` failed \(2\): RTNETLINK answers"):
        bring_up(host)
    assert host.state() == before


class Silent(Filters):
    """Says nothing, and has no filter."""

    def stays(self, refusal: str) -> bool:
        return False


class Elsewhere(Filters):
    """Puts another filter in than it was told."""

    def _show(self, location: int) -> tuple[int, str]:
        return 0, f"Filter: {location}\n\tAction: Direct to queue 0\n"


@pytest.mark.parametrize(
    ("filters", "says"),
    [
        (Silent, r"`.*ethtool -n ens1f0 rule 1` failed \(1\): .*Invalid argument"),
        (Elsewhere, "filter 1 with the action `Direct to queue 0`, not `Direct to VF 0 queue 0`"),
    ],
)
def test_a_filter_that_is_not_there_is_a_fault(filters: type[Filters], says: str) -> None:
    host = Host("ixgbe", filters)
    before = host.state()
    with pytest.raises(HostError, match=re.compile(says, re.DOTALL)):
        bring_up(host)
    assert host.state() == before


def test_a_refused_filter_names_who_refused() -> None:
    class Full(Filters):
        def beyond(self, location: int) -> bool:
            return True

    host = Host("ixgbe", Full)
    with pytest.raises(
        HostError, match=r"`flow-type udp4 .* loc 1` was refused by the driver of ens1f0: Invalid"
    ):
        bring_up(host)


def test_a_testpmd_that_dies_is_named() -> None:
    host = Host("ixgbe")
    with flow_bifurcation.provision(lab(), _any(host)) as topology:
        assert host.testpmd is not None
        host.testpmd.ended = -9
        with pytest.raises(DutError, match=r"testpmd on the VFs is gone \(exit status -9\)"):
            topology.check_alive()


def test_a_kernel_that_tells_nothing_is_a_fault() -> None:
    with pytest.raises(DutError, match="tells no Ip InReceives"):
        flow_bifurcation.kernel_received("Ip: a\n")
    assert flow_bifurcation.kernel_received("Ip: Forwarding InReceives\nIp: 1 7\nTcp: a\n") == 7


def test_its_hops_balance() -> None:
    host = Host("ixgbe")
    with flow_bifurcation.provision(lab(), _any(host)) as topology:
        before = topology.snapshot()
        frame = bytes.fromhex(MAC.replace(":", "")) + bytes(6) + b"\x08\x00"
        ip = bytes.fromhex("4500001c00000000401100 00".replace(" ", ""))
        udp = bytes([192, 0, 2, 2, 198, 51, 100, 2, 0, 1, 0, 2, 0, 8, 0, 0])
        (back,) = host.receive(frame + ip + udp)
        assert back == topology.transform(frame + ip + udp, 0)
        hops = topology.path(0, before, topology.snapshot())
    assert [(hop.name, hop.entered, hop.left, hop.balanced) for hop in hops] == [
        ("nic0 -> VF 0", 1, 1, True),
        ("testpmd on the VFs: VF 0 -> VF 1", 1, 1, True),
    ]


# --- real programs take every line ----------------------------------------------------------

REFUSED_BY_THE_KERNEL = re.compile(
    r"Operation not supported|Could not change any device features|Unknown device type|"
    r"Invalid argument|Cannot find device \"vxlan0\""
)
"""What a veth says to what only a NIC can do, and a kernel without VXLAN."""


@pytest.mark.parametrize("kind", KINDS)
def test_real_programs_take_every_line(kind: Kind) -> None:
    """In order, in namespaces of their own, on a veth that is called as the PF."""
    host = Host(kind)
    bring_up(host)
    lines = [line.split(" ") for line in host.commands if re.match(r"ip(?! -6)|ethtool", line)]
    program = (
        "import json, subprocess, sys\n"
        "def run(argv):\n"
        "    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)\n"
        "    return done.returncode, done.stdout.decode()\n"
        "for argv in (['mount', '-t', 'tmpfs', 'none', '/run'],\n"
        f"             ['ip', 'link', 'add', '{NAME}', 'type', 'veth', 'peer', 'name', 'e1']):\n"
        "    subprocess.run(argv, check=True)\n"
        "print(json.dumps([run(argv) for argv in json.load(sys.stdin)]))\n"
    )
    done = subprocess.run(
        ["unshare", "--net", "--mount", "/usr/bin/python3", "-I", "-c", program],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    answers = json.loads(done.stdout)
    faults = [
        (line, said)
        for line, (status, said) in zip(lines, answers, strict=True)
        if status and not REFUSED_BY_THE_KERNEL.search(said)
    ]
    assert not faults
    said = {" ".join(line): said for line, (_, said) in zip(lines, answers, strict=True)}
    wrong = [line for line, text in said.items() if re.search("bad command|unrecognized", text)]
    assert not wrong
    assert len(lines) > 15


@pytest.mark.parametrize("kind", ["ixgbe", "i40e"])
def test_real_testpmd_takes_its_options(kind: Kind) -> None:
    """On null ports in place of the VFs, with its lcores on the CPU that each machine has."""
    host = Host(kind)
    started: list[list[str]] = []
    spawn = host.spawn

    def remembering(argv: list[str], **how: Any) -> Any:
        started.append(argv)
        return spawn(argv, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "spawn", remembering)
        bring_up(host)
    line = " ".join(started[0]).replace("-m 512", "-m 128 --no-shconf")
    line = re.sub(r"(\d)@\d", r"\1@0", line)
    line = re.sub(r"-a \S+ -a \S+", "--no-pci --vdev net_null0 --vdev net_null1", line)
    done = subprocess.run(
        line.split(" "),
        input="quit\n",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.endswith("Bye...\n"), done.stdout
    assert "testpmd> quit" in done.stdout
