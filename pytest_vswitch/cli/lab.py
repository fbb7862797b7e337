"""`vswitch lab`: what a lab file says, which labs there are; the other actions' place."""

from __future__ import annotations

import argparse
import sys

from pytest_vswitch.cli import lab_check, lab_init, lab_schema, lab_status, lab_trust, lab_up
from pytest_vswitch.cli.command import Commands, command, painted


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    lab = commands.add_parser("lab", help="labs: make, check, reserve, show; the virtual lab")
    actions = lab.add_subparsers(title="actions", metavar="ACTION", required=True)
    show = command(
        actions,
        "show",
        "print a lab with every default filled in",
        "Reads and checks a lab file, as a test run does, and prints it as YAML with every\n"
        "default filled in. Nothing on any host is touched.",
        "vswitch lab show local\n  vswitch lab show ./lab1.yaml",
    )
    show.add_argument("lab", metavar="LAB", help="a lab's name, or the path of its file")
    show.set_defaults(command=_lab_show)
    listing = command(
        actions,
        "list",
        "list the labs that `--dut NAME` finds",
        "Lists the labs in `labs/` of the current directory and those that come with the\n"
        "plugin. A lab file that is wrong is listed with what is wrong.",
        "vswitch lab list",
    )
    listing.set_defaults(command=_lab_list)
    for module in (lab_init, lab_check, lab_trust, lab_status, lab_up, lab_schema):
        module.add(actions)


def _lab_show(arguments: argparse.Namespace) -> None:
    from pytest_vswitch.lab.loader import as_yaml, load
    from pytest_vswitch.lab.schema import shown

    lab = load(arguments.lab)
    print(f"# lab `{lab.name}`, from {shown(lab.path) if lab.path else 'code'}")
    print(as_yaml(lab), end="")


def _lab_list(arguments: argparse.Namespace) -> None:
    from pytest_vswitch.errors import InputError
    from pytest_vswitch.lab.loader import known, load, search_path
    from pytest_vswitch.lab.schema import shown

    labs = known(search_path())
    for name, path in sorted(labs.items()):
        try:
            what = load(str(path.absolute())).description
        except InputError as error:
            what = f"{painted('error:', '31', sys.stdout)} {str(error).splitlines()[0]}"
        print(f"{name:<12}  {shown(path)}  {what}".rstrip())
