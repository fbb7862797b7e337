"""Where a host is (`[user@]name[:port]`), and secrets by reference (`${NAME}`)."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass

from pytest_vswitch.errors import InputError

LOCAL = "local"
"""This machine."""
SIM = "sim"
"""A simulated DUT."""

FORM = "`[user@]name[:port]`, e.g. `root@dut1` or `dut1:2222`"

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?"
_USER = r"[A-Za-z0-9_][A-Za-z0-9_.+\\@-]{0,63}"
PATTERN = rf"(?:{_USER}@)?(?:{_NAME}|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\])(?::[0-9]{{1,5}})?"
"""What an address looks like; `address` knows more, such as the range of a port."""
REFERENCE = r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"
"""What a reference to a secret looks like."""


@dataclass(frozen=True, slots=True)
class Address:
    """A host that is reached over SSH; what is not given is looked up in ~/.ssh/config."""

    name: str
    """Host name, IPv4 or IPv6 address (without brackets), or an alias of ~/.ssh/config."""
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        name = f"[{self.name}]" if ":" in self.name else self.name
        return f"{user}{name}{f':{self.port}' if self.port else ''}"


def is_remote(host: str) -> bool:
    """Whether a lab's `host` is reached over SSH."""
    return host not in (LOCAL, SIM)


def address(text: str) -> Address:
    """The host in `[user@]name[:port]`. Raises InputError, which never repeats a password."""
    user, at, place = text.rpartition("@")
    if ":" in user:
        raise InputError(
            f"a password does not belong in an address; write {FORM}, and use a key or the agent"
        )
    if place.count(":") > 1 and not place.startswith("["):
        raise InputError(f"an IPv6 address is written in brackets, e.g. `{user}{at}[::1]`")
    if "${" in text or not re.fullmatch(PATTERN, text):
        raise InputError(f"{text!r} is not a host: write {FORM}")
    name, _, number = place.rpartition(":")
    if not name or place.endswith("]"):
        name, number = place, ""
    if number and not 0 < int(number) < 65536:
        raise InputError(f"{text!r} is not a host: its port must be 1 to 65535")
    if name.startswith("["):
        name = name[1:-1]
        try:
            ipaddress.IPv6Address(name)
        except ValueError:
            raise InputError(f"{text!r} is not a host: `{name}` is no IPv6 address") from None
    return Address(name, user or None, int(number) if number else None)


def secret(reference: str) -> str:
    """The value of the environment variable that `${NAME}` refers to.

    Ask late, and keep it nowhere. Raises InputError naming the variable when it is not set.
    """
    name = reference[2:-1]
    value = os.environ.get(name, "")
    if not value:
        raise InputError(
            f"the environment variable {name}, which the lab refers to as {reference}, is not "
            f"set: `read -rs {name} && export {name}`"
        )
    return value
