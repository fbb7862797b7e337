"""`vswitch plan`: what a run would do to its hosts, as scripts, without doing it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_vswitch.cli.command import Commands, command

if TYPE_CHECKING:
    from pytest_vswitch.hosts.shell_script import Script
    from pytest_vswitch.lab.schema import Lab
    from pytest_vswitch.topologies.topology import Port


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    plan = command(
        commands,
        "plan",
        "print the shell script that a run carries out on each host",
        "Prints the commands by which a run brings up the topologies of a suite, in order,\n"
        "with the reason beside each, and how it undoes them at the end. The hosts are looked\n"
        "at; nothing on them is changed or started, but for a kernel without a disk that tries\n"
        "KVM, if nothing has tried it since the last boot. Run by `bash` on its host, as root,\n"
        "a script brings the topology up until Ctrl-C.",
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
    plan.add_argument("--topology", metavar="NAME", help="of several, print this one only")
    plan.add_argument("--host", metavar="NAME", help="of several, print this one's script only")
    plan.add_argument("-o", dest="directory", metavar="DIR", type=Path, help="one file per script")
    plan.set_defaults(command=_plan)


def _plan(arguments: argparse.Namespace) -> None:
    from pytest_vswitch.errors import InputError, NotHere
    from pytest_vswitch.lab.choices import chosen
    from pytest_vswitch.lab.loader import load

    lab = chosen(load(arguments.dut), vswitch=arguments.vswitch, hypervisor=arguments.hypervisor)
    topologies = _topologies(arguments.suite, arguments.dut)
    what = f"pytest {' '.join(arguments.suite)} --dut {arguments.dut}"
    if arguments.topology:
        if arguments.topology not in topologies:  # unless the suite leaves the choice
            topologies = _topologies(arguments.suite, arguments.dut, arguments.topology)
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
            for host, script in _scripts(lab, name, what, _progress()).items():
                scripts[name, host] = script
        except NotHere as reason:
            print(f"vswitch: no plan of {name}: {reason}", file=sys.stderr)
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


def _topologies(suite: Sequence[str], dut: str, chosen: str | None = None) -> list[str]:
    """Names of the topologies that the tests of `suite` use, in the order of first use.

    Where a suite leaves the choice, it is `chosen`.

    Raises InputError, in pytest's words, when it cannot collect them.
    """
    import contextlib
    import io

    import pytest

    from pytest_vswitch import registry
    from pytest_vswitch.errors import InputError

    known = registry.Registered(registry.TOPOLOGIES).names()
    used: dict[str, None] = {}

    class Collected:
        def pytest_collection_finish(self, session: pytest.Session) -> None:
            for item in session.items:
                fixtures: Any = getattr(item, "fixturenames", ())
                if "vswitch_run" in fixtures:
                    used.update(dict.fromkeys(name for name in known if name in fixtures))

    said = io.StringIO()
    options = ["--collect-only", "-qq", "-p", "no:cacheprovider", "--color", "no"]
    if chosen in known:
        options += ["--topology", chosen]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = pytest.main([*suite, "--dut", dut, *options], plugins=[Collected()])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise InputError(f"pytest cannot collect {' '.join(suite)}:\n{said.getvalue().strip()}")
    return list(used)


def _where(port: Port) -> str:
    """Where a generator attaches."""
    from pytest_vswitch.topologies.topology import MemifPort, NicPort

    if isinstance(port, MemifPort):
        return port.socket
    if isinstance(port, NicPort):
        return f"{port.bdf}, at the other end of its wire {port.generator or 'your generator'}"
    return "simulated"


def _scripts(lab: Lab, topology: str, what: str, note: Callable[[str], None]) -> dict[str, Script]:
    """By the host's name: what a run carries out there to bring `topology` up."""
    import contextlib

    from pytest_vswitch import registry
    from pytest_vswitch.hosts.opening import open_host
    from pytest_vswitch.hosts.plan import PlanHost, Unanswered, script_for

    with contextlib.ExitStack() as hosts:
        dut = hosts.enter_context(open_host(lab))
        beside = lab.generator.host not in (None, lab.dut.host)
        generator = hosts.enter_context(open_host(lab, "generator")) if beside else dut
        doing = script_for(dut, f"The topology {topology} on {dut.name}, as `{what}` wires it.")
        recorder = PlanHost(dut, doing, note=note)
        wired = hosts.enter_context(registry.topology(topology).provision(lab, recorder))
        recorder.up()
        doing.told += [f"{topology} is up; Ctrl-C ends it. Frames go between"]
        doing.told += [f"  {port.name}, {_where(port)}" for port in wired.ports]

        title = f"The traffic generator for {topology} on {generator.name}, as in `{what}`."
        sending = script_for(generator, title)
        asker = PlanHost(generator, sending, note=note, needs_answers=True)
        attach = registry.generator(lab.generator.kind)
        with contextlib.suppress(Unanswered), attach(lab, asker, wired):
            pass
    if beside:
        return {dut.name: doing, generator.name: sending}
    doing.aside += sending.up
    return {dut.name: doing}
