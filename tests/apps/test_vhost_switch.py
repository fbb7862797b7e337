"""dpdk-vhost's command line and words, judged by the real program, built here from its source."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.apps import vhost_switch, vhost_switch_build
from pytest_vswitch.apps.vhost_switch import (
    DeviceStatistics,
    Options,
    Parameters,
    Registered,
)
from pytest_vswitch.apps.vhost_switch_build import Built
from pytest_vswitch.errors import DutError, InputError
from pytest_vswitch.hosts.local import LocalHost
from tests.hosts.machine import machine

ALL = Options(
    vm2vm=2,
    mergeable=1,
    stats_s=5,
    rx_retry=1,
    rx_retry_num=5,
    rx_retry_delay_us=20,
    tso=1,
    tx_csum=1,
    promiscuous=True,
    client=True,
    builtin_net_driver=True,
    total_num_mbufs=150000,
)
"""Every option of 22.11 but `--dmas`, which looks for its device at once."""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHost]:
    directory = tmp_path_factory.mktemp("vhost")
    with machine(directory) as host:
        host.cache = str(directory / "cache")
        yield host


@pytest.fixture(scope="module")
def built(here: LocalHost) -> Built:
    return vhost_switch_build.prepare(here)


def run(built: Built, *words: str, memory_mb: int = 64) -> str:
    """What it says, until it ends by itself."""
    argv = [built.path, "--no-huge", "--no-pci", "-m", str(memory_mb), "--lcores", "0"]
    argv += ["--file-prefix", "vswitch-test-vhost", "-n", "1", *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    return done.stdout + done.stderr


# --- building -----------------------------------------------------------------------------


def test_it_is_built_once_for_the_dpdk_that_is_there(here: LocalHost, built: Built) -> None:
    modified = Path(built.path).stat().st_mtime_ns
    assert vhost_switch_build.prepare(here) == built
    assert Path(built.path).stat().st_mtime_ns == modified
    version = here.ask(["pkg-config", "--modversion", "libdpdk"]).output
    assert version.startswith(f"{built.version[0]}.{built.version[1]:02}.")
    assert not here.glob(f"{here.scratch}/vhost-source*")


class Bare(LocalHost):
    """This machine without a compiler, as a virtual DUT is."""

    abi = ""

    def which(self, program: str) -> str | None:
        return None if program in ("gcc", "make") else super().which(program)

    def glob(self, pattern: str) -> list[str]:
        found = super().glob(pattern)
        return [self.abi] if self.abi and "librte_eal" in pattern else found


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Bare]:
    with machine(tmp_path) as host:
        other = object.__new__(Bare)
        other.__dict__.update(host.__dict__)
        other.cache = str(tmp_path / "cache")
        yield other


def test_without_a_compiler_on_the_dut_it_is_built_on_the_controller(
    bare: Bare, built: Built
) -> None:
    assert vhost_switch_build.missing(bare) == ["gcc", "make"]
    copied = vhost_switch_build.prepare(bare)
    assert Path(copied.path).parent == Path(bare.cache)
    assert Path(copied.path).read_bytes() == Path(built.path).read_bytes()
    assert Path(copied.path).stat().st_mode & 0o111


def test_what_is_built_for_another_dpdk_is_not_taken_there(bare: Bare) -> None:
    bare.abi = "/usr/lib/x86_64-linux-gnu/librte_eal.so.21"
    with pytest.raises(InputError, match=r"ABI 21, this machine has \d+.*install .*gcc make"):
        vhost_switch_build.prepare(bare)


# --- parameters ---------------------------------------------------------------------------


def test_the_program_knows_every_option(built: Built) -> None:
    parameters = Parameters(
        lcores="0",
        memory_mb=64,
        file_prefix="x",
        hugepages=False,
        device="0000:01:00.0",
        sockets=["/nowhere/vhost0", "/nowhere/vhost1"],
        options=ALL,
    )
    argv = parameters.argv(built.path, built.version)
    said = run(built, *argv[argv.index("--") :])
    # It has understood all of them when it looks for its port.
    assert "exceeds total system port number" in said
    assert not re.search("unrecognized|Invalid argument for", said)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--vlan-strip", "0"], "unrecognized option '--vlan-strip'"),
        (["--dequeue-zero-copy"], "unrecognized option '--dequeue-zero-copy'"),
        (["--vm2vm", "3"], "Invalid argument for vm2vm [0|1|2]"),
        (["--dmas", "[txd0@0000:00:04.7]"], "Fail to find DMA 0000:00:04.7."),
        (["-p", "3"], "Current enabled port number is 2,but only 1 port can be enabled"),
    ],
    ids=["vlan-strip", "dequeue-zero-copy", "vm2vm", "dmas", "portmask"],
)
def test_what_it_refuses_is_read_in_its_own_words(built: Built, words: list[str], why: str) -> None:
    said = run(built, "--", "-p", "0x1", *words)
    assert vhost_switch.refusals(said)[0] == why


@pytest.mark.parametrize("device", ["net_null0", "net_memif0,role=server,socket=/nowhere/s"])
def test_a_port_without_vmdq_is_refused(built: Built, device: str) -> None:
    """Why it runs on a NIC only: the program's own words."""
    said = run(built, "--vdev", device, "--", "-p", "0x1", memory_mb=1024)
    assert vhost_switch.refusals(said) == [
        "Failed to get VMDq info.",
        "Cannot initialize network ports",
    ]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ((22, 11), ["--socket-file", "/s"]),
        ((16, 11), ["--socket-file", "/s"]),
        ((16, 7), ["--dev-basename", "/s"]),
    ],
)
def test_the_socket_is_named_as_the_version_does(
    version: vhost_switch.Version, expected: list[str]
) -> None:
    parameters = Parameters(
        lcores="0,1",
        memory_mb=512,
        file_prefix="x",
        hugepages=True,
        device="0000:01:00.0",
        sockets=["/s"],
    )
    argv = parameters.argv("dpdk-vhost", version)
    assert " ".join(expected) in " ".join(argv)
    assert argv[argv.index("0000:01:00.0") - 1] == ("-a" if version >= (20, 11) else "-w")


@pytest.mark.parametrize(
    ("options", "version", "why"),
    [
        (Options(vlan_strip=0), (22, 11), "has no --vlan-strip any more: 16.11 removed it"),
        (Options(vlan_strip=0), (1, 8), "has no --vlan-strip: it came with 2.0"),
        (Options(dequeue_zero_copy=True), (22, 11), "any more: 20.11 removed it"),
        (Options(dmas="[txd0@x]"), (19, 11), "has no --dmas: it came with 20.11"),
        (Options(builtin_net_driver=True), (16, 11), "it came with 17.05"),
        (Options(tso=1), (2, 2), "it came with 16.04"),
    ],
)
def test_an_option_that_a_version_lacks_is_refused(
    options: Options, version: vhost_switch.Version, why: str
) -> None:
    with pytest.raises(InputError, match=why):
        options.words(version)
    assert Options().words(version) == ["--stats", "1"]


def test_old_options_are_still_written_for_old_versions() -> None:
    assert Options(vlan_strip=0, stats_s=2).words((16, 7)) == ["--stats", "2", "--vlan-strip", "0"]
    assert Options(dequeue_zero_copy=True).words((19, 11))[-1] == "--dequeue-zero-copy"


# --- facts --------------------------------------------------------------------------------


def test_learned_addresses_in_the_guides_words_and_in_todays() -> None:
    assert vhost_switch.parse_registered(
        "DATA: (0) MAC_ADDRESS cc:bb:bb:bb:bb:bb and VLAN_TAG 1000 registered\n"
        "VHOST_DATA: (1) mac 52:54:00:02:D9:02 and vlan 1001 registered\n"
    ) == [
        Registered(0, "cc:bb:bb:bb:bb:bb", 1000),
        Registered(1, "52:54:00:02:d9:02", 1001),
    ]


TABLE = """\
\x1b[2J\x1b[1;1H
Device statistics =================================
Statistics for device 0
-----------------------
TX total:              32
TX dropped:            1
TX successful:         31
RX total:              200
RX dropped:            7
RX successful:         193
Statistics for device 1
-----------------------
TX total:              232
TX dropped:            0
TX successful:         232
RX total:              0
RX dropped:            0
RX successful:         0
===================================================
"""


def test_the_statistics_table() -> None:
    (table,) = vhost_switch.TABLE.findall(TABLE + TABLE[:90])
    assert vhost_switch.parse_statistics(table) == {
        0: DeviceStatistics(32, 1, 200, 7),
        1: DeviceStatistics(232, 0, 0, 0),
    }


def test_a_table_without_devices() -> None:
    empty = "Device statistics =====\n" + "=" * 51 + "\n"
    (table,) = vhost_switch.TABLE.findall(empty)
    assert vhost_switch.parse_statistics(table) == {}


def test_negotiated_features() -> None:
    said = "VHOST_CONFIG: (/run/vh0) negotiated Virtio features: 0x950008000\n"
    assert vhost_switch.parse_features(said) == [0x950008000]


def test_a_socket_that_is_there_already_is_named() -> None:
    said = (
        "VHOST_CONFIG: (/run/vh0) failed to bind: Address already in use; remove it and try "
        "again\nEAL: Error - exiting with code: 1\n  Cause: failed to start vhost driver.\n"
    )
    assert vhost_switch.refusals(said) == [
        "(/run/vh0) failed to bind: Address already in use; remove it and try again",
        "failed to start vhost driver.",
    ]


def test_the_nics_statistics() -> None:
    told = vhost_switch.parse_nic(
        '{"/ethdev/stats": {"ipackets": 50, "opackets": 114, "ibytes": 2800, "obytes": 7352, '
        '"imissed": 1, "ierrors": 2, "oerrors": 0, "rx_nombuf": 3, "q_ipackets": [0, 0]}}\n'
    )
    assert told == vhost_switch.NicStatistics(rx=50, tx=114, missed=1, errors=2, no_mbuf=3)
    with pytest.raises(DutError, match="no NIC statistics"):
        vhost_switch.parse_nic('{"/ethdev/stats": null}')


# --- running ------------------------------------------------------------------------------


def test_a_refusal_at_the_start_is_told_in_its_own_words(here: LocalHost, built: Built) -> None:
    argv = ["stdbuf", "-oL", built.path, "--no-huge", "--no-pci", "-m", "1024", "--lcores", "0"]
    argv += ["--file-prefix", "vswitch-test-vhost", "--vdev", "net_null0", "--", "-p", "1"]
    with (
        here.spawn(argv, name=vhost_switch.NAME) as process,
        pytest.raises(DutError, match="dpdk-vhost refused to start: Failed to get VMDq info"),
    ):
        vhost_switch.VhostSwitch(process, sockets=2)


def test_an_unknown_version_is_refused() -> None:
    assert vhost_switch.version_of("22.11.11") == (22, 11)
    with pytest.raises(InputError, match="`main` is no version"):
        vhost_switch.version_of("main")
