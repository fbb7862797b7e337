"""The suite of flow bifurcation against an emulated host: every assertion catches its mutant.

A good DUT passes all of it. Each mutant does one thing wrong, and exactly the assertions that are
named with it fail; for each assertion of the suite there is a mutant that it alone catches.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_vswitch.errors import DutError
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.measure import bifurcation
from pytest_vswitch.measure.bifurcation import Bench, BifurcationError, Setup
from suites.flow_bifurcation import test_i40e, test_ixgbe
from tests.emulated.bifurcated import BDF, Host
from tests.emulated.bifurcation_faults import (
    Spoil,
    answers_half,
    answers_without_filters,
    copies_pings_to_vf_1,
    copies_to_vf_1,
    copies_tunnels_to_vf_1,
    counts_at_kernel,
    directs_unless_off,
    forgets_the_others,
    ignored,
    lets_foreign_in,
    loses_plain_udp,
    no,
    no_return,
    of,
    of_filters,
    put_elsewhere,
    refuses_in_silence,
    shown,
    spread_instead,
    stays_all_the_same,
    swapped,
    takes_udp_at_first,
    takes_udp_of_the_refused,
    yes,
)
from tests.emulated.ethtool import Kind
from tests.emulated.vf_testpmd import Generator

Case = Callable[[Setup], None]


def named(test: Callable[[Setup, str], None], name: str) -> Case:
    """One case of a parametrized test."""
    return lambda setup: test(setup, name)


CASES: Mapping[str, tuple[Kind, Case]] = {
    "flows": ("ixgbe", lambda s: test_ixgbe.test_each_flow_goes_to_its_vf(s, 1)),
    "flows to queue 0": ("ixgbe", lambda s: test_ixgbe.test_each_flow_goes_to_its_vf(s, 0)),
    "ixgbe without": ("ixgbe", test_ixgbe.test_a_flow_without_its_filter_is_the_kernels),
    "masks": ("ixgbe", test_ixgbe.test_filters_with_other_masks_are_refused),
    **{
        f"ixgbe: {name}": (
            "ixgbe",
            named(test_ixgbe.test_a_wrong_filter_is_refused, name),
        )
        for name in test_ixgbe.WRONG
    },
    "L3": ("i40e 1.x", test_i40e.test_l3_veb),
    "L3 of the kernel's driver": ("i40e", test_i40e.test_l3_veb),
    "i40e without": ("i40e 1.x", test_i40e.test_a_route_without_its_filter_is_the_kernels),
    **{name: ("i40e 1.x", named(test_i40e.test_cloud_filter, name)) for name in test_i40e.CLOUD},
    **{
        f"i40e: {name}": (
            "i40e 1.x",
            named(test_i40e.test_a_wrong_filter_is_refused, name),
        )
        for name in test_i40e.WRONG_L3
    },
    "i40e: network": ("i40e 1.x", test_i40e.test_an_address_masked_in_part_is_refused),
    "i40e: VNI only": (
        "i40e 1.x",
        test_i40e.test_a_cloud_filter_without_an_inner_mac_is_refused,
    ),
}
"""By name: the kind of port, and the suite's test."""

LAB = Lab.model_validate(
    {
        "name": "it",
        "dut": {"host": "local", "hugepages": "none"},
        "ports": [
            {"kind": "nic", "bdf": BDF, "driver": "kernel", "generator": "e0", "line_rate_gbps": 10}
        ],
    }
)


def bench(host: Host) -> Bench:
    """The suite's, on that host."""
    generator: Any = Generator(host)
    there: Any = host
    return Bench(LAB, there, there, lambda *_: contextlib.nullcontext(generator))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulated NIC counts at once: what is missing will not come."""
    monkeypatch.setattr(bifurcation, "_SETTLED_S", 0.0)


@pytest.mark.parametrize("name", CASES)
def test_a_good_dut_passes(name: str) -> None:
    kind, case = CASES[name]
    host = Host(kind)
    before = host.state()
    with bench(host).started() as setup:
        case(setup)
    assert host.state() == before


def test_a_wire_without_a_link_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bifurcation, "_LINK_S", 0.0)
    host = Host("ixgbe")
    monkeypatch.setattr(host.kernel, "answer", lambda frame: [])
    before = host.state()
    says = r"ens1f0 does not answer pings .* port \(e0\) wired"
    with pytest.raises(DutError, match=says), bench(host).started():
        pass
    assert host.state() == before


# --- mutants -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mutant:
    """One fault of the DUT."""

    what: str
    case: str
    caught_by: frozenset[str]
    spoil: Spoil


QUEUE, NOTHING_ELSE = "each flow reaches its queue", "the VFs get nothing else"
BACK, REST, ANSWERS = (
    "each flow comes back from DPDK",
    "the kernel gets all the rest",
    "the kernel answers",
)
WITHOUT, WITH = "without a filter the kernel gets all", "with it DPDK gets the flow"
WITH_ROUTE = "with it DPDK gets the route"
DELETED = "when it is deleted the kernel gets all"
PINGS = "pings are answered all the time"
REFUSES, TABLE, NOTHING = (
    "the driver refuses it",
    "the table does not have it",
    "the VFs get nothing",
)
ROUTE, ROUTE_BACK = "the route reaches its queue", "the route comes back from DPDK"
MATCHES, CLOUD_BACK = "what matches reaches its queue", "what is for a VF comes back from DPDK"
DIFFERS, NO_VF, SPREAD = (
    "what differs is the kernels",
    "what differs reaches no VF",
    "what differs is spread as before",
)
FOREIGN = "another outer MAC is not let in"
MASK, FIRST = "the driver refuses another mask", "the first filter still works"
PF_CLOUD, VF_CLOUD = "inner MAC", "inner MAC + inner VLAN + VNI"


def mutant(what: str, case: str, caught_by: set[str], spoil: Spoil) -> Mutant:
    return Mutant(what, case, frozenset(caught_by), spoil)


def refusals(case: str, natural: Mapping[str, Callable[..., Any]], *more: str) -> list[Mutant]:
    """Of a wrong filter that must be refused; `natural`: a driver that takes it."""
    return [
        mutant("it is taken", case, {REFUSES, TABLE, *more}, of_filters(**natural)),
        mutant("it is refused in silence", case, {REFUSES}, of_filters(command=refuses_in_silence)),
        mutant("it is in the table", case, {TABLE}, of_filters(_show=shown)),
        mutant("it works", case, {NOTHING}, of_filters(direct=takes_udp_of_the_refused)),
    ]


MUTANTS = [
    # each flow
    mutant("the queue is ignored", "flows", {QUEUE}, of("host", put=put_elsewhere)),
    mutant("kernel frames are copied", "flows", {NOTHING_ELSE}, of("host", beside=copies_to_vf_1)),
    mutant("VFs do not send", "flows", {BACK}, of("testpmd", forward=no_return)),
    mutant("flows are copied", "flows", {REST}, of("host", leaked=counts_at_kernel)),
    mutant("answers are lost", "flows", {ANSWERS}, of("kernel", answer=answers_half)),
    mutant(
        "filters filter nothing",
        "flows",
        {QUEUE, NOTHING_ELSE, BACK, REST},
        of_filters(direct=ignored),
    ),
    mutant(
        "protocols are not compared",
        "flows",
        {QUEUE, NOTHING_ELSE, BACK, REST},
        of_filters(has_protocol=yes),
    ),
    mutant(
        "addresses are not compared",
        "flows",
        {QUEUE, NOTHING_ELSE, BACK, REST},
        of_filters(has=yes),
    ),
    mutant("VFs are exchanged", "flows", {QUEUE, NOTHING_ELSE, BACK}, of_filters(target=swapped)),
    # with and without
    mutant(
        "UDP is lost at first", "ixgbe without", {WITHOUT}, of_filters(direct=takes_udp_at_first)
    ),
    mutant("filters filter nothing", "ixgbe without", {WITH}, of_filters(direct=ignored)),
    mutant("filters stay", "ixgbe without", {DELETED}, of_filters(delete=stays_all_the_same)),
    mutant(
        "filters stop the kernel",
        "ixgbe without",
        {PINGS},
        of("kernel", answer=answers_without_filters),
    ),
    # one mask
    mutant("it is refused in silence", "masks", {MASK}, of_filters(command=refuses_in_silence)),
    mutant("it is in the table", "masks", {TABLE}, of_filters(_show=shown)),
    mutant(
        "the others are off",
        "masks",
        {FIRST},
        of_filters(command=forgets_the_others, direct=directs_unless_off),
    ),
    mutant("any mask is taken", "masks", {MASK, TABLE, FIRST}, of_filters(is_other_mask=no)),
    # wrong ones
    *refusals(
        "ixgbe: a VF that there is not",
        {"has_function": yes, "target": lambda s, r: (0, 0)},
        NOTHING,
    ),
    *refusals("ixgbe: a queue that the VF does not have", {"has_queue": yes}, NOTHING),
    *refusals("ixgbe: a queue that the PF does not have", {"has_queue": yes}),
    *refusals("ixgbe: a place beyond the table", {"beyond": no}, NOTHING),
    *refusals("ixgbe: a VLAN masked in part", {"is_partial_vlan": no}, NOTHING),
    *refusals("i40e: a queue that the VF does not have", {"has_queue": yes}, NOTHING),
    *refusals("i40e: a queue that the PF does not have", {"has_queue": yes}),
    *refusals("i40e: network", {"refuses_networks": no}, NOTHING),
    *refusals("i40e: VNI only", {"lacks_inner_mac": no}),
    # routes
    mutant("the queue is ignored", "L3", {ROUTE}, of("host", put=put_elsewhere)),
    mutant("kernel frames are copied", "L3", {NOTHING_ELSE}, of("host", beside=copies_to_vf_1)),
    mutant("VFs do not send", "L3", {ROUTE_BACK}, of("testpmd", forward=no_return)),
    mutant("routes are copied", "L3", {REST}, of("host", leaked=counts_at_kernel)),
    mutant("answers are lost", "L3", {ANSWERS}, of("kernel", answer=answers_half)),
    mutant(
        "filters filter nothing",
        "L3",
        {ROUTE, NOTHING_ELSE, ROUTE_BACK, REST},
        of_filters(direct=ignored),
    ),
    mutant(
        "addresses are not compared",
        "L3",
        {ROUTE, NOTHING_ELSE, ROUTE_BACK, REST, ANSWERS},
        of_filters(has=yes),
    ),
    mutant(
        "UDP is lost at first", "i40e without", {WITHOUT}, of_filters(direct=takes_udp_at_first)
    ),
    mutant("filters stay", "i40e without", {DELETED}, of_filters(delete=stays_all_the_same)),
    mutant("answers are lost", "i40e without", {PINGS}, of("kernel", answer=answers_half)),
    mutant("filters filter nothing", "i40e without", {WITH_ROUTE}, of_filters(direct=ignored)),
    # tunnels
    mutant("the queue is ignored", PF_CLOUD, {MATCHES}, of("host", put=spread_instead)),
    mutant("the queue is ignored", VF_CLOUD, {MATCHES}, of("host", put=put_elsewhere)),
    mutant("frames are copied", PF_CLOUD, {NOTHING_ELSE, NO_VF}, of("host", beside=copies_to_vf_1)),
    mutant("VFs do not send", VF_CLOUD, {CLOUD_BACK}, of("testpmd", forward=no_return)),
    mutant("frames are copied", VF_CLOUD, {REST}, of("host", leaked=counts_at_kernel)),
    mutant("answers are lost", PF_CLOUD, {ANSWERS}, of("kernel", answer=answers_half)),
    mutant("plain UDP is lost", PF_CLOUD, {DIFFERS}, of("kernel", receive=loses_plain_udp)),
    mutant("pings are copied", VF_CLOUD, {NOTHING_ELSE}, of("host", beside=copies_pings_to_vf_1)),
    mutant("tunnels are copied", VF_CLOUD, {NO_VF}, of("host", beside=copies_tunnels_to_vf_1)),
    mutant("inner MACs are not compared", PF_CLOUD, {SPREAD}, of_filters(has_inner_mac=yes)),
    mutant("VNIs are not compared", "inner MAC + VNI", {SPREAD}, of_filters(has_vni=yes)),
    mutant(
        "inner MACs are not compared", VF_CLOUD, {DIFFERS, NO_VF}, of_filters(has_inner_mac=yes)
    ),
    mutant("VLANs are not compared", VF_CLOUD, {DIFFERS, NO_VF}, of_filters(has_vlan=yes)),
    mutant(
        "VLANs are not compared",
        "inner MAC + inner VLAN",
        {DIFFERS, NO_VF},
        of_filters(has_vlan=yes),
    ),
    mutant("VNIs are not compared", VF_CLOUD, {DIFFERS, NO_VF}, of_filters(has_vni=yes)),
    mutant(
        "outer MACs are not compared",
        "outer MAC + inner MAC + VNI",
        {FOREIGN},
        of("host", receive_foreign=lets_foreign_in),
    ),
    mutant("filters filter nothing", PF_CLOUD, {MATCHES}, of_filters(direct=ignored)),
    mutant(
        "filters filter nothing",
        VF_CLOUD,
        {MATCHES, NOTHING_ELSE, CLOUD_BACK, REST},
        of_filters(direct=ignored),
    ),
]


@pytest.mark.parametrize("spoilt", MUTANTS, ids=lambda m: f"{m.case}, {m.what}")
def test_a_mutant_is_caught_by_its_assertion_only(spoilt: Mutant) -> None:
    kind, case = CASES[spoilt.case]
    host = Host(kind)
    spoilt.spoil(host)
    with bench(host).started() as setup, pytest.raises(BifurcationError) as caught:
        case(setup)
    assert {missed.what for missed in caught.value.missed} == spoilt.caught_by


def _assertions() -> set[tuple[str, str]]:
    """(function, what it says) of every check in the suite, from its source."""
    found = set()
    for module in (test_ixgbe, test_i40e):
        for function in ast.parse(inspect.getsource(module)).body:
            if not isinstance(function, ast.FunctionDef):
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "hold":
                    name = f"{module.DRIVER}.{function.name}"
                    found |= {
                        (name, word.arg.replace("_", " ")) for word in call.keywords if word.arg
                    }
    return found


HELD_BY = {
    "flows": "ixgbe.test_each_flow_goes_to_its_vf",
    "ixgbe without": "ixgbe.test_a_flow_without_its_filter_is_the_kernels",
    "masks": "ixgbe.test_filters_with_other_masks_are_refused",
    **{f"ixgbe: {name}": "ixgbe.test_a_wrong_filter_is_refused" for name in test_ixgbe.WRONG},
    "L3": "i40e.test_l3_veb",
    "i40e without": "i40e.test_a_route_without_its_filter_is_the_kernels",
    **dict.fromkeys(test_i40e.CLOUD, "i40e.test_cloud_filter"),
    **{name: "i40e._refused" for name in CASES if name.startswith("i40e: ")},
}
"""By case: the function that has its checks."""


def test_every_assertion_has_a_mutant_of_its_own() -> None:
    alone = {
        (HELD_BY[one.case], next(iter(one.caught_by))) for one in MUTANTS if len(one.caught_by) == 1
    }
    assert _assertions() - alone == set()
    assert alone <= _assertions()
