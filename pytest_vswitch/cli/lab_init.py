"""`vswitch lab init`: a lab file from what is found on its hosts."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_vswitch.cli.command import Commands, command, painted
from pytest_vswitch.errors import InputError

if TYPE_CHECKING:
    from pytest_vswitch.hosts.host import Host
    from pytest_vswitch.lab.remote import Ssh
    from pytest_vswitch.machine.discovery import Discovery, Found
    from pytest_vswitch.machine.wiring import Wires


def add(actions: Commands[argparse.ArgumentParser]) -> None:
    init = command(
        actions,
        "init",
        "make a lab file from what is found on its hosts",
        "Looks at a DUT, and at a traffic generator's host if there is one, and writes a lab\n"
        "file: its NIC ports, CPUs and hugepages, each choice explained, and why others were\n"
        "not chosen. Nothing on any host is changed. A NIC that carries the default route or\n"
        "an SSH session is never offered.\n\n"
        "--probe-wiring sends frames, to find which ports are wired together: from each NIC\n"
        "port that may be used and has a link, on the DUT and on the generator. Such a port\n"
        "that is down is up meanwhile; its host is reserved for that.\n\n"
        "--update renews what was found in a lab file that is there, and keeps the rest.",
        "vswitch lab init root@dut1 root@tg -o labs/lab1.yaml --probe-wiring\n"
        "  vswitch lab init local\n"
        "  vswitch lab init --update -o labs/lab1.yaml --dry-run",
    )
    init.add_argument("dut", metavar="DUT", nargs="?", help="`local` or [user@]name[:port]")
    init.add_argument("generator", metavar="GENERATOR", nargs="?", help="default: the DUT")
    init.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="the lab file (default: print it)"
    )
    init.add_argument("--update", action="store_true", help="renew what was found in FILE")
    init.add_argument("--force", action="store_true", help="write over FILE")
    init.add_argument(
        "--dry-run", action="store_true", help="show what --update changes without making it"
    )
    init.add_argument("--probe-wiring", action="store_true", help="send frames to find the wires")
    init.add_argument(
        "--netns", metavar="NAME", default="", help="network namespace of the generator's ports"
    )
    init.add_argument("--config", metavar="FILE", help="instead of ~/.ssh/config")
    init.add_argument("--identity", metavar="FILE", help="private key")
    init.add_argument("--known-hosts", metavar="FILE", help="instead of ~/.ssh/known_hosts")
    init.set_defaults(command=_lab_init)


def _lab_init(arguments: argparse.Namespace) -> None:
    path: Path | None = arguments.output
    if path is not None and path.suffix not in (".yaml", ".yml"):
        raise InputError(f"{path}: a lab file's name ends in .yaml")
    if arguments.update:
        _update(arguments)
        return
    if not arguments.dut:
        raise InputError("say which host is the DUT, e.g. `vswitch lab init root@dut1`")
    if arguments.dry_run:
        raise InputError("--dry-run is for --update; without -o the lab is only printed")
    if path is not None and path.exists() and not arguments.force:
        raise InputError(
            f"{path} is there already: --update renews what was found in it and keeps the rest, "
            "--force writes over it"
        )
    _create(arguments, path)


def _create(arguments: argparse.Namespace, path: Path | None) -> None:
    import shlex

    from pytest_vswitch.lab.json_schema import SCHEMA_FILE
    from pytest_vswitch.lab.remote import Ssh
    from pytest_vswitch.machine.lab_text import written

    given = {
        name: value
        for name in ("config", "identity", "known_hosts")
        if (value := getattr(arguments, name))
    }
    # A relative path in a lab file is relative to that file.
    options = {name: str(Path(value).expanduser().absolute()) for name, value in given.items()}
    ssh = Ssh.model_validate(options)
    discovery = _discover(
        (arguments.dut, ssh),
        (arguments.generator, ssh) if arguments.generator else None,
        netns=arguments.netns,
        probe=arguments.probe_wiring,
        options=options,
    )
    words = ["vswitch", "lab", "init", arguments.dut]
    words += [arguments.generator] if arguments.generator else []
    words += ["--netns", arguments.netns] if arguments.netns else []
    words += ["--probe-wiring"] if arguments.probe_wiring else []
    text = written(discovery, shlex.join(words), path or Path("NAME.yaml"))
    if path is None:
        print(text, end="")
        return
    if (path.parent / SCHEMA_FILE.name).exists():
        text = f"# yaml-language-server: $schema={SCHEMA_FILE.name}\n{text}"
    _write(path, text)
    for line in _summary(discovery):
        print(line)
    print(f"{path} written; next: vswitch lab check {path}")


def _summary(discovery: Discovery) -> list[str]:
    ports = [nic.bdf for nic in discovery.ports.chosen]
    lcores = discovery.lcores
    return [
        f"ports: {', '.join(ports)}" if ports else "ports: memif, no NIC port can be used",
        f"lcores: {', '.join(map(str, lcores.host)) or 'auto'} ({lcores.why})",
        *(f"not chosen: {bdf}: {why}" for bdf, why in discovery.ports.others.items()),
    ]


def _update(arguments: argparse.Namespace) -> None:
    from difflib import unified_diff

    from pytest_vswitch.lab.document import read_text
    from pytest_vswitch.lab.edit import replace_file
    from pytest_vswitch.lab.loader import parse_lab
    from pytest_vswitch.lab.schema import shown
    from pytest_vswitch.machine.lab_text import renewed

    path: Path | None = arguments.output
    if path is None:
        raise InputError("--update needs the lab file: `-o labs/lab1.yaml`")
    text = read_text(path)
    lab = parse_lab(text, path)
    for given, there, key in (
        (arguments.dut, lab.dut.host, "dut"),
        (arguments.generator, lab.generator.host, "generator"),
        (arguments.netns, lab.generator.netns, "generator"),
    ):
        if given and given != there:
            raise InputError(
                f"{lab.where(key)}: the lab has {there or 'none'}, not {given}: change it there"
            )
    generator = lab.generator.host
    discovery = _discover(
        (lab.dut.host, lab.dut.ssh),
        (generator, lab.generator.ssh) if generator else None,
        netns=lab.generator.netns or "",
        probe=arguments.probe_wiring,
        ports=[port.bdf for port in lab.ports if port.kind == "nic"],
    )
    new, remarks = renewed(text, path, discovery)
    before, after = text.splitlines(), new.splitlines()
    for line in list(unified_diff(before, after, lineterm="", n=1))[2:]:
        print(painted(line, {"+": "32", "-": "31"}.get(line[0], ""), sys.stdout))
    for remark in remarks:
        print(painted(remark, "33", sys.stdout))
    if new == text:
        print(f"{shown(path)} is up to date")
        return
    if not arguments.dry_run:
        try:
            replace_file(path.resolve(), new)
        except OSError as error:
            raise InputError(f"{shown(path)}: cannot be written: {error.strerror}") from None
    print(f"{shown(path)} {'is left as it was (--dry-run)' if arguments.dry_run else 'changed'}")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def _discover(
    dut: tuple[str, Ssh | None],
    generator: tuple[str, Ssh | None] | None,
    *,
    netns: str,
    probe: bool,
    options: dict[str, str] | None = None,
    ports: list[str] | None = None,
) -> Discovery:
    """Look at the hosts; `ports` are the BDFs that the lab has already."""
    from pytest_vswitch.hosts.opening import open_address
    from pytest_vswitch.lab.address import SIM
    from pytest_vswitch.machine import discovery

    for address, _ in filter(None, (dut, generator)):
        if address == SIM:
            raise InputError("a simulated DUT has no hosts to look at")
    apart = generator is not None and generator[0] != dut[0]
    with contextlib.ExitStack() as stack:
        on_dut = stack.enter_context(open_address(*dut))
        on_generator: Host = on_dut
        if generator is not None and apart:
            on_generator = stack.enter_context(open_address(*generator))
        found = discovery.look(on_dut)
        beside = discovery.look(on_generator) if apart else None
        wires = None
        if probe:
            looked_at: list[tuple[tuple[str, Ssh | None], Host, Found]] = [(dut, on_dut, found)]
            if generator is not None and beside is not None and not netns:
                looked_at.append((generator, on_generator, beside))
            found, *others = stack.enter_context(_links_up(looked_at))
            beside = others[0] if others else beside
            wires = _probe((on_dut, found), (on_generator, beside or found), netns)
        return discovery.propose(
            dut[0],
            found,
            generator=generator[0] if generator and apart else "",
            beside=beside,
            netns=netns,
            wires=wires,
            ssh=options or {},
            ports=ports,
        )


@contextlib.contextmanager
def _links_up(
    hosts: Sequence[tuple[tuple[str, Ssh | None], Host, Found]],
) -> Iterator[list[Found]]:
    """What is found on hosts while those of their ports are up that are down otherwise."""
    from dataclasses import replace

    from pytest_vswitch.hosts.opening import open_address
    from pytest_vswitch.machine import discovery, nics, wiring
    from pytest_vswitch.results.run_directory import new_id

    down = [discovery.to_bring_up(found.nics) for _, _, found in hosts]
    run = new_id()
    with contextlib.ExitStack() as stack:
        for (address, _, _), names in zip(hosts, down, strict=True):
            if names:
                held = stack.enter_context(open_address(*address, run=run))
                stack.enter_context(wiring.up(held, names))
        for (_, host, _), names in zip(hosts, down, strict=True):
            wiring.wait_for_links(host, names)
        yield [
            replace(found, nics=nics.read(host)) if any(down) else found for _, host, found in hosts
        ]


def _probe(dut: tuple[Host, Found], generator: tuple[Host, Found], netns: str) -> Wires:
    """Send frames from what may be used and has a link."""
    from pytest_vswitch.machine import wiring
    from pytest_vswitch.machine.discovery import may_send

    near = wiring.End(dut[0], may_send(dut[1].nics))
    if netns:
        return wiring.find(
            near, wiring.End(generator[0], wiring.interfaces(generator[0], netns), netns)
        )
    if dut[0] is generator[0]:
        return wiring.find(near, None)
    return wiring.find(near, wiring.End(generator[0], may_send(generator[1].nics)))
