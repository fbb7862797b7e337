"""Whether a host's key is the one that is trusted: strict, whatever the configuration says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.ssh.configuration import Settings
from pytest_vswitch.hosts.ssh.known_hosts import AUTHORITY, REVOKED, Entry, HostKey, read

ALGORITHMS = {
    "ssh-ed25519": ["ssh-ed25519"],
    "ecdsa-sha2-nistp256": ["ecdsa-sha2-nistp256"],
    "ecdsa-sha2-nistp384": ["ecdsa-sha2-nistp384"],
    "ecdsa-sha2-nistp521": ["ecdsa-sha2-nistp521"],
    "ssh-rsa": ["rsa-sha2-512", "rsa-sha2-256"],
}
"""Signature algorithms by kind of key, the preferred kind first; none with SHA-1."""


class UntrustedHost(HostError):
    """A host showed a key that is not known; nothing was told to it yet."""

    def __init__(self, message: str, settings: Settings, key: HostKey) -> None:
        super().__init__(message)
        self.settings = settings
        """The host's: a jump host's where the way ended there."""
        self.key = key


class ChangedHostKey(UntrustedHost):
    """A host showed another key than the one that is known."""

    def __init__(
        self, message: str, settings: Settings, key: HostKey, known: Sequence[Entry]
    ) -> None:
        super().__init__(message, settings, key)
        self.known = tuple(known)
        """What is written of it, with files and lines."""


class RevokedHostKey(UntrustedHost):
    """A host showed a key that a known_hosts file revokes: it can never be trusted."""


@dataclass(frozen=True)
class Known:
    """What the known_hosts files say of a host."""

    trusted: tuple[Entry, ...]
    revoked: tuple[Entry, ...]
    authorities: tuple[Entry, ...]
    """Certificate authorities: not supported, and named where that matters."""

    @property
    def algorithms(self) -> list[str]:
        """Those of known keys first: who is known by one kind is not to show another."""
        known = [kind for kind in ALGORITHMS if any(e.key.kind == kind for e in self.trusted)]
        return [name for kind in [*known, *ALGORITHMS] for name in ALGORITHMS[kind]]


def known(settings: Settings) -> Known:
    """Read the user's and the global files. Raises InputError."""
    files = (*settings.known_hosts, *settings.global_known_hosts)
    entries = [entry for path in files for entry in read(path)]
    about = [entry for entry in entries if entry.matches(settings.known_name)]
    plain = [entry for entry in entries if entry.matches(settings.plain_name)]
    trusted = [entry for entry in about if not entry.marker]
    return Known(
        # As in OpenSSH: a host that is not known at this port is looked up without it.
        tuple(trusted or (entry for entry in plain if not entry.marker)),
        tuple(entry for entry in {*about, *plain} if entry.marker == REVOKED),
        tuple(entry for entry in about if entry.marker == AUTHORITY),
    )


def check(settings: Settings, key: HostKey) -> None:
    """Raise UntrustedHost unless `key` is known for the host."""
    found = known(settings)
    revoked = [entry for entry in found.revoked if entry.key.blob == key.blob]
    if revoked:
        raise RevokedHostKey(
            f"{settings.address} shows a host key that is revoked: {key} ({revoked[0].place}); "
            "nobody who knows that key's secret is to be talked to",
            settings,
            key,
        )
    if any(entry.key.blob == key.blob for entry in found.trusted):
        return
    changed = [entry for entry in found.trusted if entry.matches(settings.known_name)]
    if changed:
        raise ChangedHostKey(_changed(settings, key, changed), settings, key, changed)
    authority = (
        f"\n{found.authorities[0].place} trusts it by certificate (@cert-authority), which is "
        "not supported"
        if found.authorities
        else ""
    )
    raise UntrustedHost(
        f"the host key of {settings.address} is not known: {key}\n"
        f"compare it with the host's own (on its console: `ssh-keygen -lf {_file(key)}`), then "
        f"`{settings.trust_command}`{authority}",
        settings,
        key,
    )


def _changed(settings: Settings, key: HostKey, known: Sequence[Entry]) -> str:
    lines = [f"the host key of {settings.address} has changed; the connection was ended"]
    lines += [f"known: {entry.key}  {entry.place}" for entry in known]
    lines += [
        f"shown: {key}",
        "either the host was installed anew, or something between you and it pretends to be it",
        f"compare the key that was shown with the host's own (on its console: "
        f"`ssh-keygen -lf {_file(key)}`), then `{settings.trust_command} --replace`",
    ]
    return "\n".join(lines)


def _file(key: HostKey) -> str:
    return f"/etc/ssh/ssh_host_{key.short_kind.lower()}_key.pub"
