"""How a host is reached over SSH; secrets are held by reference only."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from pytest_vswitch.errors import InputError
from pytest_vswitch.lab import address
from pytest_vswitch.lab.section import Section, wrong


def _host(text: str) -> str:
    if text in (address.LOCAL, address.SIM):
        return text
    try:
        address.address(text)
    except InputError as error:
        raise wrong(f"{error}, or `{address.LOCAL}`") from None
    return text


def _beside_the_lab(text: str, info: ValidationInfo) -> str:
    """A relative path is relative to the lab file; `~` belongs to whoever runs, so it stays."""
    if not re.fullmatch(r"[^\x00-\x1f\x7f]+", text) or "${" in text:
        raise wrong("must be a path; `${NAME}` is for secrets only")
    if info.field_name == "config" and text == "none":
        return text  # OpenSSH's word for: not even the default
    folder = (info.context or {}).get("folder")
    if folder is None or text.startswith("~"):
        return text
    return os.path.normpath(Path(folder).absolute() / text)


def _reference(value: object) -> object:
    """Refuses a secret without repeating it."""
    if not isinstance(value, str) or not re.fullmatch(address.REFERENCE, value):
        raise wrong(
            "a secret does not belong in a lab file: put it into an environment variable and "
            "write that variable's name here, e.g. `${DUT_SECRET}`"
        )
    return value


HostName = Annotated[
    str,
    AfterValidator(_host),
    WithJsonSchema({"type": "string", "pattern": f"^{address.PATTERN}$"}),
]
"""`local`, `sim`, or `[user@]name[:port]` for `address.address`."""
ControllerPath = Annotated[str, AfterValidator(_beside_the_lab)]
"""A path on the machine that runs the tests; `~` is not expanded yet."""
Secret = Annotated[
    str,
    BeforeValidator(_reference),
    WithJsonSchema({"type": "string", "pattern": f"^{address.REFERENCE}$"}),
]
"""A reference such as `${DUT_SECRET}`; `address.secret` gives its value."""
Seconds = Annotated[float, Field(gt=0, le=3600)]


class Ssh(Section):
    """How a host is reached over SSH, beyond what ~/.ssh/config says."""

    config: ControllerPath | None = None
    """OpenSSH configuration: aliases, users, ports, ProxyJump; default: ~/.ssh/config, if any."""
    identity: ControllerPath | None = None
    """Private key file; default: the agent's keys, then those of the configuration."""
    known_hosts: ControllerPath | None = None
    """Host keys to trust; default: ~/.ssh/known_hosts, to which `vswitch lab trust` adds."""
    passphrase: Secret | None = None
    """Of the private key, as a reference `${NAME}` to an environment variable."""
    sudo: Literal["auto", "never"] = "auto"
    """`auto`: become root by sudo where the user is not root; `never`: run as the user."""
    sudo_password: Secret | None = None
    """Password for sudo, as a reference `${NAME}`; default: sudo must not ask for one."""
    connect_timeout_s: Seconds = 10.0
    """How long connecting and logging in may take [s]."""
    keepalive_s: Seconds = 5.0
    """Silence after which the connection is probed, so that a dead one is noticed [s]."""
    reconnect_s: Seconds = 60.0
    """How long programs run on, and changes stay, after a lost connection [s]."""


def _only_over_ssh(ssh: Ssh | None, info: ValidationInfo) -> Ssh | None:
    if ssh is None or "host" not in info.data:
        return ssh
    if (host := info.data["host"]) is None:
        raise wrong("without `host` the generator is on the DUT: see `dut.ssh`")
    if not address.is_remote(host):
        raise wrong(f"`host: {host}` is not reached over SSH; take `ssh` out")
    return ssh


SshSection = Annotated[Ssh | None, AfterValidator(_only_over_ssh)]


class Reached(Section):
    """A section with a `host` and, where that is not this machine, an `ssh` section."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_ssh(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or data.get("ssh") is not None:
            return data
        host = data.get("host")
        remote = isinstance(host, str) and address.is_remote(host)
        return {**data, "ssh": {}} if remote else data
