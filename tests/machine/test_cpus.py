"""CPUs as /sys tells of them, and sets of CPUs as Linux writes them."""

from __future__ import annotations

import pytest

from pytest_vswitch.machine import cpus
from pytest_vswitch.machine.cpulist import format_list, format_mask, parse_list, parse_mask
from tests.machine.conftest import Emulate
from tests.machine.trees import CPU, Tree, server


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0-3,8\n", {0, 1, 2, 3, 8}),
        ("5", {5}),
        ("", set()),
        ("\n", set()),
        ("(null)\n", set()),
        ("0-6:1/2", {0, 2, 4, 6}),
    ],
)
def test_lists_are_read(text: str, numbers: set[int]) -> None:
    assert parse_list(text) == numbers


@pytest.mark.parametrize(
    ("numbers", "possible", "text"),
    [
        ({0, 1}, 2, "3"),
        ({0}, 8, "01"),
        ({33}, 40, "02,00000000"),
        (set(range(64)), 64, "ffffffff,ffffffff"),
        (set(), 12, "000"),
    ],
)
def test_masks_are_as_wide_as_the_kernel_writes_them(
    numbers: set[int], possible: int, text: str
) -> None:
    assert format_mask(numbers, possible) == text
    assert parse_mask(f"{text}\n") == numbers


def test_lists_are_written_in_ranges() -> None:
    assert format_list({8, 0, 1, 3, 2}) == "0-3,8"


def test_a_server_with_hyper_threads(emulate: Emulate) -> None:
    found = cpus.read(emulate(server(threads=2)))
    assert found.online == frozenset(range(32))
    assert found.possible == 32
    assert found[10] == cpus.Cpu(10, core=2, socket=1, node=1, siblings=(10, 26), online=True)
    assert found.siblings_of((10, 11)) == {26, 27}
    assert found.siblings_of((10, 26)) == set()
    assert found.on_node(0) == {*range(8), *range(16, 24)}
    assert found.nodes == {0, 1}
    assert found.smt == "on"
    assert found.vendor == "GenuineIntel"
    with pytest.raises(KeyError):
        found[32]


def test_what_is_isolated_and_what_it_idles_in(emulate: Emulate) -> None:
    found = cpus.read(emulate(server()))
    quiet = frozenset(range(10, 16))
    assert (found.isolated, found.nohz_full, found.rcu_nocbs) == (quiet, quiet, quiet)
    names = [state.name for state in found.idle_states if state.cpu == 12]
    assert names == ["POLL", "C1", "C1E"]
    policies = {min(policy.cpus): policy for policy in found.policies}
    assert policies[12].governor == "performance"
    assert policies[12].driver == "acpi-cpufreq"
    assert (found.turbo, found.turbo_path) == (False, f"{CPU}/cpufreq/boost")


def test_nohz_full_takes_rcu_callbacks_away_too(emulate: Emulate) -> None:
    tree = server()
    tree.replace("/proc/cmdline", "rcu_nocbs=10-15 ", "")
    assert cpus.read(emulate(tree)).rcu_nocbs == frozenset(range(10, 16))


def test_an_offline_cpu_keeps_its_node(emulate: Emulate) -> None:
    host = emulate(server(threads=2))
    host.write_text(f"{CPU}/cpu26/online", "0")
    found = cpus.read(host)
    assert found[26] == cpus.Cpu(26, core=0, socket=0, node=1, siblings=(26,), online=False)
    assert found[10].siblings == (10,)
    assert 26 not in found.on_node(1)


@pytest.mark.parametrize(("no_turbo", "turbo"), [(0, True), (1, False)])
def test_intel_pstate_says_no_turbo(emulate: Emulate, no_turbo: int, turbo: bool) -> None:
    tree = server()
    tree.put(f"{CPU}/intel_pstate", no_turbo=no_turbo)
    found = cpus.read(emulate(tree))
    assert (found.turbo, found.turbo_path) == (turbo, f"{CPU}/intel_pstate/no_turbo")


def test_a_host_that_tells_little(emulate: Emulate) -> None:
    tree = Tree()
    tree.put(CPU, online="0-1", present="0-1", possible="0-1")
    found = cpus.read(emulate(tree))
    assert found[1] == cpus.Cpu(1, core=0, socket=0, node=0, siblings=(1,), online=True)
    assert (found.smt, found.turbo, found.nohz_full, found.vendor) == ("", None, None, "")
    assert (found.policies, found.idle_states) == ((), ())
