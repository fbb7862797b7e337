"""`vswitch doctor`: what killed runs left on a DUT."""

from __future__ import annotations

import argparse

from pytest_vswitch.cli.command import Commands, command


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    doctor = command(
        commands,
        "doctor",
        "show, or clean up, what killed runs left on a lab's DUT",
        "Shows the processes and changes that runs left on the DUT when they were killed or\n"
        "the machine went down. --clean ends those processes and undoes those changes. Runs\n"
        "that are alive are shown and never touched.",
        "vswitch doctor local --clean",
    )
    doctor.add_argument("lab", metavar="LAB", help="a lab's name, or the path of its file")
    doctor.add_argument("--clean", action="store_true", help="end and undo what is left")
    doctor.add_argument("--json", action="store_true", help="print one JSON object instead")
    doctor.set_defaults(command=_doctor)


def _doctor(arguments: argparse.Namespace) -> None:
    import json

    from pytest_vswitch.hosts import leftovers
    from pytest_vswitch.lab.loader import load

    # A simulated DUT starts nothing and changes nothing: there is nothing to look for.
    simulated = load(arguments.lab).dut.host == "sim"
    alive = [] if simulated else leftovers.owners(leftovers.STATE)
    left = [] if simulated else leftovers.find(leftovers.STATE)
    if not arguments.json:
        for owner in alive:
            print(f"run {owner.run} is alive: pid {owner.pid} since {owner.since}: {owner.command}")
        for leftover in left:
            print(f"run {leftover.run} is dead and left:")
            for pid, program in leftover.processes:
                print(f"  process {program} ({pid})")
            for change in leftover.changes:
                print(f"  change {change}")
            print(f"  directory {leftover.directory}")
    if arguments.clean:
        for leftover in left:
            leftovers.clean(leftover)
    if arguments.json:
        found = [
            {
                "run": leftover.run,
                "processes": [{"pid": pid, "program": name} for pid, name in leftover.processes],
                "changes": [str(change) for change in leftover.changes],
                "directory": str(leftover.directory),
            }
            for leftover in left
        ]
        runs = [owner.run for owner in alive]
        print(json.dumps({"alive": runs, "leftovers": found, "cleaned": arguments.clean}))
    elif not left:
        print("nothing is left of earlier runs")
    else:
        lab = arguments.lab
        print("cleaned" if arguments.clean else f"`vswitch doctor {lab} --clean` removes it")
