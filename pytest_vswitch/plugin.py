"""The pytest plugin: its options, and where a suite is found.

It is loaded in every pytest run of its environment, so it imports nothing heavy; all
that certifies is in `certifying`, which `--dut` brings in.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vswitch.errors import InputError


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vswitch", "certification of DPDK data planes (pytest-vswitch)")
    group.addoption(
        "--dut",
        metavar="LAB",
        action="append",
        help="the lab to certify: `local` (this machine), `sim` (a simulation), the name of a "
        "file in labs/, or a path; `vswitch lab list` lists them. Given several times, the labs "
        "are certified side by side (with pytest-xdist), each in a process of its own",
    )
    group.addoption(
        "--vswitch",
        metavar="NAME",
        help="the vSwitch, in place of the lab's `dut.vswitch`; `vswitch topologies` lists them",
    )
    group.addoption(
        "--hypervisor",
        metavar="NAME",
        help="what starts guests, in place of the lab's `guest.hypervisor`: `qemu` or `libvirt`",
    )
    group.addoption(
        "--nic",
        choices=("virtio", "sriov"),
        help="what stands beside virtio in the guest's bond in suites/live_migration, in place of "
        "the lab's `guest.nic`: another virtio device, or a VF",
    )
    group.addoption(
        "--dpdk",
        metavar="VERSION",
        action="append",
        help="the DPDK to certify, in place of the lab's `dut.dpdk`: `system`, a version (24.11), "
        "or a name of `vswitch dpdk list`. Several are measured in turn: A B, B A, A B, ...; "
        "--repeat says how often",
    )
    group.addoption(
        "--guest-dpdk",
        metavar="VERSION",
        action="append",
        help="the same for what is behind the vSwitch: built-in guest, container, memif peer",
    )
    group.addoption(
        "--qemu",
        metavar="VERSION",
        action="append",
        help="the same for QEMU, in place of the lab's `guest.qemu`",
    )
    group.addoption(
        "--quick",
        action="store_true",
        help="one frame size (64 B), trials of 1 s, 5 %% precision: under two minutes",
    )
    group.addoption(
        "--frame-size",
        metavar="BYTES",
        action="append",
        help="frame size with FCS, or several with commas; repeatable "
        "(default: those of RFC 2544 section 9.1, 64 to 1518)",
    )
    group.addoption(
        "--imix",
        metavar="MIX",
        help="frames of several sizes in turn, in place of --frame-size: `simple` (64, 594, 1518 "
        "bytes, 7:4:1), a genome of RFC 6985 (7a4dg), or sizes (7x64,4x594,1518)",
    )
    group.addoption(
        "--flows",
        metavar="N",
        type=int,
        default=1,
        help="flows of each direction: source address and UDP source port vary (default: 1)",
    )
    group.addoption(
        "--macs",
        metavar="N",
        type=int,
        default=1,
        help="source MAC addresses of each direction, in turn (default: 1)",
    )
    group.addoption(
        "--vlan",
        metavar="ID",
        help="frames with this VLAN tag, or with two: OUTER,INNER (QinQ)",
    )
    group.addoption(
        "--mpls",
        metavar="LABEL",
        help="frames with this MPLS label (RFC 3032), or with several: OUTERMOST,...,INNERMOST",
    )
    group.addoption(
        "--vxlan",
        metavar="VNI",
        type=int,
        help="frames within VXLAN (RFC 7348) of this network identifier; sizes are the outer ones",
    )
    group.addoption(
        "--burst",
        metavar="N",
        type=int,
        default=1,
        help="frames come N back to back, at the same rate on the whole (default: evenly)",
    )
    group.addoption(
        "--pcap",
        metavar="FILE",
        help="the frames of a pcap file in a loop, into every port, in place of generated ones",
    )
    group.addoption(
        "--loss-ratio",
        metavar="RATIO",
        help="acceptable loss of the partial drop rate (PDR), 0 to 1, or several with commas "
        "(default: 0.005)",
    )
    group.addoption(
        "--trial-duration",
        metavar="SECONDS",
        type=float,
        help="duration of the trials that decide (default: 5; with --quick: 1)",
    )
    group.addoption(
        "--precision",
        metavar="RATIO",
        type=float,
        help="relative width of the interval to find (default: 0.01; with --quick: 0.05)",
    )
    group.addoption(
        "--search",
        choices=("mlrsearch", "binary", "nfvbench"),
        default="mlrsearch",
        help="mlrsearch finds NDR and PDR at once; binary is RFC 2544 section 26.1 to the letter; "
        "nfvbench is NFVbench's rule",
    )
    group.addoption(
        "--history",
        metavar="DIR",
        default="off",
        help="mlrsearch looks first where the case was in its newest run in DIR, or what cases "
        "before it in this run showed; `auto`: DIR is that of --reports; `off` (default): it "
        "looks everywhere",
    )
    group.addoption(
        "--repeat",
        metavar="N",
        type=int,
        default=1,
        help="search each case N times and report the median (default: 1)",
    )
    group.addoption(
        "--baseline",
        metavar="RUN|VERSION|latest",
        help="hold each case against earlier results: a run, several with commas, a version such "
        "as `22.11` or `dpdk=22.11`, or `latest`; a case that is worse fails",
    )
    group.addoption(
        "--baseline-drop",
        metavar="PERCENT",
        default="2%",
        help="how far a case may fall behind the baseline (default: 2%%)",
    )
    group.addoption(
        "--topology",
        metavar="NAME",
        default="pvp",
        help="for suites that measure any topology, such as suites/rfc2544 (default: pvp); "
        "`vswitch topologies` lists them",
    )
    group.addoption(
        "--soak",
        metavar="TIME",
        help="how long a soak takes: seconds, or 30m, 8h (default: 1h; with --quick: 60s)",
    )
    group.addoption(
        "--resume",
        metavar="RUN",
        help="take up the soak of an earlier run where it ended: its id, its path, or `latest`",
    )
    group.addoption(
        "--tune",
        action="store_true",
        help="tune the DUT for the run, as far as that goes without a reboot, and put it back "
        "at the end; `vswitch lab check LAB` says what that is",
    )
    group.addoption(
        "--wait",
        metavar="TIME",
        default="0",
        help="queue for a lab that is in use, up to so long: seconds, or 30m, 2h "
        "(default: do not wait)",
    )
    group.addoption(
        "--reports",
        metavar="DIR",
        default="reports",
        help="where runs are kept (default: reports/ in the current directory)",
    )
    group.addoption(
        "--store",
        metavar="URL",
        help="also add the results to this store when the run ends, e.g. a team's: "
        "`postgresql://USER@HOST/DATABASE` (or PYTEST_VSWITCH_STORE)",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """`suites/pvp` means the packaged suite in a directory that has none of that name."""
    here = early_config.invocation_params.dir
    for position, argument in enumerate(args):
        path, separator, rest = argument.partition("::")
        if path.split("/")[0] == "suites" and not (here / path).exists():
            from pytest_vswitch import packaged

            ours = packaged.suites() / Path(path).relative_to("suites")
            if ours.exists():
                args[position] = f"{ours}{separator}{rest}"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("dut"):
        return
    from pytest_vswitch.certifying import Certifying
    from pytest_vswitch.several_labs import SeveralLabs

    several = len(config.getoption("dut")) > 1 and not hasattr(config, "workerinput")
    try:
        certifying = SeveralLabs(config) if several else Certifying(config)
    except InputError as error:
        raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(certifying, "vswitch-certifying")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A suite without `--dut` gets advice, not `fixture not found`."""
    if config.getoption("dut"):
        return
    for item in items:
        definitions = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
        wanted = set(getattr(item, "fixturenames", ())) - set(definitions)
        if wanted and _certifies(wanted):
            refuse(
                config,
                f"{item.nodeid} certifies a DUT: say which with `--dut local` (this machine), "
                "`--dut sim` (a simulation) or another of `vswitch lab list`",
            )
            return


def _certifies(missing: set[str]) -> bool:
    """Whether these fixtures, which nobody defines, are such that `--dut` brings in."""
    from pytest_vswitch import registry

    return not missing.isdisjoint({"measure", *registry.Registered(registry.TOPOLOGIES).names()})


def refuse(config: pytest.Config, why: str) -> None:
    """End the session before its first test, with exit status 4.

    A worker of xdist cannot do that without a crash: there, each test ends with `why`.
    """
    if not hasattr(config, "workerinput"):
        raise pytest.UsageError(why)
    config.pluginmanager.register(_Refused(why))


class _Refused:
    def __init__(self, why: str) -> None:
        self._why = why

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        pytest.fail(self._why, pytrace=False)
