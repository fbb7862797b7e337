"""How a host is reached: a lab's `ssh:` section, then ~/.ssh/config, then defaults."""

from __future__ import annotations

import getpass
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.ssh.includes import text_of
from pytest_vswitch.lab.address import Address, address, secret

if TYPE_CHECKING:
    from pytest_vswitch.lab.remote import Ssh

PORT = 22
CONFIG = "~/.ssh/config"
KNOWN_HOSTS = "~/.ssh/known_hosts"
SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
GLOBAL_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
IDENTITIES = ("id_ed25519", "id_ecdsa", "id_rsa")
"""Keys in ~/.ssh that are tried when none is named."""
NONE = "none"
"""OpenSSH's word for: not even the default."""
SHELL_SIGNS = re.compile(r"[|&;<>$`\\*?]")


@dataclass(frozen=True)
class SshOptions:
    """How a host is reached, beyond what ~/.ssh/config says. Everything is optional."""

    config: str | None = None
    """Configuration file instead of ~/.ssh/config and /etc/ssh/ssh_config; `none`: neither."""
    identity: str | None = None
    """Private key file; no other key is offered then."""
    known_hosts: str | None = None
    """File of host keys, instead of those that the configuration names."""
    passphrase: str | None = field(default=None, repr=False)
    """Of private keys that are encrypted."""
    connect_timeout_s: float = 10
    """For each step of connecting: the address, the key exchange, the login [s]."""
    keepalive_s: float = 5
    """Silence after which the connection is probed; after three of them it is lost [s]."""


@dataclass(frozen=True)
class Settings:
    """Everything that is needed to reach one host."""

    address: str
    """As it was asked for; what errors call the host."""
    trust_command: str
    """The command that adds its key to the known hosts."""
    host: str
    """Name or IP address to connect to."""
    port: int
    username: str
    known_name: str
    """What known_hosts files call it: `host`, `[host]:port`, or its HostKeyAlias."""
    plain_name: str
    """The same without a port: a key that is known for it is accepted, too."""
    known_hosts: tuple[Path, ...]
    """The user's files; the first is the one that is written to."""
    global_known_hosts: tuple[Path, ...]
    hash_known_hosts: bool
    identities: tuple[Path, ...]
    """Private key files, in the order in which they are offered."""
    identities_named: bool
    """Whether the lab or the configuration names them: one that is missing is a fault."""
    identities_only: bool
    """Offer none of the agent's keys but these."""
    agent: str | None
    """Socket of the agent, if there is one."""
    jumps: tuple[str, ...]
    """Hosts to go through, first to last, each `[user@]name[:port]`."""
    proxy_command: tuple[str, ...]
    """Command whose standard input and output are the connection."""
    connect_timeout_s: float
    keepalive_s: float
    passphrase: str | None = field(repr=False)


def options_of(section: Ssh) -> SshOptions:
    """What a lab's `ssh` section says. Raises InputError for a variable that is not set."""
    return SshOptions(
        config=section.config,
        identity=section.identity,
        known_hosts=section.known_hosts,
        passphrase=secret(section.passphrase) if section.passphrase else None,
        connect_timeout_s=section.connect_timeout_s,
        keepalive_s=section.keepalive_s,
    )


def resolve(text: str, options: SshOptions) -> Settings:
    """What reaching `[user@]name[:port]` takes. Raises InputError."""
    where = address(text)
    found = _looked_up(where, options)
    host = found.get("hostname", where.name)
    port = where.port or _number(found, "port", PORT)
    username = where.user or found.get("user") or getpass.getuser()
    _check_words(text, host, username)
    alias = found.get("hostkeyalias")
    plain = (alias or host).lower()
    files = _words(found.get("identityfile_all"))
    named = bool(options.identity or files)
    if options.identity:
        files = [options.identity]
    elif not files:
        files = [f"~/.ssh/{name}" for name in IDENTITIES]
    known = options.known_hosts
    own_file = known is not None and known != KNOWN_HOSTS
    user_files = [known] if known and own_file else _words(found.get("userknownhostsfile"))
    global_files = _words(found.get("globalknownhostsfile")) or list(GLOBAL_KNOWN_HOSTS)
    command = found.get("proxycommand") or ""
    jumps = _jumps(found.get("proxyjump", ""))
    return Settings(
        address=text,
        trust_command=_trust_command(text, options),
        host=host,
        port=port,
        username=username,
        known_name=plain if alias or port == PORT else f"[{plain}]:{port}",
        plain_name=plain,
        known_hosts=_paths(user_files or [KNOWN_HOSTS, f"{KNOWN_HOSTS}2"]),
        global_known_hosts=() if own_file else _paths(global_files),
        hash_known_hosts=found.get("hashknownhosts", "no").lower() == "yes",
        identities=_paths(files),
        identities_named=named,
        identities_only=bool(options.identity)
        or found.get("identitiesonly", "no").lower() == "yes",
        agent=_agent(found.get("identityagent")),
        jumps=jumps,
        proxy_command=() if jumps else _command(command, host, port, username),
        connect_timeout_s=_timeout(found, options),
        keepalive_s=_keepalive(found, options),
        passphrase=options.passphrase,
    )


def _looked_up(where: Address, options: SshOptions) -> Mapping[str, str]:
    """What the configuration says of a host; keywords in lower case."""
    from paramiko.config import SSHConfig
    from paramiko.ssh_exception import ConfigParseError, CouldNotCanonicalize

    class Config(SSHConfig):
        def _tokenize(self, config: object, host: str, key: str, value: str) -> str:
            if key == "match-exec":
                raise InputError(
                    "the SSH configuration has `Match exec`, which is not supported: "
                    f"`{value}` is not run; write a `Host` block"
                )
            if key == "proxycommand":
                return value  # filled in later, word by word, with the port of the address
            return str(super()._tokenize(config, host, key, value))  # type: ignore[misc]

    text = _configuration(options.config)
    # `Match user` must see the user that the address names; ssh's command line wins likewise.
    text = (f"User {where.user}\n" if where.user else "") + text
    try:
        found = Config.from_text(text).lookup(where.name)
    except (ConfigParseError, CouldNotCanonicalize, ValueError, KeyError) as error:
        raise InputError(f"the SSH configuration is wrong: {error}") from None
    flat = {key: value for key, value in found.items() if isinstance(value, str)}
    flat["identityfile_all"] = shlex.join(found.get("identityfile", []))
    return flat


def _configuration(named: str | None) -> str:
    """The text that applies. A file that is named must exist; the defaults need not."""
    if named == NONE:
        return ""
    if named is not None and named != CONFIG:
        return text_of(Path(named).expanduser())
    texts = []
    for path in (Path(CONFIG).expanduser(), SYSTEM_CONFIG):
        if path.is_file():
            texts.append(text_of(path))
    return "\nHost *\n".join(texts)


def _trust_command(text: str, options: SshOptions) -> str:
    words = ["vswitch", "lab", "trust", text]
    if options.config not in (None, CONFIG):
        words += ["--config", str(options.config)]
    if options.known_hosts not in (None, KNOWN_HOSTS):
        words += ["--known-hosts", str(options.known_hosts)]
    return shlex.join(words)


def _check_words(text: str, host: str, username: str) -> None:
    """What a proxy command is handed must not look like an option, or like more than a word."""
    for word in (host, username):
        if not re.fullmatch(r"[^-\s\x00-\x1f\x7f'\"][^\s\x00-\x1f\x7f'\"]*", word):
            raise InputError(f"{text}: {word!r} in the SSH configuration is no host or user")


def _number(found: Mapping[str, str], key: str, default: int) -> int:
    value = found.get(key, str(default))
    if not value.isdecimal():
        raise InputError(f"the SSH configuration has `{key} {value}`: it must be a number")
    return int(value)


def _timeout(found: Mapping[str, str], options: SshOptions) -> float:
    """The lab's word first, unless it says the default; then the configuration's."""
    if options.connect_timeout_s != SshOptions.connect_timeout_s:
        return options.connect_timeout_s
    return float(_number(found, "connecttimeout", 0)) or options.connect_timeout_s


def _keepalive(found: Mapping[str, str], options: SshOptions) -> float:
    """The shorter one: a dead connection is to be noticed soon."""
    asked = _number(found, "serveraliveinterval", 0)
    return min(asked or options.keepalive_s, options.keepalive_s)


def _words(value: str | None) -> list[str]:
    try:
        return shlex.split(value or "")
    except ValueError as error:
        raise InputError(f"the SSH configuration is wrong: `{value}`: {error}") from None


def _paths(names: list[str]) -> tuple[Path, ...]:
    """Without `none`; `~`, %d (home) and %u (user) filled in."""
    home = os.path.expanduser("~")
    tokens = {"%d": home, "%u": getpass.getuser(), "%%": "%"}
    filled = [
        re.sub("%[du%]", lambda found: tokens[found[0]], name) for name in names if name != NONE
    ]
    return tuple(Path(name).expanduser() for name in filled)


def _agent(named: str | None) -> str | None:
    """IdentityAgent: a socket, `none`, `SSH_AUTH_SOCK`, or `$NAME` of a variable with it."""
    if named is None or named == "SSH_AUTH_SOCK":
        named = "$SSH_AUTH_SOCK"
    if named == NONE:
        return None
    if named.startswith("$"):
        return os.environ.get(named.strip("${}")) or None
    return str(_paths([named])[0])


def _jumps(value: str) -> tuple[str, ...]:
    if not value or value.lower() == NONE:
        return ()
    jumps = tuple(part.strip().removeprefix("ssh://") for part in value.split(","))
    for jump in jumps:
        address(jump)
    return jumps


def _command(line: str, host: str, port: int, username: str) -> tuple[str, ...]:
    """ProxyCommand as an argument list: no shell sees it."""
    if not line or line.lower() == NONE:
        return ()
    if SHELL_SIGNS.search(line):
        raise InputError(
            f"ProxyCommand `{line}` needs a shell, and none is used: put it into a script, "
            "and write `ProxyCommand /path/of/script %h %p`"
        )
    try:
        argv = shlex.split(line)
    except ValueError as error:
        raise InputError(f"ProxyCommand `{line}` cannot be split: {error}") from None
    tokens = {"%h": host, "%p": str(port), "%r": username, "%%": "%"}
    words = [re.sub("%[hpr%]", lambda found: tokens[found[0]], word) for word in argv]
    return tuple(words[1:] if words[:1] == ["exec"] else words)
