"""`suites/phy_vm_phy --vswitch ovdk` on an emulated host: what it finds, and what it leaves.

Each of the suite's checks meets a DUT with the very fault that it is there for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from pytest_vswitch.errors import BooksError, DutError, VswitchError
from pytest_vswitch.measure import books
from pytest_vswitch.measure.functional import FunctionalError, build_frames, check_functional
from pytest_vswitch.measure.refusal import check_refusal
from suites.phy_vm_phy import test_ovdk as suite
from suites.phy_vm_phy.test_phy_vm_phy import FOREIGN_MAC
from tests.emulated.ovdk import TRANSPORTS, Transport, Wired, wired
from tests.emulated.ovdk_host import METADATA, OvdkHost

# --- the suite's checks -------------------------------------------------------------------


def books_balance(w: Wired) -> None:
    """As every trial of a measurement does: what left a hop entered the next."""
    before = w.chain.snapshot()
    w.generator.exchange(
        {port: build_frames(w.chain.flow(port), 64, 20, seed=port) for port in (0, 1)}, wait_s=0
    )
    after = w.chain.snapshot()
    books.check([tuple(w.chain.path(port, before, after)) for port in (0, 1)])


def refused(w: Wired, **which: Any) -> None:
    check_refusal(w.chain, w.generator, 64, frames_per_direction=8, **which)


CHECKS: dict[str, Callable[[Wired], None]] = {
    "ports": lambda w: suite.test_ports_are_as_asked_for(w.switch),
    "flows": lambda w: suite.test_flows_are_as_added(w.switch),
    "shared": lambda w: suite.test_shared_memory_has_its_metadata(w.guest),
    "metadata": lambda w: suite.test_guest_found_the_metadata(w.guest),
    "interfaces": lambda w: suite.test_interfaces_are_up_and_running(w.guest),
    "routes": lambda w: suite.test_routes_and_neighbours_are_set(w.guest),
    "routed": lambda w: check_functional(w.chain, w.generator, 64, 16),
    "expired": lambda w: refused(w, ttl=1),
    "foreign": lambda w: refused(w, dst_mac=FOREIGN_MAC),
    "books": books_balance,
}
FAILURES = (pytest.fail.Exception, FunctionalError, BooksError, DutError)


def failing(w: Wired) -> set[str]:
    """Names of the checks that do not hold."""
    found = set()
    for name, check in CHECKS.items():
        try:
            check(w)
        except FAILURES:
            found.add(name)
    return found


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_good_dut_passes_and_is_left_as_it_was(transport: Transport) -> None:
    host = OvdkHost()
    before = host.state()
    with wired(host, transport) as w:
        assert failing(w) == set()
        assert w.chain.facts.versions["ovdk"] == "Open vSwitch 2.0.0"
        assert host.state() != before
    assert host.state() == before


MUTANTS: list[tuple[str, str, set[str]]] = [
    # what is wrong, with which ports (empty: both), the checks that see it
    ("port not shown", "", {"ports"}),
    ("port of another type", "", {"ports"}),
    ("port of another NIC", "kni", {"ports"}),
    ("port in error", "", {"ports"}),
    ("flow not kept", "", {"flows"}),
    ("flow from elsewhere", "", {"flows"}),
    ("metadata not found", "", {"metadata"}),
    ("metadata of one port", "memnic", {"metadata"}),
    ("driver not loaded", "memnic", {"metadata"}),
    ("interface gone", "", {"interfaces"}),
    ("interface down", "", {"interfaces"}),
    ("interface without carrier", "", {"interfaces"}),
    ("MAC address not set", "", {"interfaces"}),
    ("route gone", "", {"routes"}),
    ("another gateway", "", {"routes"}),
    ("gateway's MAC unknown", "", {"routes"}),
    # These stop forwarding, too, and with it the good frames among the refused ones.
    ("not forwarding", "", {"routes", "routed", "expired", "foreign", "books"}),
    ("paths filtered", "", {"routes", "routed", "expired", "foreign", "books"}),
    ("expired frames routed", "", {"expired"}),
    ("promiscuous", "", {"foreign"}),
    ("source MAC kept", "", {"routed", "expired", "foreign"}),
    ("destination MAC kept", "", {"routed", "expired", "foreign"}),
    ("time to live kept", "", {"routed", "expired", "foreign"}),
    ("checksum kept", "", {"routed", "expired", "foreign"}),
    ("payload changed", "", {"routed", "expired", "foreign"}),
    ("frames lost", "", {"routed", "expired", "foreign", "books"}),
    ("frames doubled", "", {"routed", "books"}),
    ("counter counts twice", "", {"books"}),
]
CASES = [
    (transport, mutant, seen)
    for mutant, only, seen in MUTANTS
    for transport in TRANSPORTS
    if only in ("", transport)
]


@pytest.mark.parametrize(("transport", "mutant", "seen"), CASES)
def test_a_fault_is_seen_by_the_check_for_it(
    transport: Transport, mutant: str, seen: set[str], stack: ExitStack
) -> None:
    w = stack.enter_context(wired(OvdkHost(), transport))
    w.host.broken.add(mutant)
    assert failing(w) == seen


@pytest.mark.parametrize(
    ("transport", "at", "byte"),
    [
        ("memnic", 0, 0x00),  # the magic number
        ("memnic", 4, 0x02),  # the version
        ("memnic", 8, 0x00),  # whether it is valid
        ("kni", 0, 0x00),
    ],
)
def test_spoilt_metadata_is_seen(
    transport: Transport, at: int, byte: int, stack: ExitStack
) -> None:
    w = stack.enter_context(wired(OvdkHost(), transport))
    path = "/dev/shm/ovs_dpdk_49" if transport == "memnic" else METADATA
    w.host.memory[path][at] = byte
    assert failing(w) == {"shared"}


def test_shared_memory_that_is_gone_is_seen(stack: ExitStack) -> None:
    w = stack.enter_context(wired(OvdkHost(), "memnic"))
    del w.host.memory["/dev/shm/ovs_dpdk_48"]
    assert failing(w) == {"shared"}


def test_a_client_that_dies_is_named(stack: ExitStack) -> None:
    w = stack.enter_context(wired(OvdkHost(), "kni"))
    w.host.broken.add("kni_client dies")
    with pytest.raises(DutError, match=r"the guest's kni_client is gone; /tmp/kni_client\.log"):
        w.chain.check_alive()


@pytest.mark.parametrize("program", ["ovsdb-server", "ovs_dpdk", "ovs-vswitchd"])
def test_a_program_that_dies_is_named(program: str, stack: ExitStack) -> None:
    w = stack.enter_context(wired(OvdkHost(), "memnic"))
    next(one for one in w.host.processes if one.name == program).ended = True
    with pytest.raises(DutError, match=f"{program} is gone"):
        w.chain.check_alive()


# --- without its metadata, a guest with KNI panics ------------------------------------------


def test_no_interface_is_touched_before_the_metadata_is_found() -> None:
    host = OvdkHost()
    host.broken.add("metadata not found")
    panics = pytest.raises(DutError, match=r"found no IVSHMEM metadata, .* panics the guest")
    with panics, wired(host, "kni"):
        pass
    assert not [step for step in host.steps if "ifconfig" in step or "kni_client -c" in step]


# --- faults at each step --------------------------------------------------------------------

HARMLESS = (
    "del-flows",
    " clean",
    "guest: true",
    "mkdir -p -- /var/cache",
    "mkdir -- /run/vswitch/it/guest-share",
    "--version",
    "timeout 30",
)
"""What does no harm if it is not done: there is nothing to delete, make, read or wait for."""

SILENT = ("ovsdb-server /run", "ovs-vswitchd -c")
"""They say nothing when all is well; that they do nothing is told by who cannot reach them."""


def steps(transport: Transport) -> list[str]:
    host = OvdkHost()
    with wired(host, transport):
        return list(host.steps)


def broken_at(transport: Transport, step: int, fault: str) -> tuple[str, bool]:
    """What is told, if anything; and whether the host is as it was."""
    host = OvdkHost((step, fault))
    before, told = host.state(), ""
    try:
        with wired(host, transport):
            pass
    except VswitchError as error:
        told = str(error)
    return told, host.state() == before


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("fault", ["refusal", "time-out", "nonsense", "lost"])
def test_a_fault_at_any_step_is_told_and_undone(transport: Transport, fault: str) -> None:
    wrong = []
    for number, step in enumerate(steps(transport)):
        told, restored = broken_at(transport, number, fault)
        harmless = any(words in step for words in HARMLESS)
        if not restored:
            wrong.append(f"not restored after {fault} at {step}")
        if not told and not (fault == "nonsense" and harmless) and "--version" not in step:
            wrong.append(f"nothing told of {fault} at {step}")
        silent = fault == "time-out" and any(daemon in step for daemon in SILENT)
        if fault in ("refusal", "time-out") and told and not silent and not _names(told, step):
            wrong.append(f"{fault} at {step} is told without its command: {told}")
        if fault == "lost" and "guest: " not in step and "connection is lost" not in told:
            wrong.append(f"the lost connection at {step} is not told: {told}")
    assert not wrong, "\n".join(wrong)


def _names(told: str, step: str) -> bool:
    """Whether it says which program it was, or on what."""
    words = [word for word in step.removeprefix("guest: ").split() if word != "env"]
    program = next(word for word in words if "=" not in word).rpartition("/")[2]
    return program.partition("-system")[0].lower() in told.lower() or words[-1] in told


def test_every_step_of_the_guides_is_there() -> None:
    """Fewer steps than were once there would be faults that nobody tries."""
    assert len(steps("memnic")) == 63
    assert len(steps("kni")) == 64
