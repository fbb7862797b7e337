"""Logging in: the agent's keys and key files, in OpenSSH's order; nothing is ever asked."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.agent import AgentKey, AgentSSH

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.ssh.configuration import Settings
from pytest_vswitch.hosts.ssh.keys import KeyFault, load, public_blob

AGENT_S = 10.0
"""How long the agent may take to answer: it may ask its user to touch a token [s]."""


@dataclass(frozen=True)
class Offer:
    """A key that the host is offered."""

    key: paramiko.PKey
    name: str
    """What errors call it."""


class _Agent(AgentSSH):
    """The agent behind a socket: paramiko's own looks at SSH_AUTH_SOCK only."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connect(connection)  # type: ignore[attr-defined]  # no public way to name it


def log_in(transport: paramiko.Transport, settings: Settings) -> None:
    """Raises HostError that says which keys were offered, and which could not be."""
    faults: list[str] = []
    offered: list[str] = []
    with contextlib.ExitStack() as stack:
        for offer in _offers(settings, faults, stack):
            offered.append(offer.name)
            try:
                missing = transport.auth_publickey(settings.username, offer.key)
            except paramiko.BadAuthenticationType as error:
                allowed = ", ".join(error.allowed_types)
                raise HostError(
                    f"{settings.address} takes no keys for the user `{settings.username}`; it "
                    f"would take {allowed}, which is not supported: put a public key into its "
                    "authorized_keys"
                ) from None
            except (paramiko.SSHException, EOFError, OSError) as error:
                if transport.is_active() and isinstance(error, paramiko.AuthenticationException):
                    if "timeout" in str(error).lower():
                        raise HostError(
                            f"{settings.address} did not answer a login as "
                            f"`{settings.username}` within {transport.auth_timeout:g} s"
                        ) from None
                    continue
                if transport.is_active():
                    faults.append(f"{offer.name} could not sign")
                    continue
                raise HostError(_gave_up(settings, offered, faults)) from None
            if not missing:
                return
            raise HostError(
                f"{settings.address} wants more than a key from the user "
                f"`{settings.username}`: {', '.join(missing)}, which is not supported"
            )
    raise HostError(_refused(settings, offered, faults))


def _offers(settings: Settings, faults: list[str], stack: contextlib.ExitStack) -> Iterator[Offer]:
    """The agent's keys that are named, its others, then the files; faults are collected."""
    held = {key.blob: key for key in _agent_keys(settings, faults, stack)}
    files = [(path, public_blob(path)) for path in settings.identities]
    named = {blob for _, blob in files if blob}
    for path, blob in files:
        if blob in held:
            yield Offer(held[blob], f"{path} (agent)")
    if not settings.identities_only:
        for blob, key in held.items():
            if blob not in named:
                yield Offer(key, f"the agent's {key.comment or key.get_name()}")
    for path, blob in files:
        if blob in held or not (settings.identities_named or path.exists()):
            continue
        try:
            loaded = load(path, settings.passphrase)
        except KeyFault as fault:
            faults.append(f"{path} {fault}")
            continue
        certificate = Path(f"{path}-cert.pub")
        if certificate.exists():
            with_certificate = load(path, settings.passphrase)
            with_certificate.load_certificate(str(certificate))
            yield Offer(with_certificate, f"{certificate}")
        yield Offer(loaded, f"{path}")


def _agent_keys(
    settings: Settings, faults: list[str], stack: contextlib.ExitStack
) -> tuple[AgentKey, ...]:
    if not settings.agent:
        return ()
    connection = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    connection.settimeout(AGENT_S)
    try:
        connection.connect(settings.agent)
        return _Agent(connection).get_keys()
    except (OSError, paramiko.SSHException):
        faults.append(f"the agent at {settings.agent} does not answer")
        return ()


def _gave_up(settings: Settings, offered: list[str], faults: list[str]) -> str:
    return _with_faults(
        f"{settings.address} ended the connection after {len(offered)} keys; name the right one "
        "with `ssh.identity` in the lab, or IdentityFile and IdentitiesOnly in ~/.ssh/config",
        offered,
        faults,
    )


def _refused(settings: Settings, offered: list[str], faults: list[str]) -> str:
    who = f"{settings.address} as `{settings.username}`"
    if offered:
        text = f"cannot log in to {who}: every key was refused"
    elif faults:
        text = f"cannot log in to {who}: there is no key that can be used"
    else:
        text = (
            f"cannot log in to {who}: there is no key; make one (`ssh-keygen -t ed25519`) and "
            f"put it on the host (`ssh-copy-id`)"
        )
    return _with_faults(text, offered, faults)


def _with_faults(text: str, offered: list[str], faults: list[str]) -> str:
    lines = [text, *(f"refused: {name}" for name in offered), *faults]
    return "\n".join(lines)
