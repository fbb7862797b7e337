"""`--imix`, `--flows`, `--vlan` and `--burst`: which case they make, and what is refused."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import SUITE, Session

SIM = (*SUITE, "--dut", "sim")


def test_a_mix_of_many_flows_is_a_case_of_its_own(session: Session) -> None:
    """Its line rate is that of the mean size: 2 x 10 Gbit/s / ((361.83 + 20) x 8)."""
    result = session(*SIM, "--imix", "7x64,4x594,1518", "--flows", "10000")
    result.assert_outcomes(passed=2)
    (case,) = session.record.cases
    assert case.id == "pvp:flows=10000,frame_bytes=362,imix=7x64+4x594+1518"
    assert case.parameters["flows"] == 10000
    assert case.line_rate_pps == pytest.approx(2e10 / (8 * (4342 / 12 + 20)))
    (measurement,) = case.measurements
    assert max(trial.intended_pps for trial in measurement.trials) <= case.line_rate_pps * 1.0001


def test_tags_need_room(session: Session) -> None:
    """A tagged frame has 68 bytes at least."""
    result = session(*SIM, "--vlan", "100", "--collect-only", "-q")
    assert "test_pvp.py::test_throughput[68B]" in result.outlines


def test_an_overlay_needs_room_and_is_a_case_of_its_own(session: Session) -> None:
    """50 bytes more than another frame."""
    listed = session(*SUITE, "--dut", "sim", "--vxlan", "0", "--collect-only", "-q")
    assert "test_pvp.py::test_throughput[114B]" in "\n".join(listed.outlines)
    session(*SIM, "--vxlan", "7").assert_outcomes(passed=2)
    (case,) = session.record.cases
    assert case.id == "pvp:frame_bytes=114,vxlan=7"


def test_a_generator_that_cannot_is_told_before_it_sends(session: Session) -> None:
    session.write(
        "conftest.py",
        (session.path / "conftest.py").read_text()
        + "from pytest_vswitch.traffic.profile import Capabilities\n"
        "from pytest_vswitch.traffic.sim import SimulatedGenerator\n"
        "SimulatedGenerator.capabilities = Capabilities(max_flows=5)\n",
    )
    result = session(*SIM, "--flows", "6")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        ["simulated generator, seed 1 can send 5 flows, not 6: ask for other frames*"] * 2
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    assert session.record.cases == ()
    session(*SIM, "--flows", "5").assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("--imix=ah", "--imix ah: frames of 2112 bytes; they must have 64 to 1518, FCS included"),
        ("--imix=ab --frame-size=64", "--frame-size does not go with --imix: a mix has its own"),
        ("--vlan=1 --frame-size=64", "--frame-size 64: must lie between 68 (Ethernet's least, wi"),
        ("--vlan=0", "--vlan 0: give a VLAN id from 1 to 4094"),
        ("--mpls=15", "--mpls 15: give up to 4 MPLS labels from 16 to 1048575, the outermost fi"),
        ("--mpls=16,17,18,19,20", "--mpls 16,17,18,19,20: give up to 4 MPLS labels"),
        ("--mpls=16,17 --frame-size=64", "--frame-size 64: must lie between 72 (Ethernet's leas"),
        ("--mpls=16 --imix=simple", "--imix simple: frames of 64 bytes; they must have 68 to 1518"),
        ("--mpls=16 --pcap=x.pcap", "--pcap x.pcap: its frames are as they are; --burst alone"),
        ("--vxlan=16777216", "--vxlan 16777216: give a VXLAN network identifier, 0 to 16777215"),
        ("--vxlan=1 --frame-size=64", "--frame-size 64: must lie between 114 (Ethernet's least, i"),
        ("--vxlan=1 --imix=simple", "--imix simple: frames of 64 bytes; they must have 114 to 15"),
        ("--flows=0", "--flows 0: must be at least 1"),
        ("--macs=0", "--macs 0: must be at least 1"),
        ("--macs=2 --pcap=x.pcap", "--pcap x.pcap: its frames are as they are; --burst alone"),
    ],
)
def test_refused_before_anything_starts(session: Session, options: str, why: str) -> None:
    result = session(*SIM, *options.split())
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: {why}" in "\n".join(result.errlines)
    session.assert_untouched()
