"""`vswitch lab trust`: the one way in which a host's key becomes a known one."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from pytest_vswitch.cli.command import Commands, command

if TYPE_CHECKING:
    from pytest_vswitch.hosts.ssh.configuration import SshOptions
    from pytest_vswitch.hosts.ssh.host_keys import UntrustedHost


def add(actions: Commands[argparse.ArgumentParser]) -> None:
    trust = command(
        actions,
        "trust",
        "add the SSH key of a host, or of a lab's hosts, to the known hosts",
        "Shows the key that a host identifies itself with, asks, and adds it to the known\n"
        "hosts. Compare it with the host's own, on its console:\n\n"
        "  ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub\n\n"
        "Without a terminal --fingerprint or --yes answers. Jump hosts come first. Nothing is\n"
        "done on any host.",
        "vswitch lab trust root@dut1\n"
        "  vswitch lab trust lab1 --fingerprint SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU",
    )
    trust.add_argument(
        "target", metavar="HOST|LAB", help="[user@]name[:port], or a lab's name or file"
    )
    trust.add_argument(
        "--fingerprint",
        metavar="SHA256:...",
        action="append",
        default=[],
        help="trust a key only if it has this fingerprint; once for each host",
    )
    trust.add_argument("--yes", action="store_true", help="trust whatever key is shown")
    trust.add_argument(
        "--replace", action="store_true", help="let a changed key take the place of the old one"
    )
    trust.add_argument("--config", metavar="FILE", help="instead of ~/.ssh/config")
    trust.add_argument("--known-hosts", metavar="FILE", help="instead of ~/.ssh/known_hosts")
    trust.add_argument("--identity", metavar="FILE", help="private key, to log in at jump hosts")
    trust.set_defaults(command=_lab_trust)


def _lab_trust(arguments: argparse.Namespace) -> None:
    for address, options in _hosts(arguments).items():
        _trust(address, options, arguments)


def _trust(address: str, options: SshOptions, arguments: argparse.Namespace) -> None:
    from pytest_vswitch.errors import HostError
    from pytest_vswitch.hosts.ssh.library import require

    require(address)
    from pytest_vswitch.hosts.ssh.host_keys import UntrustedHost
    from pytest_vswitch.hosts.ssh.route import MOST_JUMPS, shown_key
    from pytest_vswitch.hosts.ssh.trust import check_replace, trust

    for _ in range(MOST_JUMPS + 2):
        try:
            key = shown_key(address, options)
        except UntrustedHost as untrusted:  # of the host, or of a jump host on the way to it
            check_replace(untrusted, replace=arguments.replace)
            _ask(untrusted, arguments)
            path = trust(untrusted, replace=arguments.replace)
            print(f"{untrusted.settings.address}: {untrusted.key} was added to {path}")
        else:
            print(f"{address}: {key} is trusted")
            return
    raise HostError(f"{address} shows another key each time: several machines share that name")


def _hosts(arguments: argparse.Namespace) -> dict[str, SshOptions]:
    """The host that is named, or the hosts of the lab that is; each with how it is reached."""
    from dataclasses import replace

    from pytest_vswitch.errors import InputError
    from pytest_vswitch.hosts.ssh.configuration import SshOptions, options_of
    from pytest_vswitch.lab.loader import known, load, search_path

    target = arguments.target
    if not ("/" in target or target.endswith((".yaml", ".yml")) or target in known(search_path())):
        return {target: SshOptions(arguments.config, arguments.identity, arguments.known_hosts)}
    lab = load(target)
    given = {
        name: value
        for name in ("config", "identity", "known_hosts")
        if (value := getattr(arguments, name)) is not None
    }
    sections = [section for section in (lab.dut, lab.generator, lab.target) if section]
    hosts = {
        section.host: replace(options_of(section.ssh), **given)
        for section in sections
        if section.host and section.ssh
    }
    if not hosts:
        raise InputError(f"lab `{lab.name}` has no host that is reached over SSH")
    return hosts


def _ask(untrusted: UntrustedHost, arguments: argparse.Namespace) -> None:
    """Raises an error unless the user, or an option, agrees to the key."""
    from pytest_vswitch.errors import HostError, InputError
    from pytest_vswitch.hosts.ssh.host_keys import ChangedHostKey
    from pytest_vswitch.hosts.ssh.trust import check_fingerprint

    address, key = untrusted.settings.address, untrusted.key
    if isinstance(untrusted, ChangedHostKey):
        for entry in untrusted.known:
            print(f"{address} was known by {entry.key} ({entry.place})")
    print(f"{address} shows {key}", flush=True)
    if arguments.fingerprint:
        check_fingerprint(untrusted, arguments.fingerprint)
    elif arguments.yes:
        return
    elif not sys.stdin.isatty():
        raise InputError(
            "there is no terminal to ask on: compare the key with the host's own, then add "
            f"`--fingerprint {key.fingerprint}`"
        )
    elif input("Is that the host's own key? [yes/no] ").strip().lower() != "yes":
        raise HostError(f"the key of {address} was not added")
