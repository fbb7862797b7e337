"""ethtool: the guide's filters to the word, real ethtool as judge of each, and what it tells."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_vswitch.apps import ethtool, ethtool_filters, testpmd
from pytest_vswitch.apps.ethtool import Driver, Refusal
from pytest_vswitch.apps.ethtool_filters import (
    Dialect,
    Rule,
    Target,
    Tunnelled,
    cloud,
    l3_veb,
    udp4,
)
from pytest_vswitch.apps.testpmd_streams import parse_streams
from pytest_vswitch.errors import HostError, InputError, NotHere
from suites.flow_bifurcation import test_i40e, test_ixgbe
from tests.emulated import ethtool as emulated

CAPTURES = Path(__file__).parent / "captures"
OLD: Dialect = "user-def"

GUIDE = {
    "UDP to VF 0": (
        udp4("192.0.2.2", "198.51.100.2", Target(0, vf=0), 1),
        "flow-type udp4 src-ip 192.0.2.2 dst-ip 198.51.100.2 action 0x100000000 loc 1",
    ),
    "UDP to queue 3 of VF 1": (
        udp4("198.51.100.2", "192.0.2.2", Target(3, vf=1), 2),
        "flow-type udp4 src-ip 198.51.100.2 dst-ip 192.0.2.2 action 0x200000003 loc 2",
    ),
    "L3 VEB": (
        l3_veb("192.168.50.108", Target(2, vf=0), 8, OLD),
        "flow-type ip4 dst-ip 192.168.50.108 user-def 0xffffffff00000000 action 2 loc 8",
    ),
    "inner MAC": (
        cloud(Tunnelled("00:00:00:00:09:00"), Target(6), 1, OLD),
        "flow-type ether dst 00:00:00:00:00:00 m ff:ff:ff:ff:ff:ff src 00:00:00:00:09:00 m "
        "00:00:00:00:00:00 user-def 0xffffffff00000003 action 6 loc 1",
    ),
    "inner MAC + VNI": (
        cloud(Tunnelled("00:00:00:00:09:00", vni=8), Target(4), 4, OLD),
        "flow-type ether dst 00:00:00:00:00:00 m ff:ff:ff:ff:ff:ff src 00:00:00:00:09:00 m "
        "00:00:00:00:00:00 user-def 0x800000003 action 4 loc 4",
    ),
    "outer MAC + inner MAC + VNI": (
        cloud(
            Tunnelled("c2:1a:e1:53:bc:57", outer_mac="68:05:ca:24:03:8b", vni=8), Target(2), 2, OLD
        ),
        "flow-type ether dst 68:05:ca:24:03:8b m 00:00:00:00:00:00 src c2:1a:e1:53:bc:57 m "
        "00:00:00:00:00:00 user-def 0x800000003 action 2 loc 2",
    ),
    "inner MAC + inner VLAN + VNI": (
        cloud(Tunnelled("00:00:00:00:20:00", inner_vlan=10, vni=8), Target(1, vf=0), 5, OLD),
        "flow-type ether dst 00:00:00:00:00:00 m ff:ff:ff:ff:ff:ff src 00:00:00:00:20:00 m "
        "00:00:00:00:00:00 vlan 10 user-def 0x800000000 action 1 loc 5",
    ),
    "inner MAC + inner VLAN": (
        cloud(Tunnelled("00:00:00:00:20:00", inner_vlan=10), Target(1, vf=0), 5, OLD),
        "flow-type ether dst 00:00:00:00:00:00 m ff:ff:ff:ff:ff:ff src 00:00:00:00:20:00 m "
        "00:00:00:00:00:00 vlan 10 user-def 0xffffffff00000000 action 1 loc 5",
    ),
}
"""Filters of chapter 3, as the guide writes them; it has another address where none is compared."""

LATER = {
    "L3, the kernel's i40e": l3_veb("192.168.50.108", Target(2, vf=0), 8, "cookie"),
    "L3, Intel's i40e 2.x": l3_veb("192.168.50.108", Target(2, vf=0), 8, "cloud-bit"),
    **{f"ixgbe: {name}": rule for name, rule in test_ixgbe.WRONG.items()},
    **{
        f"i40e: {name}": l3_veb(test_i40e.L3_IP, target, 8, OLD)
        for name, target in test_i40e.WRONG_L3.items()
    },
}
"""More that suites say: by other drivers' dialects, and wrong only to a NIC."""


@pytest.mark.parametrize("name", GUIDE)
def test_filters_are_the_guides(name: str) -> None:
    rule, words = GUIDE[name]
    assert " ".join(rule.words) == words


@pytest.mark.parametrize("name", GUIDE)
def test_the_page_has_the_filters_as_they_are_said(name: str) -> None:
    page = Path(__file__).parents[2] / "docs/flow_bifurcation.md"
    assert f"| {name} | `ethtool -N ens1f0 {GUIDE[name][1]}` |" in page.read_text()


def test_later_drivers_are_told_the_vf_by_the_action() -> None:
    assert LATER["L3, the kernel's i40e"].words[-4:] == ("action", "0x100000002", "loc", "8")
    assert LATER["L3, Intel's i40e 2.x"].words[-6:-2] == (
        *("user-def", "0x8000000000000000"),
        *("action", "0x100000002"),
    )
    with pytest.raises(NotHere, match=r"of i40e 1\.x \(it names 1\.5\.16\)"):
        cloud(Tunnelled("00:00:00:00:09:00"), Target(6), 1, "cookie")


@pytest.mark.parametrize(
    ("version", "dialect"),
    [
        ("1.5.16", "user-def"),
        ("1.4.25-k", "cookie"),
        ("2.8.20-k", "cookie"),
        ("6.1.0-13-amd64", "cookie"),
        ("2.22.20", "cloud-bit"),
        ("", "cloud-bit"),
    ],
)
def test_drivers_are_known_by_their_version(version: str, dialect: str) -> None:
    assert ethtool_filters.i40e_dialect(version, "6.1.0-13-amd64") == dialect


def test_a_filter_that_no_nic_has_is_refused() -> None:
    with pytest.raises(InputError, match="no cloud filter of these fields"):
        Tunnelled("00:00:00:00:09:00", outer_mac="68:05:ca:24:03:8b")


# --- the real program is asked --------------------------------------------------------------


def real(script: Sequence[Sequence[str]]) -> list[tuple[int, str]]:
    """What real programs say to each command, in a network namespace with the interface `e0`."""
    program = (
        "import json, subprocess, sys\n"
        "def run(argv):\n"
        "    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)\n"
        "    return done.returncode, done.stdout.decode()\n"
        "assert run(['ip', 'link', 'add', 'e0', 'type', 'veth', 'peer', 'name', 'e1'])[0] == 0\n"
        "print(json.dumps([run(argv) for argv in json.load(sys.stdin)]))\n"
    )
    import json

    done = subprocess.run(
        ["unshare", "--net", "/usr/bin/python3", "-I", "-c", program],
        input=json.dumps([list(argv) for argv in script]),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [(status, output) for status, output in json.loads(done.stdout)]


def test_real_ethtool_takes_every_filter() -> None:
    """A veth has no filters: the kernel refuses, which ethtool asks only if it likes the words."""
    rules = [*(rule for rule, _ in GUIDE.values()), *LATER.values()]
    answers = real([["ethtool", "-N", "e0", *rule.words] for rule in rules])
    assert {ethtool.parse_refusal(said) for _, said in answers} == {
        Refusal("driver", "Operation not supported")
    }
    # So the status alone would tell a run that a refused filter is there.
    assert {status for status, _ in answers} == {0}


WRONG_WORDS = [
    "flow-typ ip4 dst-ip 10.0.0.1 action 0 loc 1",
    "flow-type ip5 dst-ip 10.0.0.1 action 0 loc 1",
    "flow-type ip4 dstip 10.0.0.1 action 0 loc 1",
    "flow-type ip4 dst-ip 300.0.0.1 action 0 loc 1",
    "flow-type ip4 dst-ip 10.0.0.1 action 0x1ffffffffffffffff loc 1",
    "flow-type ether dst zz action 0 loc 1",
    "flow-type udp4 src 00:00:00:00:00:01 action 0 loc 1",
    "flow-type ip4 dst-ip 10.0.0.1 action 0 loc 1 m 3",
    "flow-type",
]


def test_real_ethtool_and_the_emulated_one_refuse_the_same_words() -> None:
    answers = real([["ethtool", "-N", "e0", *words.split()] for words in WRONG_WORDS])
    ours = [emulated.Filters("ixgbe").command("-N", words.split()) for words in WRONG_WORDS]
    for words, (status, said), (our_status, ours_said) in zip(
        WRONG_WORDS, answers, ours, strict=True
    ):
        refusals = ethtool.parse_refusal(said), ethtool.parse_refusal(ours_said)
        assert (status, our_status) == (1, 1), words
        assert [refusal and refusal.by for refusal in refusals] == ["ethtool"] * 2, words


def test_the_emulated_ethtool_takes_what_the_real_one_takes() -> None:
    for rule in [*(rule for rule, _ in GUIDE.values()), *LATER.values()]:
        parsed = emulated.parse(list(rule.words))
        assert parsed.location == rule.location


def test_real_ethtool_knows_the_other_commands() -> None:
    port = ("ethtool", "-K", "e0")
    (_, told), (_, features), (_, feature), (gone, rule), (_, listed), (status, deleted) = real(
        [
            ["ethtool", "-i", "e0"],
            ["ethtool", "-k", "e0"],
            [*port, "ntuple", "on"],
            ["ethtool", "-n", "e0", "rule", "5"],
            ["ethtool", "-n", "e0"],
            ["ethtool", "-N", "e0", "delete", "5"],
        ]
    )
    assert ethtool.parse_driver(told) == Driver("veth", "1.0")
    assert ethtool.parse_feature(features, ethtool.NTUPLE) == (False, False)
    assert "rx-ntuple-filter: off [requested on]" in feature
    assert "Operation not supported" in rule
    assert "Operation not supported" in listed
    assert ethtool.parse_refusal(deleted) == Refusal("driver", "Operation not supported")
    assert (gone, status) == (1, 1)


# --- what it tells --------------------------------------------------------------------------


def test_what_a_filter_directs_to_is_read_back() -> None:
    shown = "Filter: 1\n\tRule Type: UDP over IPv4\n\tAction: Direct to VF 0 queue 2\n\n"
    assert ethtool.parse_action(shown) == Target(2, vf=0).told
    assert ethtool.parse_action("\tAction: Direct to queue 6\n") == Target(6).told
    with pytest.raises(HostError, match="told no action: Cannot"):
        ethtool.parse_action("Cannot get RX classification rule")


def test_what_a_port_does_not_tell_is_a_fault() -> None:
    with pytest.raises(HostError, match=r"told no driver: Cannot get driver information"):
        ethtool.parse_driver("Cannot get driver information")
    with pytest.raises(HostError, match=r"told nothing of ntuple-filters: \(nothing\)"):
        ethtool.parse_feature("", ethtool.NTUPLE)


@pytest.mark.parametrize(
    "text",
    [
        "     rx_queue_0_packets: 5\n     rx_queue_0_bytes: 9\n     rx_queue_1_packets: 7\n",
        "     rx-0.packets: 5\n     rx-1.packets: 7\n     tx-0.packets: 3\n",
        "     tx-0.tx_packets: 3\n     rx-0.rx_packets: 5\n     rx-1.rx_packets: 7\n",
    ],
    ids=["ixgbe", "i40e", "i40e 1.x"],
)
def test_queues_are_told_in_the_words_of_each_driver(text: str) -> None:
    assert ethtool.parse_queues(f"NIC statistics:\n     rx_packets: 12\n{text}") == {0: 5, 1: 7}


def test_what_came_in_by_each_queue_of_testpmd() -> None:
    """Captured from testpmd 22.11.11 with two null ports of two queues each."""
    text = (CAPTURES / "testpmd-22.11.11-streams.txt").read_text()
    assert parse_streams(text) == {(0, 0): 86336, (1, 0): 86336, (0, 1): 86304, (1, 1): 86304}
    assert testpmd.parse_counters(text)[0].rx_packets == 676448
    assert parse_streams("") == {}


def test_the_cookie_is_the_guides_formula() -> None:
    for vf in (0, 1):
        assert Target(7, vf=vf).cookie == ((vf + 1) & 0xFF) << 32 | 7
    assert Target(7).cookie == 7


def test_a_rule_is_a_value() -> None:
    assert udp4("1.1.1.1", "2.2.2.2", Target(0), 1) == Rule(
        1,
        (
            *("flow-type", "udp4", "src-ip", "1.1.1.1", "dst-ip", "2.2.2.2"),
            *("action", "0", "loc", "1"),
        ),
        "Direct to queue 0",
    )
