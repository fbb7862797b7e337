"""The CPUs that will poll: each for itself, of the right node, undisturbed by the scheduler."""

from __future__ import annotations

from pytest_vswitch.machine.checks.check import Check, Outcome
from pytest_vswitch.machine.cpulist import format_list
from pytest_vswitch.machine.cpus import ROOT, TURBO_OFF
from pytest_vswitch.machine.facts import Machine
from pytest_vswitch.machine.needs import Needs

DEEP_US = 10
"""A C-state that takes longer to wake from is too deep [µs]; C1 and C1E take less."""


CROWDED = "leave CPUs to Linux: use a host with more cores, or name fewer lcores"


def polling(machine: Machine, needs: Needs) -> frozenset[int]:
    """CPUs that poll; those that are not online have a check of their own."""
    return machine.cpus.online & {*needs.polling}


def smt(machine: Machine, needs: Needs) -> Outcome:
    siblings = machine.cpus.siblings_of(needs.polling)
    if not siblings:
        return Outcome("no core of a polling CPU has a second thread online", True)
    offline = " ".join(f"{ROOT}/cpu{cpu}/online" for cpu in sorted(siblings - {*needs.cpus}))
    return Outcome(
        f"on: CPUs {format_list(siblings)} share the cores of polling ones",
        False,
        mend="disable hyper-threads in the BIOS"
        + (f", or: echo 0 | tee {offline}" if offline else ""),
    )


def turbo(machine: Machine, needs: Needs) -> Outcome:
    if machine.cpus.turbo is None:
        return Outcome("Linux cannot tell", None)
    if not machine.cpus.turbo:
        return Outcome("off", True)
    path = machine.cpus.turbo_path
    return Outcome("on", False, f"disable turbo in the BIOS, or: echo {TURBO_OFF[path]} > {path}")


def governor(machine: Machine, needs: Needs) -> Outcome:
    policies = [p for p in machine.cpus.policies if p.cpus & {*needs.polling}]
    if not policies:
        return Outcome("Linux does not govern the frequency", None)
    others = [p for p in policies if p.governor != "performance"]
    if not others:
        return Outcome("performance", True)
    files = " ".join(f"{policy.path}/scaling_governor" for policy in others)
    return Outcome(
        ", ".join(sorted({policy.governor for policy in others}))
        + f" (CPUs {format_list(cpu for policy in others for cpu in policy.cpus)})",
        False,
        f"echo performance | tee {files}",
    )


def c_states(machine: Machine, needs: Needs) -> Outcome:
    mine = [state for state in machine.cpus.idle_states if state.cpu in needs.polling]
    if not mine:
        return Outcome("Linux does not choose idle states", None)
    deep = [state for state in mine if state.enabled and state.latency_us > DEEP_US]
    if not deep:
        return Outcome(f"none deeper than {DEEP_US} µs", True)
    slowest = max(deep, key=lambda state: state.latency_us)
    return Outcome(
        f"{slowest.name} takes {slowest.latency_us} µs to wake up from",
        False,
        f"echo 1 | tee {' '.join(f'{state.path}/disable' for state in deep)}",
        ("intel_idle.max_cstate=1", "processor.max_cstate=1")
        if machine.cpus.vendor == "GenuineIntel"
        else ("processor.max_cstate=1",),
    )


def online(machine: Machine, needs: Needs) -> Outcome:
    missing = {*needs.cpus} - machine.cpus.online
    if not missing:
        return Outcome(f"online: {format_list(machine.cpus.online)}", True)
    return Outcome(
        f"not online: {format_list(missing)}",
        False,
        "name others in the lab's dut.lcores; online: " + format_list(machine.cpus.online),
    )


def own_core(machine: Machine, needs: Needs) -> Outcome:
    if not needs.shared:
        return Outcome(f"polling CPUs: {format_list(needs.polling)}", True)
    return Outcome(needs.shared, False, "use a host with more cores, or name fewer lcores")


def sibling(machine: Machine, needs: Needs) -> Outcome:
    both = {cpu for cpu in needs.polling if machine.cpus.siblings_of([cpu]) & {*needs.cpus}}
    if not both:
        return Outcome("no used CPU is a sibling of a polling one", True)
    pairs = {cpu for cpu in needs.cpus if machine.cpus.siblings_of([cpu]) & both} | both
    return Outcome(
        f"CPUs {format_list(pairs)} share cores",
        False,
        "name CPUs of different cores in the lab's dut.lcores "
        f"({ROOT}/cpu*/topology/thread_siblings_list)",
    )


def core_0(machine: Machine, needs: Needs) -> Outcome:
    if 0 not in needs.polling:
        return Outcome("left to Linux", True)
    return Outcome("polls", False, "name other CPUs in the lab's dut.lcores")


def node(machine: Machine, needs: Needs) -> Outcome:
    nodes = {cpu.number: cpu.node for cpu in machine.cpus.cpus}
    wanted = {port.node for port in machine.nics if port.bdf in {p.bdf for p in needs.ports}}
    wanted.discard(-1)  # the BIOS does not tell
    used = {nodes[cpu] for cpu in needs.polling if cpu in nodes}
    if not wanted and len(used) > 1:
        text = f"polling CPUs are on nodes {format_list(used)}"
        return Outcome(text, False, "name CPUs of one node in the lab's dut.lcores")
    if len(wanted) > 1:
        return Outcome(
            f"the lab's NIC ports are on nodes {format_list(wanted)}",
            False,
            "put both cards into slots of one socket",
        )
    far = {cpu for cpu in polling(machine, needs) if wanted and nodes[cpu] not in wanted}
    if not far:
        return Outcome(f"node {format_list(used)}", True)
    near = machine.cpus.on_node(min(wanted))
    return Outcome(
        f"not on node {min(wanted)}, as the NIC ports are: {format_list(far)}",
        False,
        f"name CPUs of {format_list(near)} in the lab's dut.lcores",
    )


def isolated(machine: Machine, needs: Needs) -> Outcome:
    exposed = polling(machine, needs) - machine.cpus.isolated
    if not exposed:
        return Outcome(f"isolated: {format_list(machine.cpus.isolated)}", True)
    # The flag is unknown to older kernels, which would then isolate nothing.
    flags = "managed_irq,domain," if machine.kernel.version >= (5, 6) else ""
    cpus = format_list(machine.cpus.isolated | {*needs.polling})
    argument = f"isolcpus={flags}{cpus}"
    return Outcome(
        f"not isolated: {format_list(exposed)}", False, *_for_good(machine, needs, argument)
    )


def nohz_full(machine: Machine, needs: Needs) -> Outcome:
    quiet = machine.cpus.nohz_full
    if quiet is None:
        return Outcome("this kernel is built without it", None)
    ticking = polling(machine, needs) - quiet
    if not ticking:
        return Outcome(f"without a tick: {format_list(quiet)}", True)
    argument = f"nohz_full={format_list(quiet | {*needs.polling})}"
    return Outcome(
        f"with a tick: {format_list(ticking)}", False, *_for_good(machine, needs, argument)
    )


def _for_good(machine: Machine, needs: Needs, argument: str) -> tuple[str, tuple[str, ...]]:
    """How to mend it: not by leaving no CPU to Linux."""
    if machine.cpus.online - {*needs.polling}:
        return "", (argument,)
    return CROWDED, ()


def rcu_nocbs(machine: Machine, needs: Needs) -> Outcome:
    exposed = polling(machine, needs) - machine.cpus.rcu_nocbs
    if not exposed:
        return Outcome(f"elsewhere for {format_list(machine.cpus.rcu_nocbs)}", True)
    argument = f"rcu_nocbs={format_list(machine.cpus.rcu_nocbs | {*needs.polling})}"
    return Outcome(
        f"run their own: {format_list(exposed)}", False, *_for_good(machine, needs, argument)
    )


CHECKS = (
    Check(
        "smt",
        "BIOS",
        "hyper-threads off on the cores that poll",
        "advised",
        "4.2.1 steps 1 and 3",
        smt,
    ),
    Check("turbo", "BIOS", "turbo off: a frequency that stays", "advised", "4.2.1 step 1", turbo),
    Check(
        "governor",
        "BIOS",
        "frequency governor `performance`",
        "advised",
        "4.2.1 step 2 (intel_pstate=disable)",
        governor,
    ),
    Check(
        "c-states",
        "BIOS",
        f"no idle state deeper than {DEEP_US} µs on polling CPUs",
        "advised",
        "host tuning",
        c_states,
    ),
    Check("lcores-online", "cores", "every CPU that the lab uses", "required", "pit", online),
    Check(
        "own-core",
        "cores",
        "a CPU for each polling thread",
        "required with NICs",
        "4.1",
        own_core,
    ),
    Check("sibling", "cores", "one polling CPU to a core", "required with NICs", "pit", sibling),
    Check("core-0", "cores", "CPU 0 left to Linux", "advised", "4.2.1 step 2", core_0),
    Check(
        "lcore-node",
        "cores",
        "polling CPUs on the NUMA node of the NIC ports",
        "required with NICs",
        "4.2",
        node,
    ),
    Check(
        "isolcpus",
        "cores",
        "polling CPUs isolated from the scheduler",
        "required with NICs",
        "4.2.1 step 2",
        isolated,
    ),
    Check("nohz_full", "cores", "no tick on polling CPUs", "advised", "4.2.1", nohz_full),
    Check(
        "rcu_nocbs",
        "cores",
        "RCU callbacks of polling CPUs elsewhere",
        "advised",
        "4.3.1",
        rcu_nocbs,
    ),
)
