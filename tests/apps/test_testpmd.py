"""testpmd: its command line, what it printed (captured from DPDK 22.11), and the real one."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.apps import dpdk_changes, testpmd
from pytest_vswitch.apps.testpmd import Parameters, PortCounters, PortInfo, Testpmd
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts import hugepages
from pytest_vswitch.hosts.host_process import HostProcess
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.undo import Change
from tests.hosts.machine import DEADLINE_S

VERSION = "22.11.11"


def capture(name: str) -> str:
    return (Path(__file__).parent / f"captures/testpmd-{VERSION}-{name}.txt").read_text()


# --- parsing ------------------------------------------------------------------------------


def test_counters_of_the_host() -> None:
    found = testpmd.parse_counters(capture("host-counters"))
    assert list(found) == [0, 1, 2, 3]
    nothing = dict.fromkeys((f.name for f in dataclasses.fields(PortCounters)), 0)
    assert dataclasses.asdict(found[0]) == nothing | {
        "rx_packets": 3962804,
        "tx_packets": 291223,
    }
    assert dataclasses.asdict(found[2]) == nothing | {
        "rx_packets": 291223,
        "tx_packets": 291405,
        "tx_dropped": 3671399,
    }
    # What port 0 received was sent or dropped at port 2: numbers are not mixed up.
    assert found[0].rx_packets == found[2].tx_packets + found[2].tx_dropped
    assert found[1].rx_packets == found[3].tx_packets + found[3].tx_dropped


def test_counters_of_the_guest() -> None:
    found = testpmd.parse_counters(capture("guest-counters"))
    assert list(found) == [0, 1]
    assert (found[0].rx_packets, found[0].tx_packets, found[0].tx_dropped) == (291405, 291223, 95)
    assert (found[1].rx_packets, found[1].tx_packets, found[1].tx_dropped) == (291318, 291245, 160)


def test_cycles() -> None:
    told = dpdk_changes.modern(capture("host-cycles"), (22, 11))
    assert testpmd.parse_cycles(told) == testpmd.Cycles(717834, packets=15392, clock_hz=2600e6)
    told = (
        "  CPU cycles/packet=80.27 (busy cycles=508560 / total io packets=6336) at 2596 MHz Clock\n"
    )
    assert testpmd.parse_cycles(dpdk_changes.modern(told, (24, 11))) == testpmd.Cycles(
        508560, packets=6336, clock_hz=2596e6
    )
    assert testpmd.parse_cycles(capture("host-counters")) is None


@pytest.mark.parametrize(
    ("word", "field"),
    [
        ("RX-missed", "rx_missed"),
        ("RX-errors", "rx_errors"),
        ("RX-nombuf", "rx_nombuf"),
        ("TX-errors", "tx_errors"),
        ("RX-dropped", "rx_dropped"),
    ],
)
def test_each_word_is_its_field(word: str, field: str) -> None:
    text, count = re.subn(rf"{word}:(\s+)0", rf"{word}:\g<1>42", capture("guest-counters"), count=1)
    assert count == 1
    found = testpmd.parse_counters(text)
    assert getattr(found[0], field) == 42
    assert getattr(found[1], field) == 0


@pytest.mark.parametrize("part", ["host-counters", "guest-counters"])
def test_output_that_was_cut_is_no_output(part: str) -> None:
    text = capture(part)
    first, _, rest = text.partition("  ---------------------- Forward statistics for port 1")
    for cut in ("", first, rest, text.partition("Forward")[0], text.partition("Throughput")[0]):
        with pytest.raises(DutError, match="testpmd printed NIC statistics for ports"):
            testpmd.parse_counters(cut)


def test_a_counter_that_is_missing_is_named() -> None:
    with pytest.raises(DutError, match="testpmd printed statistics without 'RX-missed'"):
        testpmd.parse_counters(capture("guest-counters").replace("RX-missed", "RX-lost"))
    with pytest.raises(DutError, match="testpmd printed statistics without 'TX-dropped'"):
        testpmd.parse_counters(capture("guest-counters").replace("TX-dropped", "TX-lost"))


def test_port_information() -> None:
    assert testpmd.parse_port_info(capture("port-info-memif")).driver == "net_memif"
    assert testpmd.parse_port_info(capture("port-info-vhost")) == PortInfo(
        "net_vhost0", "net_vhost", "56:48:4F:53:54:02"
    )
    with pytest.raises(DutError, match=r"without `Device name`:\nInvalid port 9"):
        testpmd.parse_port_info(capture("port-info-invalid"))


@pytest.mark.parametrize("where", ["host", "guest"])
def test_version(where: str) -> None:
    assert testpmd.parse_version(capture(f"{where}-banner")) == VERSION
    assert testpmd.parse_version("EAL: RTE Version: '17.05.2'\n") == "17.05.2"
    assert testpmd.parse_version("hello") == "unknown"


# --- the command line ---------------------------------------------------------------------


def test_the_command_line_of_a_host() -> None:
    parameters = Parameters(
        lcores="0@0,1@2",
        memory_mb=512,
        file_prefix="run",
        hugepages=True,
        vdevs=["net_memif0,id=0", "net_vhost0,iface=/v0"],
        forward_mode="io",
        portlist=(0, 2, 1, 3),
    )
    assert " ".join(parameters.argv("/opt/dpdk-testpmd")) == (
        "stdbuf -oL /opt/dpdk-testpmd -v --lcores 0@0,1@2 -n 1 --file-prefix run -m 512 "
        "--in-memory --no-pci --vdev net_memif0,id=0 --vdev net_vhost0,iface=/v0 -- "
        "-i --forward-mode=io --portlist=0,2,1,3 --port-topology=paired --rxq=1 --txq=1 "
        "--nb-cores=1 --total-num-mbufs=16384"
    )


def test_the_command_line_of_a_guest() -> None:
    parameters = Parameters(
        lcores="0@0,1@1,2@2",
        memory_mb=256,
        file_prefix="guest",
        hugepages=False,
        driver_directory="/drivers",
        forward_mode="macswap",
        port_topology="chained",
        forwarding_cores=2,
        mbufs=4096,
        descriptors=256,
    )
    assert " ".join(parameters.argv("dpdk-testpmd")) == (
        "stdbuf -oL dpdk-testpmd -v --lcores 0@0,1@1,2@2 -n 1 --file-prefix guest -m 256 "
        "--no-huge -d /drivers -- -i --forward-mode=macswap --port-topology=chained --rxq=1 "
        "--txq=1 --nb-cores=2 --total-num-mbufs=4096 --rxd=256 --txd=256"
    )


# --- the real program ---------------------------------------------------------------------


def parameters_on(host: LocalHost, *, huge: bool) -> Parameters:
    memifs = [
        f"net_memif{index},role=server,id=0,socket={host.scratch}/memif{index},socket-abstract=no"
        for index in range(2)
    ]
    vhosts = [f"net_vhost{index},iface={host.scratch}/vhost{index},client=0" for index in range(2)]
    return Parameters(
        lcores="0@(0),1@(0)",
        memory_mb=256,
        file_prefix=f"vswitch-{os.path.basename(host.scratch)}",
        hugepages=huge,
        vdevs=[*memifs, *vhosts],
        forward_mode="io",
        portlist=(0, 2, 1, 3),
    )


@pytest.fixture
def real(host: LocalHost) -> Iterator[Testpmd]:
    """A real testpmd on ordinary pages."""
    parameters = parameters_on(host, huge=False)
    made = Change("made", f"/var/run/dpdk/{parameters.file_prefix}")
    argv = parameters.argv("dpdk-testpmd")
    with (
        host.changing(made),
        host.spawn(argv, name="host testpmd", stop_with="quit\n") as process,
    ):
        yield Testpmd(process)


def test_the_real_one_answers(real: Testpmd) -> None:
    assert re.fullmatch(r"\d\d\.\d\d\.\d+", real.version)
    idle = real.counters()
    assert list(idle) == [0, 1, 2, 3]
    real.start()
    assert set(real.counters().values()) == {PortCounters(0, 0, 0, 0, 0, 0, 0, 0)}
    assert real.port_info(1).device == "net_memif1"
    assert real.port_info(2).driver == "net_vhost"
    streams = real.command("show config fwd")
    # The order of forwarding is that of the guide, chapter 4.2.4.
    assert re.findall(r"RX P=(\d)/Q=0 .* TX P=(\d)/Q=0", streams) == [
        ("0", "2"),
        ("2", "0"),
        ("1", "3"),
        ("3", "1"),
    ]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("bogus", "Command not found"),
        ("show port", "Bad arguments"),
        ("show port info 9", "Invalid port 9"),
    ],
)
def test_a_refused_command_is_told_in_its_words(real: Testpmd, command: str, words: str) -> None:
    with pytest.raises(DutError, match=f"host testpmd refused `{command}`: {words}"):
        real.command(command)
    assert len(real.counters()) == 4  # the next answer is its own


def test_one_that_is_killed_is_told_at_once(real: Testpmd, host: LocalHost) -> None:
    assert isinstance(real.terminal, HostProcess)
    os.kill(real.terminal.pid, signal.SIGKILL)
    with pytest.raises(DutError, match=r"host testpmd (ended before|no longer takes input)"):
        real.counters()


def test_the_real_one_takes_hugepages(host: LocalHost) -> None:
    with hugepages.reserve(host, "auto", [256]) as pages:
        if pages.size_kb is None:
            pytest.skip(pages.reason)
        parameters = parameters_on(host, huge=True)
        argv = parameters.argv("dpdk-testpmd")
        with (
            host.changing(Change("made", f"/var/run/dpdk/{parameters.file_prefix}")),
            host.spawn(argv, name="host testpmd", stop_with="quit\n") as process,
        ):
            assert len(Testpmd(process).counters()) == 4
    assert process.status() == 0


def test_the_real_one_parses_a_guests_command_line(host: LocalHost) -> None:
    """With rings for the guest's virtio ports: every other word is what the guest gets."""
    parameters = Parameters(
        lcores="0@0,1@0",
        memory_mb=256,
        file_prefix=f"vswitch-{os.path.basename(host.scratch)}",
        hugepages=False,
        vdevs=["net_null0", "net_null1"],
        forward_mode="macswap",
        port_topology="chained",
        mbufs=4096,
        descriptors=256,
    )
    with (
        host.changing(Change("made", f"/var/run/dpdk/{parameters.file_prefix}")),
        host.spawn(
            parameters.argv("dpdk-testpmd"), name="guest testpmd", stop_with="quit\n"
        ) as process,
    ):
        guest = Testpmd(process)
        guest.start()
        streams = guest.command("show config fwd")
        assert "macswap packet forwarding" in streams
        assert re.findall(r"RX P=(\d)/Q=0 .* TX P=(\d)/Q=0", streams) == [("0", "1"), ("1", "0")]


def test_a_command_line_that_it_rejects_is_told_in_its_words(host: LocalHost) -> None:
    parameters = dataclasses.replace(parameters_on(host, huge=False), vdevs=["net_nonsense0"])
    with (
        host.changing(Change("made", f"/var/run/dpdk/{parameters.file_prefix}")),
        host.spawn(parameters.argv("dpdk-testpmd"), name="host testpmd") as process,
        pytest.raises(DutError, match=r"(?s)host testpmd ended before testpmd prompt; .*nonsense"),
    ):
        Testpmd(process, start_timeout_s=DEADLINE_S)


def test_a_port_that_it_goes_on_without_is_told(host: LocalHost) -> None:
    """Whose socket is there already, as one that was killed leaves it."""
    parameters = parameters_on(host, huge=False)
    host.write_text(f"{host.scratch}/memif1", "")
    with (
        host.changing(Change("made", f"/var/run/dpdk/{parameters.file_prefix}")),
        host.spawn(parameters.argv("dpdk-testpmd"), name="host testpmd") as process,
        pytest.raises(DutError, match=r"could not make net_memif1: .*Address already in use"),
    ):
        Testpmd(process, start_timeout_s=DEADLINE_S)


def test_a_terminal_that_outlives_its_testpmd_says_so(host: LocalHost) -> None:
    script = "echo EAL: no memory; echo vswitch: testpmd ended with status 1; cat"
    with (
        host.spawn(["sh", "-c", script], name="guest testpmd") as process,
        pytest.raises(
            DutError, match=r"(?s)guest testpmd ended with status 1 before .*EAL: no memory"
        ),
    ):
        Testpmd(process, start_timeout_s=3600)
