"""Hugepages by size and node, their mounts, and what stirs in memory."""

from __future__ import annotations

from pytest_vswitch.machine import memory
from pytest_vswitch.machine.memory import HUGEPAGES, NODE, Mount, Node, Pool
from tests.machine.conftest import Emulate
from tests.machine.trees import Tree, server


def test_a_server_with_two_nodes(emulate: Emulate) -> None:
    found = memory.read(emulate(server()))
    assert found.nodes == (Node(0, 64000, 58593), Node(1, 64000, 58593))
    assert [(p.node, p.size_kb, p.total, p.free) for p in found.pools] == [
        (0, 2048, 0, 0),
        (0, 1048576, 0, 0),
        (1, 2048, 0, 0),
        (1, 1048576, 6, 6),
    ]
    assert found.pools[3].path == f"{NODE}/node1/hugepages/hugepages-1048576kB"
    assert found.free_mb(1048576) == 6144
    assert found.free_mb(1048576, {0}) == 0
    assert found.default_size_kb == 1048576
    assert found.mounts == (Mount("/dev/hugepages", 1048576),)
    assert found.available_mb == 121000000 // 1024
    assert (found.thp, found.ksm) == ("madvise", 0)


def test_a_kernel_without_nodes_has_hugepages_all_the_same(emulate: Emulate) -> None:
    tree = Tree()
    pool = f"{HUGEPAGES}/hugepages-2048kB"
    tree.put(pool, nr_hugepages=8, free_hugepages=5, resv_hugepages=0)
    found = memory.read(emulate(tree))
    assert found.pools == (Pool(pool, node=0, size_kb=2048, total=8, free=5),)
    assert found.pools[0].free_mb == 10


def test_a_mount_that_names_no_size_has_the_default_one(emulate: Emulate) -> None:
    tree = server()
    tree.put("/proc", mounts="none /a hugetlbfs rw 0 0\nnone /b hugetlbfs rw,pagesize=2M 0 0")
    assert memory.read(emulate(tree)).mounts == (Mount("/a", 1048576), Mount("/b", 2048))


def test_a_kernel_that_merges_nothing_and_has_no_hugepages(emulate: Emulate) -> None:
    found = memory.read(emulate(Tree()))
    assert (found.thp, found.ksm, found.pools, found.default_size_kb) == ("", None, (), None)
