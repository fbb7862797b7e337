"""What a run does to its hosts, as scripts: what it needs, wires, sends and asks, and undoes."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch import packaged, registry, rehearsal
from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.opening import open_host
from pytest_vswitch.hosts.plan import PlanHost, Unanswered, script_for
from pytest_vswitch.hosts.plan_turns import TurnHost, Turns, pause
from pytest_vswitch.hosts.shell_script import Check, Script
from pytest_vswitch.lab.preflight import generator_is_here
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.topology import MemifPort, NicPort, Port


@dataclass(frozen=True, slots=True)
class Test:
    """A test of a suite, with all but its frame size chosen."""

    where: str
    """E.g. `suites/vfd/test_common.py::test_tx_loopback`."""
    chosen: str
    """Its parameters, as pytest names them."""
    function: Callable[..., None]
    parameters: Mapping[str, Any]
    fixtures: Sequence[str]
    about: str
    sizes: list[int] = field(default_factory=list)
    """Frame sizes that it is asked for [bytes, FCS included]; none: it has no say in that."""

    def uses(self, topology: str) -> bool:
        return topology in self.fixtures


def collect(suite: Sequence[str], dut: str, options: Sequence[str] = ()) -> list[Test]:
    """The tests of `suite` that run on a DUT, in order.

    Raises InputError, in pytest's words, when it cannot collect them.
    """
    found: dict[tuple[str, str], Test] = {}

    class Collected:
        def pytest_collection_finish(self, session: pytest.Session) -> None:
            for item in session.items:
                if isinstance(item, pytest.Function) and "vswitch_run" in item.fixturenames:
                    _add(found, item)

    said = io.StringIO()
    words = ["--collect-only", "-qq", "-p", "no:cacheprovider", "--color", "no", *options]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = pytest.main([*suite, "--dut", dut, *words], plugins=[Collected()])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise InputError(f"pytest cannot collect {' '.join(suite)}:\n{said.getvalue().strip()}")
    return list(found.values())


def _add(found: dict[tuple[str, str], Test], item: pytest.Function) -> None:
    parameters = dict(item.callspec.params) if hasattr(item, "callspec") else {}
    chosen = item.callspec.id if parameters else ""
    size = parameters.pop("frame_bytes", None)
    if isinstance(size, int):
        chosen = "-".join(part for part in chosen.split("-") if part not in (f"{size}", f"{size}B"))
    where = item.nodeid.partition("[")[0]
    test = found.setdefault(
        (where, chosen),
        Test(
            where, chosen, item.obj, parameters, item.fixturenames, inspect.getdoc(item.obj) or ""
        ),
    )
    if isinstance(size, int):
        test.sizes.append(size)


def is_known(topology: str) -> bool:
    return topology in registry.Registered(registry.TOPOLOGIES).names()


def topologies(tests: Iterable[Test]) -> list[str]:
    """Names of those that they use, in the order of first use."""
    known = registry.Registered(registry.TOPOLOGIES).names()
    return list(dict.fromkeys(name for test in tests for name in known if test.uses(name)))


def options(choices: Mapping[str, str | None]) -> list[str]:
    """pytest's words for what is chosen in place of the lab's, by name."""
    return [word for name, value in choices.items() if value for word in (f"--{name}", value)]


def tests_of(tests: Sequence[Test], topology: str) -> list[Test]:
    """Those that use it; those that use none are listed with the first."""
    wired = topologies(tests)
    return [
        test
        for test in tests
        if test.uses(topology)
        or (wired[:1] == [topology] and not any(test.uses(name) for name in wired))
    ]


Opened = Callable[[Lab, str], AbstractContextManager[Any]]
"""How the host of a role is reached, to be looked at."""


def scripts(
    lab: Lab,
    topology: str,
    tests: Sequence[Test],
    what: str,
    *,
    note: Callable[[str], None] = lambda why: None,
    opened: Opened = open_host,
) -> dict[str, Script]:
    """By the host's name: what a run carries out there to bring `topology` up and test it.

    `what` is the command that does it; `note` is told what is being looked at.
    """
    with contextlib.ExitStack() as hosts:
        dut = hosts.enter_context(opened(lab, "dut"))
        beside = not generator_is_here(lab)
        generator = hosts.enter_context(opened(lab, "generator")) if beside else dut
        doing = script_for(dut, f"The topology {topology} on {dut.name}, as `{what}` wires it.")
        wiring, others = registry.topology(topology), {}
        of_its_own = lab.target is not None and lab.target.host != lab.dut.host
        if of_its_own and isinstance(wiring, registry.Spanning):
            there, turns = hosts.enter_context(opened(lab, "target")), Turns()
            others[there.name] = script_for(there, f"The target of {topology}, as in `{what}`.")
            recorder: PlanHost = TurnHost(dut, doing, turns)
            second = TurnHost(there, others[there.name], turns)
            wired = hosts.enter_context(wiring.provision_between(lab, recorder, second))
        else:
            recorder = PlanHost(dut, doing, note=note)
            second = None
            wired = hosts.enter_context(wiring.provision(lab, recorder))
        if walk := getattr(wired, "walk", None):  # its tests are one sequence of steps
            recorder.record(pause("when the generator sends"))
            walk()
        if second is not None:
            second.up()
        with recorder.aside([]):  # asking for addresses is no step
            doing.traffic = rehearsal.traffic(wired)
        counters = Check("counters, before and after each of these, and of each trial")
        with recorder.aside(counters.steps):
            rehearsal.counters(wired)
        _without_waits(counters)
        checks = [
            checked(
                lab, test, wired, recorder if test.uses(topology) else PlanHost(dut, _blank(doing))
            )
            for test in tests
        ]
        doing.checks = [counters] if counters.steps else []
        doing.checks += [check for check in checks if check is not None]
        recorder.up()
        doing.told += [f"{topology} is up; Ctrl-C ends it. Frames go between"]
        doing.told += [f"  {port.name}, {_where(port)}" for port in wired.ports]

        title = f"The traffic generator for {topology} on {generator.name}, as in `{what}`."
        sending = script_for(generator, title)
        asker = PlanHost(generator, sending, note=note, needs_answers=True)
        attach = registry.generator(lab.generator.kind)
        with contextlib.suppress(Unanswered), attach(lab, asker, wired):
            pass
    doing.needs = needs(lab, doing)
    if beside:
        sending.needs = needs(lab, sending, role="generator")
        return {dut.name: doing, generator.name: sending, **others}
    doing.aside += sending.up
    return {dut.name: doing, **others}


def checked(lab: Lab, test: Test, wired: Any, host: PlanHost) -> Check | None:
    """None for a test of another driver.

    One of a suite of your own has its docstring: it is not carried out, for nobody knows what
    else it does.
    """
    sizes = f", frames of {', '.join(map(str, test.sizes))} bytes" if test.sizes else ""
    name = test.where + (f"[{test.chosen}]" if test.chosen else "")
    check = Check(name + sizes, test.about)
    with host.aside(check.steps):
        if host.fresh:
            host.record("", "it wires something of its own: end this script before")
        fits = not _is_packaged(test.function) or rehearsal.rehearse(
            lab, test.function, test.parameters, test.fixtures, wired, host
        )
    return _without_waits(check) if fits else None


def _is_packaged(function: Callable[..., None]) -> bool:
    return Path(inspect.getfile(function)).is_relative_to(packaged.suites())


def _blank(script: Script) -> Script:
    """For the same host, on which nothing is up."""
    return Script("", script.node, script.run)


def _without_waits(check: Check) -> Check:
    """A person sees for themselves when an answer is there."""
    check.steps = [step for step in check.steps if not step.text.startswith("await ")]
    return check


def _where(port: Port) -> str:
    """Where a generator attaches."""
    if isinstance(port, MemifPort):
        return port.socket
    if isinstance(port, NicPort):
        return f"{port.bdf}, at the other end of its wire {port.generator or 'your generator'}"
    return "simulated"


# --- what must be there before --------------------------------------------------------------

_PACKAGES = {
    r"dpdk-testpmd": "dpdk-dev",
    r"qemu-system-x86_64": "qemu-system-x86",
    r"busybox": "busybox-static",
    r"cpio": "cpio",
    r"ip (?:-|netns|link|address)": "iproute2",
    r"ethtool": "ethtool",
    r"iperf3": "iperf3",
    r"ping": "iputils-ping",
    r"podman": "podman",
    r'runtime = "\s*runc': "runc",
    r"virsh|libvirtd?": "libvirt-daemon-system libvirt-clients",
    r"ovs-(?:vsctl|vswitchd-dpdk)": "openvswitch-switch-dpdk",
    r"make -C /run": "make gcc libdpdk-dev dpdk-doc pkg-config",
    r"genisoimage": "genisoimage",
    r"qemu-img": "qemu-utils",
    r"modprobe": "kmod",
    r"igb_uio": "dpdk-kmods-dkms",
    r"python3": "python3",
}
"""Of Debian, by what a script says when it uses a program of one."""


def needs(lab: Lab, script: Script, *, role: str = "dut") -> list[str]:
    """What a script takes for granted, a sentence each."""
    steps = [*script.up, *script.undo]
    steps += [step for check in script.checks for step in check.steps]
    said = re.sub(r" \\\n\s*|/usr/s?bin/", " ", "\n".join(step.text for step in steps))
    packages = {
        package: None
        for word, names in _PACKAGES.items()
        if re.search(rf"(?<![\w/-]){word}(?![\w-])", said)
        for package in names.split()
    }
    if lab.dut.vswitch == "ovdk":  # it brings its own
        packages.pop("openvswitch-switch-dpdk", None)
    found = []
    if packages:
        found.append(
            "packages: apt-get install --no-install-recommends " + " ".join(sorted(packages))
        )
    if "-m pytest_vswitch" in said:
        found.append("pip install pytest-vswitch: some of its programs are modules of that")
    if role == "generator":
        return [*found, *_of_the_generator(lab)]
    return [*found, *_of_the_dut(lab, said)]


def _of_the_generator(lab: Lab) -> list[str]:
    found = []
    if lab.generator.kind == "trex":
        path = lab.trex.path if lab.trex and lab.trex.path else "a folder of your choice"
        found.append(f"TRex (trex-tgn.cisco.com), a release unpacked as {path}")
        found.append("its own kernel command line: an IOMMU, if its ports are bound to vfio-pci")
    found += [f"wire: {wire}" for wire in _wires(lab)]
    return found


def _of_the_dut(lab: Lab, said: str) -> list[str]:
    found = []
    if re.search(r"^(?:modprobe vfio-pci|expect_driver \S+ vfio-pci)", said, re.MULTILINE):
        found.append(
            "an IOMMU: VT-d or AMD-Vi on in the BIOS, `intel_iommu=on iommu=pt` (AMD: `iommu=pt`) "
            "on the kernel's command line; `ls /sys/kernel/iommu_groups` must show groups"
        )
    if lab.guest.nic == "sriov" and "id=vf1" in said:
        found.append(
            "a switch with the generator's first port, and with the PF of either place: one that "
            "learns addresses, or sends frames to both (guide, 1.2 and 1.6)"
        )
    if "sriov_numvfs" in said or "max_vfs" in said:
        found.append("SR-IOV on in the BIOS; the first port has no virtual functions yet")
    found.append(
        "for numbers: Turbo Boost and Hyper-Threading off in the BIOS (guide, 4.2.1), CPUs that "
        "poll taken from Linux (isolcpus, nohz_full, rcu_nocbs), governor `performance`; "
        "`vswitch lab check` says what is missing"
    )
    if "hugepages-1048576kB" in said or lab.dut.hugepages == "1G":
        found.append(
            "pages of 1 GB from boot, enough of them on the card's NUMA node: "
            "default_hugepagesz=1G hugepagesz=1G hugepages=8; "
            "`grep . /sys/devices/system/node/node*/hugepages/*/free_hugepages`"
        )
    elif lab.dut.hugepages == "2M":
        found.append("memory for the pages of 2 MB that are taken below, not in pieces yet")
    if "/initramfs" in said:
        found.append(
            "the guest needs no image of yours: its kernel is the host's (a package "
            "linux-image-*), its initramfs is made below, of the host's files"
        )
    elif lab.guest.image != "builtin" and lab.guest.image in said:
        found.append(f"the guest's image, {lab.guest.image}: yours; see docs/guest.md")
    if "accel kvm" in said or "type='kvm'" in said:
        found.append("KVM: VT-x or AMD-V on in the BIOS, modprobe kvm_intel or kvm_amd")
    if lab.ovdk is not None and lab.dut.vswitch == "ovdk":
        found.append(
            f"the Intel DPDK vSwitch, built in {lab.ovdk.path}, and {lab.ovdk.sources}, of which "
            "the guest builds its driver: docs/ovdk.md"
        )
    return [*found, *(f"wire: {wire}" for wire in _wires(lab))]


def _wires(lab: Lab) -> list[str]:
    there = "the DUT" if generator_is_here(lab) else lab.generator.host
    return [
        f"{port.name}, {port.bdf} of {lab.dut.host}, to {port.generator or 'a port'} of {there}"
        for port in lab.ports
        if port.kind == "nic"
    ]
