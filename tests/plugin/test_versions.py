"""Several versions in one session: order, ids, and what is kept of each."""

from __future__ import annotations

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.results.sample import samples
from pytest_vswitch.versions import Round, rounds
from tests.plugin.conftest import SUITE, Session

SIM = (*SUITE, "--dut", "sim", "-k", "throughput")
LAB = Lab.model_validate({"name": "x", "dut": {"host": "local"}, "ports": [{"kind": "memif"}]})


def test_rounds_go_there_and_back() -> None:
    order = rounds(LAB, {"dpdk": ["a", "b"], "guest_dpdk": [], "qemu": []}, 3)
    assert [one.id for one in order] == [
        "dpdka-1", "dpdkb-1", "dpdkb-2", "dpdka-2", "dpdka-3", "dpdkb-3"
    ]  # fmt: skip


def test_host_and_guest_are_combined() -> None:
    order = rounds(LAB, {"dpdk": ["a"], "guest_dpdk": ["b", "c"], "qemu": ["7.2"]}, 1)
    assert [one.versions for one in order] == [
        {"dpdk": "a", "guest_dpdk": guest, "qemu": "7.2"} for guest in "bc"
    ]
    assert order[1].id == "dpdka-guestc-qemu7.2"
    chosen = order[1].applied(LAB)
    assert (chosen.dut.dpdk, chosen.guest.dpdk, chosen.guest.qemu) == ("a", "c", "7.2")


def test_without_versions_nothing_changes() -> None:
    assert rounds(LAB, {"dpdk": [], "guest_dpdk": [], "qemu": []}, 5) == (Round(),)
    assert Round().applied(LAB) == LAB


def test_one_version_repeats_its_searches() -> None:
    (only,) = rounds(LAB, {"dpdk": ["a", "a"]}, 5)
    assert (only.id, only.of) == ("dpdka", 1)


def test_the_systems_qemu_is_a_version() -> None:
    assert Round({"qemu": "system"}).applied(LAB).guest.qemu == "qemu-system-x86_64"


def test_another_vswitch_has_a_dpdk_of_its_own() -> None:
    lab = LAB.model_copy(update={"dut": LAB.dut.model_copy(update={"vswitch": "vpp"})})
    with pytest.raises(InputError, match="vpp brings a DPDK of its own"):
        rounds(lab, {"dpdk": ["a"]}, 1)


def test_a_session_measures_versions_in_turn(session: Session) -> None:
    result = session(*SIM, "-v", "--dpdk", "20.11", "--dpdk", "24.11", "--repeat", "2")
    result.assert_outcomes(passed=4, deselected=4)
    ids = [f"[[]64B-dpdk{version}[]]" for version in ("20.11-1", "24.11-1", "24.11-2", "20.11-2")]
    result.stdout.fnmatch_lines([f"*test_throughput{name} PASSED*" for name in ids])
    record = session.record
    assert [case.id for case in record.cases] == [
        f"pvp:dpdk={version},frame_bytes=64" for version in ("20.11", "24.11")
    ]
    orders = [[one.order for one in case.measurements] for case in record.cases]
    assert orders == [[0, 3], [1, 2]]
    assert [[one.repeat for one in case.measurements] for case in record.cases] == [[1, 2]] * 2
    kept = [one for one in samples(record) if one.metric == "NDR"]
    assert {one.case for one in kept} == {"pvp:frame_bytes=64"}
    assert {one.versions["dpdk"]: None for one in kept}.keys() == {"20.11", "24.11"}


def test_one_version_is_a_parameter(session: Session) -> None:
    result = session(*SIM, "-v", "--dpdk", "24.11", "--repeat", "2")
    result.assert_outcomes(passed=1, deselected=1)
    (case,) = session.record.cases
    assert case.id == "pvp:dpdk=24.11,frame_bytes=64"
    assert len(case.measurements) == 2


def test_thresholds_hold_for_each_version(session: Session) -> None:
    session.sim_lab(thresholds="{pvp:frame_bytes=64: {ndr_pps: 1e9}}")
    result = session(*SIM[:2], "--dut", "mine", "-k", "throughput", "--dpdk", "a", "--dpdk", "b")
    result.assert_outcomes(failed=2, deselected=2)


@pytest.mark.parametrize("option", ["--dpdk=/opt/dpdk", "--guest-dpdk="])
def test_a_wrong_version_is_told(session: Session, option: str) -> None:
    result = session(*SIM, option)
    name, _, value = option.partition("=")
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"*{name} {value!r}: give a version*"])


def test_a_suite_of_its_own_wiring_takes_one_version(session: Session) -> None:
    suite = ("suites/memif", "--dut", "sim", "-k", "test_memif_options")
    result = session(*suite, "--dpdk", "a", "--dpdk", "b")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*wires its own topology and is for one version in a run*"])
