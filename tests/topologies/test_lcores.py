"""Which CPU does what: no CPU twice unless that is said, and remarks for what is missing."""

from __future__ import annotations

import re

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.topologies.lcores import LcorePlan, Lcores, Wanted, available, plan
from tests.machine.conftest import Emulate, emulate
from tests.machine.trees import NICS, Tree, server

__all__ = ["emulate"]

GUEST = [Wanted("guest", 3)]

GUIDE_CPUS = 8
"""A main lcore and four more, two virtual CPUs that forward, and one for the generator."""


def host_cpus(found: LcorePlan) -> list[int]:
    """CPUs of the host's lcores, where each has its own."""
    pairs = re.findall(r"(\d+)@(\d+)", found.host_lcores)
    assert [int(lcore) for lcore, _ in pairs] == list(range(len(pairs)))
    assert found.host_lcores == ",".join(f"{lcore}@{cpu}" for lcore, cpu in pairs)
    assert found.host_cpus == tuple(int(cpu) for _, cpu in pairs)
    return list(found.host_cpus)


def check(found: LcorePlan, cpus: list[int]) -> None:
    """What holds for every plan on `cpus`."""
    assert all(endpoint.vcpus >= 2 for endpoint in found.endpoints)
    if found.shared:  # everything shares, and that is said
        assert "share" in found.remarks[0]
        assert found.host_forwarding == 1
        return
    host = host_cpus(found)
    assert len(host) == found.host_forwarding + 1
    assert all(len(endpoint.cpus) == endpoint.vcpus for endpoint in found.endpoints)
    # Virtual CPU 0, which does not forward, is with the main lcore; nothing else is shared.
    assert all(endpoint.cpus[0] == host[0] for endpoint in found.endpoints)
    used = [*host, *(cpu for endpoint in found.endpoints for cpu in endpoint.cpus[1:])]
    assert len(set(used)) == len(used)
    assert set(used) <= set(cpus)
    assert found.generator_cpu in cpus
    if found.generator_cpu in used:
        assert f"the traffic generator shares CPU {found.generator_cpu}" in found.remarks[-1]
    guide = found.host_forwarding >= 4 and all(e.vcpus >= 3 for e in found.endpoints)
    assert bool(found.remarks) == (not guide or found.generator_cpu in used)


WISHES = [
    (count, lcores, generator_cpu)
    for count in (1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 64)
    for lcores in (None, [0, 1], [3, 1], [0, 1, 2], [2, 0, 1, 3, 4])
    for generator_cpu in (None, 0, 1, 3)
    # Preflight refuses CPUs that are not there.
    if {*(lcores or ()), generator_cpu} <= {*range(count), None}
]


@pytest.mark.parametrize("endpoints", [0, 1, 2])
@pytest.mark.parametrize("vcpus", [1, 2, 3, 5])
@pytest.mark.parametrize(("count", "lcores", "generator_cpu"), WISHES)
def test_every_plan(
    count: int, lcores: list[int] | None, generator_cpu: int | None, vcpus: int, endpoints: int
) -> None:
    cpus = list(range(count))
    wanted = [Wanted("guest", vcpus)] * endpoints
    found = plan(cpus, lcores=lcores, endpoints=wanted, generator_cpu=generator_cpu)
    assert len(found.endpoints) == endpoints
    check(found, cpus)
    if generator_cpu is not None:
        assert found.generator_cpu == generator_cpu
    if lcores and not found.shared:
        assert host_cpus(found) == lcores[: found.host_forwarding + 1]


@pytest.mark.parametrize("count", [8, 9, 16])
def test_the_guides_layout(count: int) -> None:
    found = plan(range(count), lcores=None, endpoints=GUEST, generator_cpu=None)
    assert found == LcorePlan((0, 1, 2, 3, 4), 4, (Lcores(3, (0, 5, 6)),), False, 7, ())


@pytest.mark.parametrize("count", [4, 5, 7])
def test_too_few_cpus_for_the_guide(count: int) -> None:
    found = plan(range(count), lcores=None, endpoints=GUEST, generator_cpu=None)
    assert found == LcorePlan(
        (0, 1),
        1,
        (Lcores(2, (0, 2)),),
        False,
        3,
        (
            "1 forwarding lcore in the host instead of the guide's 4",
            "1 forwarding virtual CPU in the guest instead of the guide's 2",
        ),
    )


@pytest.mark.parametrize(("count", "spread"), [(1, "0"), (2, "0,1"), (3, "0,1,2")])
def test_everything_shares(count: int, spread: str) -> None:
    found = plan(range(count), lcores=None, endpoints=GUEST, generator_cpu=None)
    assert found.host_lcores == f"0@({spread}),1@({spread})"
    assert (found.endpoints, found.generator_cpu) == ((Lcores(2, ()),), None)
    words = f"share {count} CPU{'s' if count > 1 else ''}; the guide gives each polling thread"
    [remark] = found.remarks
    assert words in remark


@pytest.mark.parametrize("forwarding", [1, 2, 3, 6])
def test_the_lab_says_how_many_forward(forwarding: int) -> None:
    """The first ones of those that there are; with too few CPUs, so many share."""
    found = plan(range(16), lcores=None, endpoints=GUEST, generator_cpu=None, forwarding=forwarding)
    assert (found.host_forwarding, found.shared) == (forwarding, False)
    assert host_cpus(found) == list(range(forwarding + 1))
    few = plan([0, 1], lcores=None, endpoints=[], generator_cpu=None, forwarding=forwarding)
    assert (few.host_forwarding, few.shared) == (forwarding, True)
    assert few.host_lcores == ",".join(f"{lcore}@(0,1)" for lcore in range(forwarding + 1))


def test_cpus_are_taken_as_they_are_numbered() -> None:
    cpus = [2, 3, 6, 7, 10, 11, 14, 15]
    found = plan(cpus, lcores=None, endpoints=GUEST, generator_cpu=None)
    assert found == LcorePlan((2, 3, 6, 7, 10), 4, (Lcores(3, (2, 11, 14)),), False, 15, ())


def test_the_lab_names_lcores_main_first() -> None:
    found = plan(range(16), lcores=[9, 4, 5, 6, 7], endpoints=GUEST, generator_cpu=15)
    assert found == LcorePlan((9, 4, 5, 6, 7), 4, (Lcores(3, (9, 1, 2)),), False, 15, ())


def test_fewer_lcores_than_the_guides_are_remarked_on() -> None:
    found = plan(range(16), lcores=[0, 1, 2], endpoints=GUEST, generator_cpu=None)
    assert found.host_forwarding == 2
    assert found.remarks == ("2 forwarding lcores in the host instead of the guide's 4",)


def test_the_generators_cpu_is_left_alone() -> None:
    found = plan(range(9), lcores=None, endpoints=GUEST, generator_cpu=1)
    assert found == LcorePlan((0, 2, 3, 4, 5), 4, (Lcores(3, (0, 6, 7)),), False, 1, ())


def test_a_generator_that_the_lab_puts_beside_an_lcore_is_remarked_on() -> None:
    found = plan(range(16), lcores=[0, 1, 2, 3, 4], endpoints=GUEST, generator_cpu=3)
    assert found.remarks == ("the traffic generator shares CPU 3 with the host's testpmd",)


def test_one_lcore_is_too_few() -> None:
    with pytest.raises(InputError, match=r"dut.lcores needs at least two"):
        plan(range(16), lcores=[3], endpoints=GUEST, generator_cpu=None)


def test_a_generator_on_another_host_takes_no_cpu_here() -> None:
    found = plan(range(7), lcores=None, endpoints=GUEST, generator=False, generator_cpu=None)
    assert found == LcorePlan((0, 1, 2, 3, 4), 4, (Lcores(3, (0, 5, 6)),), False, None, ())
    [remark] = plan([0], lcores=None, endpoints=GUEST, generator=False, generator_cpu=None).remarks
    assert "generator" not in remark


# --- which CPUs there are -----------------------------------------------------------------


def order(emulate: Emulate, tree: Tree, allowed: str, *devices: str) -> list[int]:
    tree.put("/proc/self", status=f"Name: x\nCpus_allowed_list:\t{allowed}")
    return available(emulate(tree), devices)


def test_isolated_cpus_are_used_though_linux_does_not_offer_them(emulate: Emulate) -> None:
    used = order(emulate, server(), "0-9", NICS[0])
    # Near the NIC: one that Linux uses, those isolated, the other; then the far node.
    assert used == [8, 10, 11, 12, 13, 14, 15, 9, 0, 1, 2, 3, 4, 5, 6, 7]


def test_a_second_cpu_of_a_core_comes_last(emulate: Emulate) -> None:
    used = order(emulate, server(threads=2, polling=()), "0-31", NICS[0])
    assert used == [*range(8, 16), *range(8), *range(24, 32), *range(16, 24)]


def test_without_a_nic_no_node_is_nearer(emulate: Emulate) -> None:
    assert order(emulate, server(polling=()), "0-15") == list(range(16))


def test_what_is_not_allowed_is_not_used(emulate: Emulate) -> None:
    assert order(emulate, server(polling=()), "2,5-7") == [2, 5, 6, 7]
