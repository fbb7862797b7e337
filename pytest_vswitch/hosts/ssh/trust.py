"""Adding a host's key to the known hosts: the only place where one is written."""

from __future__ import annotations

from pathlib import Path

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts.ssh import known_hosts
from pytest_vswitch.hosts.ssh.host_keys import ChangedHostKey, RevokedHostKey, UntrustedHost


def check_fingerprint(untrusted: UntrustedHost, expected: list[str]) -> None:
    """Raise HostError unless the host showed one of the keys that are expected."""
    for fingerprint in expected:
        if not fingerprint.startswith("SHA256:"):
            raise InputError(
                f"{fingerprint} is no fingerprint: it starts with SHA256:, as "
                "`ssh-keygen -lf FILE` prints it"
            )
    if untrusted.key.fingerprint not in {text.rstrip("=") for text in expected}:
        raise HostError(
            f"{untrusted.settings.address} shows another key than you expect; nothing was "
            f"written\nexpected: {', '.join(expected)}\nshown: {untrusted.key}"
        )


def check_replace(untrusted: UntrustedHost, *, replace: bool) -> None:
    """Raise what stands against writing the key: UntrustedHost itself, or InputError."""
    settings = untrusted.settings
    if isinstance(untrusted, RevokedHostKey):
        raise untrusted
    if not settings.known_hosts:
        raise InputError(
            f"{settings.address}: the configuration says `UserKnownHostsFile none`: there is no "
            "file to write its key to"
        )
    if isinstance(untrusted, ChangedHostKey):
        if not replace:
            raise untrusted
        for entry in untrusted.known:
            if entry.path in settings.global_known_hosts:
                raise InputError(
                    f"{entry.place} is for every user of this machine: change that line by hand"
                )


def trust(untrusted: UntrustedHost, *, replace: bool) -> Path:
    """Write the key that was shown to the known hosts; returns the file.

    A key that changed takes the place of the old ones, with `replace` only; a revoked key is
    never written. Raises as `check_replace`, and HostError where the file cannot be written.
    """
    check_replace(untrusted, replace=replace)
    settings = untrusted.settings
    if isinstance(untrusted, ChangedHostKey):
        for path in {entry.path for entry in untrusted.known}:
            known_hosts.remove(path, settings.known_name)
    path = settings.known_hosts[0]
    known_hosts.add(path, settings.known_name, untrusted.key, hashed=settings.hash_known_hosts)
    return path
