"""VFd's commands: every line that a suite types goes to real testpmds, and answers are read.

A real one on a null device knows the syntax, and has no such function: "not supported" or "not
implemented" is what is wanted, "Bad arguments" is not.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.apps import dpdk, vf_control
from pytest_vswitch.apps.testpmd import Testpmd
from pytest_vswitch.apps.vf_control import NotSupported, Statistics
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.measure.vf_checks import CHECKS, KERNEL_CHECKS
from tests.emulated.dut import Dut
from tests.emulated.language import BAD, UNKNOWN
from tests.emulated.nic import PF, Model
from tests.emulated.testpmd import Testpmd as Emulated
from tests.emulated.vf_kernel import KernelDut
from tests.emulated.vfd_bench import bench, kernel_bench
from tests.hosts.machine import DEADLINE_S, machine

OTHERS = ("20.11", "24.11")
VERSIONS = ["system", *(pytest.param(name, marks=pytest.mark.dpdks) for name in OTHERS)]
MODELS: dict[Model, str] = {"82599": "ixgbe", "X710": "i40e"}
WRONG = (
    "set all queues drop on",  # as the guide has it, without the port
    "set tx loopback on 0",
    "set tx loopback 0",
    "set tx loopback 0 yes",
    "set vf mac addr 0 0 A0:36:9F:7B:C3",
    "set vf mac antispoof 0 on 0",
    "set vf antispoof mac 0 0 on",
    "set vf vlan insert 0 0",
    "set vf vlan stripq 0 0 1",
    "rx_vlan 1 add port 0 vf 1",
    "rx_vlan delete 1 port 0 vf 1",
    "set vf split drop 0 0",
    "set port 0 vf 0 rate 10",
    "set port 0 vf 0 rx yes",
    "set port 0 vf 0 rxmode FOO on",
    "set vf tx max-bandwidth 0 0 2000 5",
    "set vf tx bandwidth 0 0 2000",
    "set vf tc tx max-bandwidth 0 0 10000",
    "set tx strict-link-priority 0",
    "set tx strict-priority 0 0x3",
    "show vf statistics 0 0",
    "vfd loopback 0 on",
)


FUNCTION = re.compile(
    r"set (?:vf|tx|all) |set port \d+ (?:vf|uta)|rx_vlan \w+ \d+ port|(?:show|clear) vf"
)
"""How a line begins that sets, or tells, something of a VF."""


def typed() -> list[str]:
    """Every line that the checks type into any testpmd, once; `start` would flood."""
    lines: dict[str, None] = {}
    for model, driver in MODELS.items():
        for check in CHECKS:
            if driver in check.drivers:
                dut = Dut(model)
                with bench(dut) as running:
                    check.run(running)
                lines |= dict.fromkeys(dut.said)
    for kernel in ("igb", "i40e"):
        for check in KERNEL_CHECKS:
            if kernel in check.drivers:
                kernel_dut = KernelDut("igb" if kernel == "igb" else "i40e")
                with kernel_bench(kernel_dut) as running:
                    check.run(running)
                lines |= dict.fromkeys(kernel_dut.said)
    others = ("ip ", "bridge ")
    return [line for line in lines if line != "start" and not line.startswith(others)]


@pytest.fixture(params=VERSIONS)
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Testpmd]:
    """A testpmd on a null device, of each version that is here."""
    with machine(tmp_path) as host:
        Path(host.cache).mkdir()
        (Path(host.cache) / "dpdk").symlink_to(Path(LocalHost.cache) / "dpdk")
        lab = Lab.model_validate(
            {
                "name": "x",
                "dut": {"host": "local", "dpdk": request.param},
                "ports": [{"kind": "memif"}],
            }
        )
        found = dpdk.of_host(lab, host)
        prefix = f"words-{host.scratch.rpartition('/')[2]}"
        argv = ["stdbuf", "-oL", *found.command, "-v", "-l", "0,1", "--no-huge", "--no-pci"]
        argv += ["--vfio-vf-token", str(uuid.UUID(int=7))]  # with a port of vfio-pci
        argv += ["--no-shconf", "-m", "64", "--file-prefix", prefix, "--vdev", "net_null0"]
        argv += ["-d", found.drivers] if found.drivers else []
        argv += ["--", "-i", "--total-num-mbufs=2048"]
        with host.spawn(argv, name="testpmd", stop_with="quit\n") as process:
            yield Testpmd(process, start_timeout_s=DEADLINE_S)


def test_a_real_testpmd_understands_every_line(real: Testpmd) -> None:
    """And says of each function that this port does not have it, in words that are known."""
    lines = typed()
    assert len(lines) > 60
    told = {line: answer(real, line) for line in lines}
    wrong = ("Bad arguments", "Command not found", "Ambiguous command", "Invalid port")
    assert [line for line, said in told.items() if said.startswith(wrong)] == []
    # The hash table has no room here: it is a failure, of a function that is there.
    functions = [line for line in lines if FUNCTION.match(line) and " uta " not in line]
    assert len(functions) > 40
    for line in functions:
        with pytest.raises(NotSupported):
            vf_control.check_answer(line, told[line])


def answer(real: Testpmd, line: str) -> str:
    """What it said; testpmd's console raises some of that."""
    try:
        return real.command(line, timeout_s=DEADLINE_S)
    except DutError as error:
        return str(error).rpartition(f"`{line}`: ")[2]


def test_real_and_emulated_refuse_the_same(real: Testpmd) -> None:
    emulated = Emulated(Dut("82599"), PF, ["testpmd"])
    for line in WRONG:
        with pytest.raises(DutError, match="refused"):
            real.command(line, timeout_s=DEADLINE_S)
        assert emulated.answer(line) in (BAD, UNKNOWN), line


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("set tx loopback 7 on", "Invalid port 7"),
        ("set vf mac antispoof 0 9 on", "invalid vf_id 9"),
        ("set vf vlan insert 0 0 5000", "invalid vf_id 0 or vlan_id 5000"),
        ("set vf mac addr 0 0 01:00:00:00:00:01", "invalid vf_id 0 or mac_addr"),
        ("rx_vlan add 5000 port 0 vf 0x1", "invalid vlan_id 5000"),
        ("rx_vlan add 1 port 0 vf 0x8", "vf_mask 8"),
        ("set vf tx max-bandwidth 0 0 99999", "bandwidth 99999"),
        ("set vf tc tx min-bandwidth 0 0 20,80", "The bandwidth-list should be"),
        ("set vf tc tx max-bandwidth 0 0 9 100", "tc_no 9"),
        ("set tx strict-link-priority 0 0x80", "invalid tc_bitmap"),
        ("tx_vlan set 0 5", "Please stop port 0 first"),
        ("port config 0 dcb vt on 4 pfc off", "Please stop port 0 first"),
    ],
)
def test_what_is_out_of_range_is_a_failure(line: str, answer: str) -> None:
    """Not to be taken for a function that is not there."""
    said = Emulated(Dut("X710"), PF, ["testpmd"]).answer(line)
    assert answer in said
    with pytest.raises(DutError, match=re.escape(answer)):
        vf_control.check_answer(line, said)


def test_what_drivers_log_meanwhile_is_no_answer() -> None:
    line = "set vf promisc 0 0 on"
    log = "ixgbe_dev_link_status_print():  Port 0: Link Up - speed 10000 Mbps - full-duplex\n"
    vf_control.check_answer(line, f"{log}Port 0: link state change event\n")
    vf_control.check_answer(line, "EAL: a message\n")
    with pytest.raises(DutError, match="invalid vf_id 9"):
        vf_control.check_answer(line, "i40e_set(): Invalid VF.\ninvalid vf_id 9 or is_on 1\n")
    with pytest.raises(NotSupported):
        vf_control.check_answer(line, f"{log}function not implemented\n")


# Captured from testpmd 22.11.11; the VF's from source, with numbers.
TABLE = """
  ######################## NIC statistics for port 0{}  ########################
  RX-packets: 5          RX-missed: 1          RX-bytes:  300
  RX-errors: 2
  RX-nombuf:  3         
  TX-packets: 7          TX-errors: 4          TX-bytes:  420

  Throughput (since last show)
  Rx-pps:            0          Rx-bps:            0
  Tx-pps:            0          Tx-bps:            0
  ############################################################################
"""  # noqa: W291  # so it was printed
STREAMS = """
  ------- Forward Stats for RX Port= 0/Queue= 0 -> TX Port= 0/Queue= 0 -------
  RX-packets: 0              TX-packets: 3456           TX-dropped: 0             

  ------- Forward Stats for RX Port= 0/Queue= 1 -> TX Port= 0/Queue= 1 -------
  RX-packets: 0              TX-packets: 3776           TX-dropped: 0             

  ---------------------- Forward statistics for port 0  ----------------------
  RX-packets: 0              RX-dropped: 0             RX-total: 0
  TX-packets: 7232           TX-dropped: 0             TX-total: 7232
  ----------------------------------------------------------------------------
"""  # noqa: W291


def test_statistics() -> None:
    for of in ("", "  vf 0"):
        assert vf_control.parse_statistics(TABLE.format(of)) == Statistics(5, 300, 7, 420)
    with pytest.raises(NotSupported):
        vf_control.parse_statistics("function not implemented\n" + TABLE.format("  vf 0"))
    with pytest.raises(DutError, match="without 'RX-bytes'"):
        vf_control.parse_statistics(TABLE.format("").replace("RX-bytes", "RX-octets"))
    with pytest.raises(DutError, match="without 'RX-packets'"):
        vf_control.parse_statistics("Invalid port 5\n")


def test_frames_by_queue() -> None:
    assert vf_control.parse_sent_by_queue(STREAMS) == {0: 3456, 1: 3776}
    assert vf_control.parse_sent_by_queue("") == {}


def test_link() -> None:
    assert vf_control.parse_link("\nLink status: up\n")
    assert not vf_control.parse_link("\nLink status: down\n")
    with pytest.raises(DutError, match="without `Link status`"):
        vf_control.parse_link("Link speed: 10 Gbps\n")
