"""Open vSwitch: its command lines, and what it printed when it was asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.apps import openvswitch
from pytest_vswitch.apps.openvswitch import (
    Directory,
    FlowCount,
    OpenVswitch,
    Parameters,
    Port,
    parse_flows,
    parse_pmds,
    parse_ports,
)
from pytest_vswitch.errors import DeadlineError, DutError, HostError, InputError
from pytest_vswitch.hosts.host import Completed
from pytest_vswitch.hosts.local import LocalHost
from tests.hosts.machine import machine

CAPTURES = Path(__file__).parent / "captures"


def captured(name: str) -> str:
    return (CAPTURES / f"openvswitch-3.1.0-{name}.txt").read_text()


# --- what it is told ----------------------------------------------------------------------


def parameters(hugepage_kb: int | None, *devices: str) -> Parameters:
    return Parameters(
        main_cpus=[2],
        pmd_cpus=[4, 6],
        memory_mb=512,
        nodes=2,
        hugepage_kb=hugepage_kb,
        file_prefix="it",
        devices=devices,
    )


def test_on_hugepages_each_node_has_a_limit() -> None:
    assert parameters(2048, "0000:11:00.0").settings() == [
        "other_config:dpdk-init=true",
        'other_config:dpdk-extra="-m 512 --file-prefix it -a 0000:11:00.0"',
        'other_config:dpdk-socket-limit="512,512"',
        "other_config:pmd-cpu-mask=0x50",
        "other_config:dpdk-lcore-mask=0x4",
    ]


def test_without_hugepages_it_must_not_try_them() -> None:
    settings = parameters(None).settings()
    eal = "-m 512 --file-prefix it --no-huge --legacy-mem --no-pci"
    assert f'other_config:dpdk-extra="{eal}"' in settings
    assert not any("socket" in setting for setting in settings)


def test_a_limit_is_whole_pages() -> None:
    settings = parameters(1048576).settings()
    assert 'other_config:dpdk-socket-limit="1024,1024"' in settings


def test_a_ports_options_are_quoted_where_they_hold_a_comma() -> None:
    options = {"dpdk-devargs": "net_memif0,role=server"}
    port = Port(name="memif0", number=1, kind="dpdk", options=options, pmd_cpu=4, mtu=9000)
    words = port.words("br")
    assert 'options:dpdk-devargs="net_memif0,role=server"' in words
    assert {"ofport_request=1", "type=dpdk", "mtu_request=9000"} <= set(words)


def test_every_queue_of_a_port_is_polled_by_one_thread() -> None:
    port = Port(
        name="vhost0",
        number=3,
        kind="dpdkvhostuserclient",
        options={},
        pmd_cpu=6,
        mtu=1500,
        queues=2,
    )
    assert 'other_config:pmd-rxq-affinity="0:6,1:6"' in port.words("br")


def test_a_flow_and_what_counts_those_that_miss_it() -> None:
    assert openvswitch.flow(1, 3) == "priority=1,in_port=1,actions=output:3"
    assert openvswitch.miss(1) == "priority=0,in_port=1,actions=drop"


# --- what it says -------------------------------------------------------------------------


def test_ports_count_frames_and_drops_by_their_own_names() -> None:
    ports = parse_ports(captured("ports"))
    assert sorted(ports) == [1, 2, 3, 4]
    assert (ports[4].rx, ports[4].tx) == (248744, 1500)
    assert ports[4].own["ovs_rx_qos_drops"] == 710
    assert (ports[3].rx, ports[3].tx) == (1500, 249000)
    assert ports[3].own["ovs_tx_failure_drops"] == 244
    assert ports[3].own["ovs_tx_retries"] == 1
    assert {"rx_missed_errors", "rx_mbuf_allocation_errors"} <= ports[1].own.keys()


def test_a_port_that_tells_nothing_is_named() -> None:
    gone = re.sub(r"(port  3: rx pkts)=\d+", r"\1=?", captured("ports"))
    with pytest.raises(DutError, match=r"frames passed port 3; is nothing connected to it\?"):
        parse_ports(gone)


def test_output_without_ports_is_shown() -> None:
    with pytest.raises(DutError, match="printed no port's counters:\nsomething else"):
        parse_ports("something else")


def test_flows_count_frames_by_port_and_actions() -> None:
    flows = parse_flows(captured("flows"))
    assert FlowCount("priority=1,in_port=2", 2, "output:4", 1500) in flows
    assert FlowCount("priority=0,in_port=4", 4, "drop", 141) in flows
    assert FlowCount("priority=1,in_port=4", 4, "output:3", 247744) in flows
    assert len(flows) == 8


def test_a_flow_outputs_to_the_port_of_that_number_only() -> None:
    actions = "set_field:00:00:00:00:00:01->eth_src,output:31"
    flow = FlowCount("priority=9,in_port=1", 1, actions, 7)
    assert str(flow) == f"flow priority=9,in_port=1 actions={actions}"
    assert flow.outputs(31)
    assert not flow.outputs(3)


def test_polling_threads_are_summed_up() -> None:
    output = captured("pmd")
    sums = parse_pmds(output)
    threads = output.partition("main thread")[0]
    for name in ("packets received", "simple match hits", "megaflow hits", "idle cycles"):
        counts = [int(count) for count in re.findall(rf"{name}: (\d+)", threads)]
        assert len(counts) == 2
        assert sums[name] == sum(counts) > 0
    hits = ("simple match hits", "emc hits", "megaflow hits", "miss with success upcall")
    assert sum(sums[name] for name in hits) == sums["packets received"]


def test_no_polling_thread_is_a_fault() -> None:
    with pytest.raises(DutError, match="no polling thread's statistics:\nmain thread:"):
        parse_pmds("main thread:\n  packets received: 0\n")


# --- the program --------------------------------------------------------------------------


class Programs(LocalHost):
    """A machine whose ovs-vswitchd says what a test wants."""

    versions: dict[str, str] = {}  # noqa: RUF012

    def which(self, program: str) -> str | None:
        return program if program in self.versions else None

    def ask(self, argv: object, **how: object) -> Completed:
        assert isinstance(argv, list)
        return Completed(tuple(argv), 0, self.versions[argv[0]])


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    with machine(tmp_path) as here:
        other = object.__new__(Programs)
        other.__dict__.update(here.__dict__)
        yield other


def test_the_one_with_dpdk_is_taken(programs: Programs) -> None:
    debian, other = openvswitch.PROGRAMS
    with_dpdk = "ovs-vswitchd (Open vSwitch) 3.1.0\nDPDK 22.11.11\n"
    programs.versions = {debian: with_dpdk, other: "ovs-vswitchd (Open vSwitch) 3.1.0\n"}
    assert openvswitch.find_program(programs) == debian
    programs.versions = {other: with_dpdk}
    assert openvswitch.find_program(programs) == other


@pytest.mark.parametrize("versions", [{}, {"ovs-vswitchd": "ovs-vswitchd 3.1.0\n"}])
def test_without_dpdk_its_package_is_told(programs: Programs, versions: dict[str, str]) -> None:
    programs.versions = versions
    with pytest.raises(InputError, match=r"no Open vSwitch with DPDK, .*openvswitch-switch-dpdk$"):
        openvswitch.find_program(programs)


def test_this_machine_has_one(tmp_path: Path) -> None:
    with machine(tmp_path) as host:
        assert openvswitch.find_program(host)


# --- a real one that fails ----------------------------------------------------------------


class Daemon:
    """A program that runs, or has ended, and has said `text`."""

    pid = 1

    def __init__(self, name: str, text: str = "", status: int | None = None) -> None:
        self.name = name
        self._text = text
        self._status = status

    def read_until(self, pattern: re.Pattern[str], *, timeout_s: float, what: str) -> str:
        assert pattern.search(self._text), what
        return self._text

    def status(self, *, within_s: float = 0.0) -> int | None:
        return self._status

    def tail(self, lines: int = 15) -> str:
        return self._text.rstrip("\n").splitlines()[-1]


class Answers(LocalHost):
    """A machine whose tools say what a test wants, or fail."""

    says: str | None = ""

    def run(self, argv: object, **how: object) -> Completed:
        if self.says is None:
            raise HostError("its tool failed")
        return Completed((), 0, self.says)


def instance(tmp_path: Path, says: str | None, *, status: int | None = None) -> OpenVswitch:
    host = object.__new__(Answers)
    host.says = says
    switch = Daemon("ovs-vswitchd", captured("startup"), status)
    database = Daemon("ovsdb-server")
    return OpenVswitch(host, Directory(str(tmp_path)), database, switch, "br")  # type: ignore[arg-type]


def test_its_versions_are_those_it_starts_with(tmp_path: Path) -> None:
    running = instance(tmp_path, "")
    assert (running.version, running.dpdk_version) == ("3.1.0", "22.11.11")


def test_a_port_that_cannot_be_made_is_told_in_its_own_words(tmp_path: Path) -> None:
    running = instance(tmp_path, captured("failed"))
    says = r"port bad: Error attaching device '0000:99:00.0' to DPDK; its last output:\n    2026"
    with pytest.raises(DutError, match=says):
        running.add_bridge([])


def test_a_tool_that_fails_for_a_dead_daemon_is_not_blamed(tmp_path: Path) -> None:
    running = instance(tmp_path, None, status=-9)
    with pytest.raises(DutError, match=r"ovs-vswitchd is gone \(exit status -9\); its last output"):
        running.counters()


def test_a_tool_that_fails_by_itself_is(tmp_path: Path) -> None:
    running = instance(tmp_path, None)
    with pytest.raises(HostError, match="its tool failed"):
        running.counters()


class Unlinked(Answers):
    """A machine on which a link does not come up."""

    def run(self, argv: object, **how: object) -> Completed:
        assert isinstance(argv, list)
        if "wait-until" in argv:
            raise HostError("alarm clock")
        return Completed((), 0, "{mode=client, status=disconnected}\n")


def test_a_link_that_stays_down_is_told_with_its_status(tmp_path: Path) -> None:
    host = object.__new__(Unlinked)
    switch = Daemon("ovs-vswitchd", captured("startup"))
    database = Daemon("ovsdb-server")
    running = OpenVswitch(host, Directory(str(tmp_path)), database, switch, "br")  # type: ignore[arg-type]
    says = r"the link of vhost0 was not up within 3 s; its status: \{mode=client, status=disc"
    with pytest.raises(DeadlineError, match=says):
        running.wait_for_links(["vhost0"], timeout_s=3)
