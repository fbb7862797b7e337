from __future__ import annotations

import re
from dataclasses import replace

import pytest

from pytest_vswitch.measure.goals import Goal
from pytest_vswitch.results.template import LINES, render, text
from tests.records import FACTS, HOST, NDR, NODES, PDR, case, measurement, not_found

GUIDE = """\
Traffic Generator: <Test equipment (e.g. IXIA, Moongen, ...)>
Acceptable Loss: <n>%
Validation run time: <n>min
Host DPDK version/commit: <version, SHA-1>
Guest DPDK version/commit: <version, SHA-1>
Patches applied: <link to patchwork>
QEMU version/commit: <version>
Virtio features: <features (e.g. mrg_rxbuf='off', leave empty if default)>
CPU: <CPU model>, <CPU frequency>
NIC: <NIC model>
Result: <n> Mpps
"""
LAB = replace(FACTS, remarks=())


def test_lines_are_the_guides_words_in_the_guides_order() -> None:
    assert [line.split(":")[0] for line in GUIDE.splitlines()] == list(LINES)
    assert list(render(case(), HOST)) == list(LINES)


def test_filled_from_facts() -> None:
    assert text(render(case(facts=LAB), HOST)) == (
        "Traffic Generator: pytest-vswitch memif 0.1.0\n"
        "Acceptable Loss: 0%\n"
        "Validation run time: 0.183min\n"
        "Host DPDK version/commit: DPDK 22.11.5\n"
        "Guest DPDK version/commit: DPDK 22.11.5\n"
        "Patches applied: none stated\n"
        "QEMU version/commit: QEMU 7.2.11 (Debian 1:7.2+dfsg-7+deb12u7)\n"
        "Virtio features:\n"
        "CPU: Intel(R) Xeon(R) Gold 6338N CPU @ 2.20GHz, 2.19 GHz\n"
        "NIC: net_memif (shared memory)\n"
        "Result: 0.03699 Mpps\n"
    )


def test_doubtful_results_say_so() -> None:
    assert render(case(), HOST)["Result"] == ("0.03699 Mpps (not representative: see remarks)")
    assert render(case(simulated=True, facts=LAB), HOST)["Result"] == "0.03699 Mpps (simulated)"
    assert render(case(simulated=True), HOST)["Result"] == "0.03699 Mpps (simulated)"


def test_no_result_is_said_in_words() -> None:
    for doubtful, words in (
        (case(measurements=[not_found()], facts=LAB), "no NDR found: every load that was tried"),
        (case(measurements=[], verdict="error", error="x", facts=LAB), "none: the measurement"),
        (case(measurements=[], facts=LAB), "none: the search did not end"),
    ):
        lines = render(doubtful, HOST)
        assert lines["Result"].startswith(words)
        assert not re.search(r"\d", lines["Result"])
        assert lines["Validation run time"] == "0min"


def test_validation_time_is_that_of_the_shortest_repeat() -> None:
    short = replace(measurement(2), trials=measurement().trials[:4])
    lines = render(case(measurements=[measurement(1), short]), HOST)
    assert lines["Validation run time"] == f"{1 / 60:.3g}min"


@pytest.mark.parametrize(("loss", "text"), [(0.001, "0.1%"), (0.005, "0.5%"), (1e-7, "0.00001%")])
def test_a_case_without_ndr_reports_its_first_goal(loss: float, text: str) -> None:
    goal = Goal("PDR", loss)
    whole = measurement()
    results = tuple(replace(r, goal=goal) for r in whole.results if r.goal == PDR)
    only = replace(case(measurements=[replace(whole, results=results)]), goals=(goal,))
    lines = render(only, HOST)
    assert lines["Acceptable Loss"] == text
    assert lines["Result"].startswith("0.03733 Mpps")
    both = replace(case(), goals=(PDR, NDR))
    assert render(both, HOST)["Acceptable Loss"] == "0%"


def test_programs_that_are_not_part_of_the_topology() -> None:
    bare = replace(case(), nodes=NODES[:2], facts=replace(FACTS, versions={}))
    lines = render(bare, replace(HOST, cpu_mhz=0))
    assert lines["Host DPDK version/commit"] == "not known"
    assert lines["Guest DPDK version/commit"] == "not used (no guest in this topology)"
    assert lines["QEMU version/commit"] == "not used (no guest in this topology)"
    assert lines["CPU"].endswith(", frequency not known")
