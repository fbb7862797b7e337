"""The table of DPDK's changes, and how it is applied."""

from __future__ import annotations

import pytest

from pytest_vswitch.apps import dpdk_changes
from pytest_vswitch.apps.dpdk import Dpdk
from pytest_vswitch.apps.memif import Options
from pytest_vswitch.apps.testpmd import Parameters
from pytest_vswitch.errors import InputError

PARAMETERS = Parameters(
    lcores="0@0",
    memory_mb=64,
    file_prefix="x",
    hugepages=True,
    single_file_segments=True,
    devices=["0000:11:00.0"],
    vdevs=[Options(role="server", socket="/s").device(0)],
    forward_mode="io",
)


def words(version: str) -> list[str]:
    return PARAMETERS.argv(Dpdk("x", ("loader", "testpmd"), "testpmd", version))


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("17.05", (17, 5)),
        ("22.11.11", (22, 11)),
        ("25.03.0-rc1", (25, 3)),
        ("main-1234", dpdk_changes.TODAY),
        ("", dpdk_changes.TODAY),
    ],
)
def test_versions(text: str, version: tuple[int, int]) -> None:
    assert dpdk_changes.parse(text) == version


def test_today_is_what_is_written() -> None:
    stdbuf, today = PARAMETERS.argv("testpmd")[:2], PARAMETERS.argv("testpmd")[2:]
    assert words("24.11.8") == [*stdbuf, "loader", *today]
    assert words("20.11.10") == words("24.11.8") == words("")


def test_an_older_one_gets_its_own_words() -> None:
    old = words("20.08")
    assert old[old.index("-w") + 1] == "0000:11:00.0"
    assert "-a" not in old
    assert old[old.index("--vdev") + 1] == "net_memif0,role=master,id=0,socket=/s"
    assert "--single-file-segments" in old


def test_the_oldest_gets_its_own_words() -> None:
    oldest = words("17.05")
    assert "--in-memory" not in oldest
    assert oldest[oldest.index("--huge-unlink") + 1] == "--no-shconf"
    assert "--single-file-segments" not in oldest


def test_what_cannot_be_said_is_told() -> None:
    with pytest.raises(InputError, match=r"DPDK 17.05 has no `--portlist=0,1`: .* 20\.02"):
        dpdk_changes.spell(["--portlist=0,1"], (17, 5))
    with pytest.raises(InputError, match="show fwd stats all"):
        dpdk_changes.command("show fwd stats all", (19, 2))
    with pytest.raises(InputError, match="socket-abstract=yes"):
        dpdk_changes.spell(["--vdev", "net_memif0,socket-abstract=yes"], (20, 8))


def test_a_value_stays_with_its_option() -> None:
    assert dpdk_changes.spell(["--main-lcore=2"], (20, 8)) == ["--master-lcore=2"]


def test_what_is_no_device_is_left_alone() -> None:
    assert dpdk_changes.spell(["--file-prefix", "role=server"], (20, 8)) == [
        "--file-prefix",
        "role=server",
    ]


def test_commands() -> None:
    assert dpdk_changes.command("set fwd mac retry", (16, 4)) == "set fwd mac_retry"
    assert dpdk_changes.command("set fwd mac retry", (22, 11)) == "set fwd mac retry"


def test_what_was_printed_becomes_todays() -> None:
    old = "rx_q0packets: 1\ntx_q12errors: 2\nrx_good_packets: 3\n"
    assert dpdk_changes.modern(old, (20, 8)) == (
        "rx_q0_packets: 1\ntx_q12_errors: 2\nrx_good_packets: 3\n"
    )
    assert dpdk_changes.modern(old, (20, 11)) == old


def test_each_row_says_where_it_is_from() -> None:
    for change in dpdk_changes.CHANGES:
        commit, _, title = change.source.partition(" ")
        assert len(commit) == 10
        assert title
        assert dpdk_changes.parse(f"{change.since[0]}.{change.since[1]}") == change.since


STATISTICS = """
  ######################## NIC statistics for port 0  ########################
  RX-packets: 5          RX-missed: 0          RX-bytes:  0
  TX-packets: 9          TX-errors: 12         TX-bytes:  0
  ############################################################################

  ---------------------- Forward statistics for port 0  ----------------------
  RX-packets: 5              RX-dropped: 0             RX-total: 5
  TX-packets: 9              TX-dropped: {}            TX-total: 29
  ----------------------------------------------------------------------------
"""


def test_frames_that_are_told_twice_are_counted_once() -> None:
    """As 24.11.8 told them of a full vhost port: 10 frames, after 2 before forwarding began."""
    told = dpdk_changes.without_errors(STATISTICS.format(20), {0: 2})
    assert told == STATISTICS.format(10)
    assert dpdk_changes.tx_errors(told) == {0: 12}
