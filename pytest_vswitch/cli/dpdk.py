"""`vswitch dpdk`: DPDK versions beside the distribution's."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_vswitch.cli.command import Commands, command
from pytest_vswitch.errors import InputError

if TYPE_CHECKING:
    from pytest_vswitch.hosts.open_host import OpenHost


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    dpdk = command(
        commands,
        "dpdk",
        "add, list and remove DPDK versions to compare",
        "DPDK versions beside the distribution's. What is added can be measured at once, by its\n"
        "release's name or by its version: `pytest suites/pvp --dut local --dpdk 24.11`.",
        "vswitch dpdk add trixie\n  vswitch dpdk list",
    )
    actions = dpdk.add_subparsers(title="actions", metavar="ACTION", required=True)
    adding = command(
        actions,
        "add",
        "unpack the DPDK of a Debian release",
        "Unpacks the DPDK of a Debian release (bullseye 20.11, bookworm 22.11, trixie 24.11,\n"
        "forky, sid) into the DUT's cache, with mmdebstrap, from where the DUT gets its packages;\n"
        "about a minute and 350 MB. Nothing is installed; what is interrupted leaves nothing.",
        "vswitch dpdk add trixie",
    )
    adding.add_argument("suite", metavar="RELEASE", help="e.g. `bullseye` or `trixie`")
    adding.add_argument(
        "--qemu", action="store_true", help="its QEMU, too, for `--qemu RELEASE` (some 400 MB more)"
    )
    adding.set_defaults(command=_add)
    listing = command(
        actions,
        "list",
        "show which DPDKs there are, with versions and sizes",
        "Shows the distribution's DPDK, those that the lab names, and those that were added.",
        "vswitch dpdk list --dut lab1",
    )
    listing.add_argument("--json", action="store_true", help="print one JSON object instead")
    listing.set_defaults(command=_list)
    removing = command(
        actions,
        "remove",
        "remove a DPDK that was added",
        "Removes a DPDK that `vswitch dpdk add` brought, with its QEMU.",
        "vswitch dpdk remove trixie",
    )
    removing.add_argument("name", metavar="NAME", help="as `vswitch dpdk list` shows it")
    removing.set_defaults(command=_remove)
    for action in (adding, listing, removing):
        action.add_argument(
            "--dut", metavar="LAB", default="local", help="on whose DUT (default: local)"
        )


def _add(arguments: argparse.Namespace) -> None:
    from pytest_vswitch.apps import dpdk, dpdk_trees, qemu_versions

    with _host(arguments.dut) as host:

        def look(root: str) -> tuple[str, str]:
            found = dpdk.of_tree(host, arguments.suite, root, whole=True)
            if not arguments.qemu:
                return found.version, ""
            return found.version, qemu_versions.version(host, qemu_versions.command(host, root))

        def tell(text: str) -> None:
            print(text, file=sys.stderr, flush=True)

        made = dpdk_trees.add(host, arguments.suite, look, qemu=arguments.qemu, tell=tell)
        size_mb = dpdk_trees.size_mb(host, made.root)
        print(f"{made.name}: DPDK {made.version}, {size_mb} MB in {made.root}")
        print(f"  pytest suites/pvp --dut {arguments.dut} --dpdk system --dpdk {made.name}")
        if made.qemu:
            print(f"  QEMU {made.qemu}: --qemu {made.name}")


def _list(arguments: argparse.Namespace) -> None:
    import json

    from pytest_vswitch.apps import dpdk, dpdk_trees
    from pytest_vswitch.errors import VswitchError
    from pytest_vswitch.lab.dpdk import SYSTEM
    from pytest_vswitch.lab.loader import load

    lab = load(arguments.dut)
    rows: list[dict[str, object]] = []
    with _host(arguments.dut) as host:
        version = ""
        if host.which(lab.dut.testpmd):
            version = dpdk.ask_version(host, (lab.dut.testpmd,))
        rows.append({"name": SYSTEM, "dpdk": version, "where": lab.dut.testpmd})
        for name, given in lab.dpdk.items():
            if given.build or given.image:  # made when it is first measured
                rows.append({"name": name, "dpdk": "", "where": given.image or given.revision})
                continue
            row: dict[str, object] = {"name": name, "where": given.prefix or given.rootfs}
            try:
                row["dpdk"] = dpdk.resolve(lab, host, name).version
            except VswitchError as error:
                row["fault"] = str(error)
            rows.append(row)
        for one in dpdk_trees.added(host):
            size_mb = dpdk_trees.size_mb(host, one.root)
            rows.append(
                {
                    "name": one.name,
                    "dpdk": one.version,
                    "qemu": one.qemu,
                    "where": one.root,
                    "size_mb": size_mb,
                }
            )
    if arguments.json:
        print(json.dumps({"host": host.name, "dpdks": rows}))
        return
    for row in rows:
        told = row.get("fault") or "  ".join(
            filter(
                None,
                (
                    f"DPDK {row['dpdk'] or '-'}",
                    f"QEMU {row['qemu']}" if row.get("qemu") else "",
                    f"{row['size_mb']} MB" if row.get("size_mb") else "",
                    str(row["where"]),
                ),
            )
        )
        print(f"{row['name']:<10} {told}")


def _remove(arguments: argparse.Namespace) -> None:
    from pytest_vswitch.apps import dpdk_trees

    with _host(arguments.dut) as host:
        dpdk_trees.remove(host, arguments.name)
        print(f"{host.name}: removed {arguments.name}")


@contextlib.contextmanager
def _host(name: str) -> Iterator[OpenHost]:
    from pytest_vswitch.hosts.opening import open_host
    from pytest_vswitch.lab.address import SIM
    from pytest_vswitch.lab.loader import load

    lab = load(name)
    if lab.dut.host == SIM:
        raise InputError(f"lab `{lab.name}` is simulated: it runs no DPDK")
    with open_host(lab) as host:
        yield host
