"""`ip link set PF vf ...`: every line goes to the real program, and answers are read.

In a network namespace of its own, on `lo`, which has no such functions: "Operation not supported"
is what is wanted; what is wrong with its words, `ip` says in others.
"""

from __future__ import annotations

import json
import subprocess

import pytest

from pytest_vswitch.apps import ip_link_vf
from pytest_vswitch.apps.vf_control import NotSupported, Statistics
from pytest_vswitch.errors import DutError
from pytest_vswitch.measure.vf_checks import KERNEL_CHECKS
from tests.emulated.ip_link import PF_NAME, IpLink
from tests.emulated.vf_kernel import Driver, KernelDut
from tests.emulated.vfd_bench import kernel_bench

DRIVERS: tuple[Driver, ...] = ("igb", "i40e")
WRONG = (
    "ip link set dev ens1f0 vf 0 macc 02:00:00:00:00:01",
    "ip link set dev ens1f0 vf 0 mac 02:00:00:00:00",
    "ip link set dev ens1f0 vf 0 mac",
    "ip link set dev ens1f0 vf x vlan 5",
    "ip link set dev ens1f0 vf 0 vlan five",
    "ip link set dev ens1f0 vf 0 vlan 4096",
    "ip link set dev ens1f0 vf 0 vlan 5 prio 3",
    "ip link set dev ens1f0 vf 0 spoofchk maybe",
    "ip link set dev ens1f0 vf 0 spoofing on",
    "ip link set dev ens1f0 vf 0 trust",
    "ip link set dev ens1f0 vf 0 state down",
    "ip link set dev ens1f0 vf 0 max_tx_rate fast",
    "ip link set dev ens1f0 vf",
    "bridge link set dev ens1f0 hwmode vebb",
    "ip link set dev nobody vf 0 vlan 5",
)
# Captured from iproute2 6.1 on an igb of Linux 6.1.
SHOWN = """[{"ifindex":3,"ifname":"enp1s0","flags":["BROADCAST","MULTICAST","UP","LOWER_UP"],
"mtu":1500,"qdisc":"mq","operstate":"UP","linkmode":"DEFAULT","group":"default","txqlen":1000,
"link_type":"ether","address":"52:54:00:56:4c:00","broadcast":"ff:ff:ff:ff:ff:ff",
"stats64":{"rx":{"bytes":59924384,"packets":998738,"errors":0,"dropped":998734,"over_errors":0,
"multicast":36},"tx":{"bytes":8444,"packets":98,"errors":0,"dropped":0,"carrier_errors":0,
"collisions":0}},"vfinfo_list":[{"vf":0,"link_type":"ether","address":"02:00:c6:12:f0:00",
"broadcast":"ff:ff:ff:ff:ff:ff","vlan_list":[{"vlan":100,"qos":3}],"tx_rate":10,
"rate":{"max_tx":10,"min_tx":0},"spoofchk":true,"link_state":"auto","trust":false,
"stats":{"rx":{"bytes":960,"packets":16,"multicast":0,"broadcast":0,"dropped":0},
"tx":{"tx_bytes":1020,"tx_packets":17,"dropped":0}}}]}]
"""


def typed() -> list[str]:
    """Every line that the checks give `ip` and `bridge`, once."""
    lines: dict[str, None] = {}
    for driver in DRIVERS:
        for check in KERNEL_CHECKS:
            if driver in check.drivers:
                dut = KernelDut(driver)
                with kernel_bench(dut) as running:
                    check.run(running)
                lines |= dict.fromkeys(dut.said)
    return [line for line in lines if line.startswith(("ip ", "bridge "))]


def real(line: str) -> tuple[int, str]:
    """What the program itself says, and its status."""
    words = ["lo" if word == PF_NAME else word for word in line.split(" ")]
    done = subprocess.run(
        ["unshare", "--net", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout


def test_the_real_programs_understand_every_line() -> None:
    lines = typed()
    assert len(lines) > 15
    for line in lines:
        status, said = real(line)
        if "show" in line or line.endswith(("up", "down")):
            assert (status, line) == (0, line)
            continue
        with pytest.raises(NotSupported, match="Operation not supported"):
            ip_link_vf.check_answer(line, status, said)


@pytest.mark.parametrize("line", WRONG)
def test_real_and_emulated_refuse_the_same(line: str) -> None:
    for status, said in (real(line), IpLink(KernelDut("i40e")).answer(line.split(" "))):
        assert status != 0
        with pytest.raises(DutError):
            ip_link_vf.check_answer(line, status, said)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ip link set dev ens1f0 vf 9 vlan 1", "Invalid argument"),
        ("ip link set dev ens1f0 vf 0 vlan 5 qos 9", "Invalid argument"),
        ("ip link set dev ens1f0 vf 0 mac 01:00:5e:00:00:01", "Invalid argument"),
        ("ip link set dev ens1f0 vf 0 max_tx_rate 99999", "Invalid argument"),
    ],
)
def test_what_is_out_of_range_is_a_failure(line: str, said: str) -> None:
    """As an igb refused it: not to be taken for a function that is not there."""
    status, answer = IpLink(KernelDut("igb")).answer(line.split(" "))
    with pytest.raises(DutError, match=f"did not carry out `{line}`: .*{said}"):
        ip_link_vf.check_answer(line, status, answer)


def test_answers() -> None:
    ip_link_vf.check_answer("ip link set", 0, "Warning: of something\n")
    with pytest.raises(NotSupported, match="Protocol not supported"):
        ip_link_vf.check_answer("x", 2, "RTNETLINK answers: Protocol not supported\n")
    with pytest.raises(DutError, match="did not carry out `x`: status -9"):
        ip_link_vf.check_answer("x", -9, "")


def test_statistics() -> None:
    assert ip_link_vf.parse_statistics(SHOWN, 0) == Statistics(16, 960, 17, 1020)
    none = json.dumps([{"ifname": "eth0"}])
    for text, vf in ((SHOWN, 1), (none, 0), ("", 0), ("[]", 0), (SHOWN.replace("tx_b", "b"), 0)):
        with pytest.raises(DutError, match=f"told nothing of VF {vf}"):
            ip_link_vf.parse_statistics(text, vf)
