"""`vswitch plan`: what a run would do to its hosts, as scripts, without doing it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from pytest_vswitch.cli.command import Commands, command


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    plan = command(
        commands,
        "plan",
        "print the shell script that a run carries out on each host",
        "Prints the commands by which a run brings up the topologies of a suite, in order,\n"
        "with the reason beside each, then what each test sends, types and expects, and how all\n"
        "is undone at the end. The hosts are looked at; nothing on them is changed or started,\n"
        "but for a kernel without a disk that tries KVM, if nothing has tried it since the last\n"
        "boot. Run by `bash` on its host, as root, a script brings the topology up until Ctrl-C.",
        "vswitch plan suites/pvp --dut local | less\n"
        "  vswitch plan suites/pvp --dut local | bash\n"
        "  vswitch plan suites/pvp --dut lab1 -o scripts/",
    )
    plan.add_argument("suite", metavar="SUITE", nargs="+", help="as for pytest, e.g. suites/pvp")
    plan.add_argument("--dut", metavar="LAB", required=True, help="a lab's name or file")
    plan.add_argument("--vswitch", metavar="NAME", help="in place of the lab's `dut.vswitch`")
    plan.add_argument(
        "--hypervisor", metavar="NAME", help="in place of the lab's `guest.hypervisor`"
    )
    plan.add_argument(
        "--nic", choices=("virtio", "sriov"), help="in place of the lab's `guest.nic`"
    )
    plan.add_argument("--topology", metavar="NAME", help="of several, print this one only")
    plan.add_argument("--host", metavar="NAME", help="of several, print this one's script only")
    plan.add_argument("-o", dest="directory", metavar="DIR", type=Path, help="one file per script")
    plan.set_defaults(command=_plan)


def _plan(arguments: argparse.Namespace) -> None:
    from pytest_vswitch import planning
    from pytest_vswitch.errors import InputError, NotHere
    from pytest_vswitch.lab.choices import chosen
    from pytest_vswitch.lab.loader import load

    choices = {name: getattr(arguments, name) for name in ("vswitch", "hypervisor", "nic")}
    lab = chosen(load(arguments.dut), **choices)
    options = planning.options(choices)
    tests = planning.collect(arguments.suite, arguments.dut, options)
    topologies = planning.topologies(tests)
    what = " ".join(["pytest", *arguments.suite, "--dut", arguments.dut, *options])
    if arguments.topology:
        # Unless the suite leaves the choice.
        if arguments.topology not in topologies and planning.is_known(arguments.topology):
            tests = planning.collect(
                arguments.suite, arguments.dut, [*options, "--topology", arguments.topology]
            )
            topologies = planning.topologies(tests)
            what += f" --topology {arguments.topology}"
        topologies = [name for name in topologies if name == arguments.topology]
    if not topologies:
        wanted = f"topology {arguments.topology}" if arguments.topology else "topology"
        raise InputError(f"no test of {' '.join(arguments.suite)} uses a {wanted}")
    if lab.dut.host == "sim":
        print(f"# lab `{lab.name}` is a simulation: a run carries out no command on any host")
        return
    scripts = {}
    for name in topologies:
        try:
            mine = planning.tests_of(tests, name)
            for host, script in planning.scripts(lab, name, mine, what, note=_progress()).items():
                scripts[name, host] = script
        except NotHere as reason:
            print(f"vswitch: no plan of {name}: {reason}", file=sys.stderr)
    if not scripts:
        raise InputError(f"no topology of {' '.join(arguments.suite)} fits this lab, as said above")
    texts = {
        f"{name}-{host}.sh": script.text()
        for (name, host), script in scripts.items()
        if arguments.host in (None, host)
    }
    if not texts:
        there = ", ".join(sorted({host for _, host in scripts}))
        raise InputError(f"nothing is done on a host {arguments.host}; there is {there}")
    if arguments.directory is None:
        print("\n".join(texts.values()), end="")
        return
    for name, text in texts.items():
        path = arguments.directory / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from None
        print(path)


def _progress() -> Callable[[str], None]:
    """Tells a person at a terminal what is being looked at."""
    if not sys.stderr.isatty():
        return lambda why: None
    return lambda why: print(f"vswitch: {why}", file=sys.stderr) if why else None
