"""Opening a host, wherever it is: this machine, or another over SSH."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest_vswitch
from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts import bootstrap
from pytest_vswitch.hosts.link import BEGIN_S, Link, Stream, begin
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.open_host import OpenHost
from pytest_vswitch.hosts.remote import RemoteEngine
from pytest_vswitch.hosts.ssh.configuration import options_of
from pytest_vswitch.hosts.ssh.connection import Connection, connect
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.hosts.wire import Unpacker
from pytest_vswitch.lab.address import LOCAL, secret

if TYPE_CHECKING:
    from pytest_vswitch.lab.remote import Ssh
    from pytest_vswitch.lab.schema import Lab

LOOK = "look"
"""The run of one who only looks: it holds nothing and changes nothing."""


ROLES = ("dut", "generator", "target")


def roles(lab: Lab) -> dict[str, str]:
    """The lab's hosts: of each, the first role that it has, e.g. `{"root@dut1": "dut"}`."""
    found: dict[str, str] = {}
    for role in ROLES:
        section = getattr(lab, role)
        if section is not None and section.host:
            found.setdefault(section.host, role)
    return found


@contextlib.contextmanager
def open_host(
    lab: Lab,
    role: str = "dut",
    *,
    run: str = LOOK,
    transcript: Transcript | None = None,
    wait_s: float = 0.0,
    tell: Callable[[str], None] = lambda text: None,
) -> Iterator[OpenHost]:
    """The host of a lab's `dut`, `generator` or `target`; see `open_address`."""
    section = getattr(lab, role)
    host = section.host or lab.dut.host
    ssh = section.ssh if section.host else lab.dut.ssh
    with open_address(
        host, ssh, run=run, transcript=transcript, wait_s=wait_s, tell=tell
    ) as opened:
        yield opened


@contextlib.contextmanager
def open_address(
    address: str,
    ssh: Ssh | None = None,
    *,
    run: str = LOOK,
    transcript: Transcript | None = None,
    wait_s: float = 0.0,
    tell: Callable[[str], None] = lambda text: None,
) -> Iterator[OpenHost]:
    """The host at `local` or `[user@]name[:port]`, reached as `ssh` says.

    With a `run` it is held for that run, queueing up to `wait_s` for it, and put in order
    at the end; without, it can be looked at only. Raises InputError and HostError.
    """
    log = transcript or Transcript(None)
    with contextlib.ExitStack() as stack:
        if address == LOCAL:
            host: OpenHost = LocalHost(run, log)
        else:
            host = stack.enter_context(_over_ssh(address, ssh, run, log))
        host.wait_s, host.tell = wait_s, tell
        if run != LOOK:
            stack.enter_context(host)
        yield host


class RemoteHost(OpenHost):
    """A host behind an agent."""

    def __init__(self, name: str, engine: RemoteEngine, run: str, transcript: Transcript) -> None:
        super().__init__(name, engine, run, transcript)
        self._python = engine.python
        self._package = ""

    def python(self, module: str) -> list[str]:
        if not self._package:
            path = f"{self.scratch}/pytest-vswitch.zip"
            self.write_bytes(path, _package())
            self._package = path
        return ["env", f"PYTHONPATH={self._package}", self._python, "-m", module]


@contextlib.contextmanager
def _over_ssh(
    address: str, ssh: Ssh | None, run: str, transcript: Transcript
) -> Iterator[RemoteHost]:
    from pytest_vswitch.lab.remote import Ssh

    ssh = ssh or Ssh()
    door = _Door(address, ssh)
    try:
        link = Link(address, door.open, {"run": run, "reconnect_s": ssh.reconnect_s})
        engine = RemoteEngine(link, ssh.reconnect_s)
        try:
            host = RemoteHost(address, engine, run, transcript)
            host.why_not_root = door.why_not_root
            yield host
        finally:
            engine.close()
    finally:
        door.close()


class _Door:
    """Logs in and starts agents, as root where that can be had."""

    def __init__(self, address: str, ssh: Ssh) -> None:
        self._address = address
        self._ssh = ssh
        self._connection: Connection | None = None
        self._command = ""
        self.why_not_root = ""

    def open(self, given: Mapping[str, object]) -> tuple[Stream, Unpacker]:
        """An agent over a new connection. Raises InputError, HostError."""
        self.close()
        connection = self._connection = connect(self._address, options_of(self._ssh))
        try:
            if self._command:
                return self._start(self._command, given)
            return self._start_as_root(connection.username, given)
        except HostError as error:
            if str(error).startswith(self._address):
                raise
            raise type(error)(f"{self._address}: {error}") from None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _start_as_root(self, username: str, given: Mapping[str, object]) -> tuple[Stream, Unpacker]:
        """As root by itself, by sudo, by sudo with a password; else as who logged in."""
        ways = [bootstrap.COMMAND]
        if username != "root" and self._ssh.sudo == "auto":
            ways = [bootstrap.SUDO_COMMAND, *ways]
            if self._ssh.sudo_password:
                self._check_password()
                ways = [bootstrap.SUDO_PASSWORD_COMMAND]
        for command in ways:
            try:
                started = self._start(command, given)
            except HostError as error:
                if command == ways[-1]:
                    raise
                self.why_not_root = f"sudo gives no root's rights: {error}"
                continue
            self._command = command
            return started
        raise AssertionError("there is at least one way")

    def _start(self, command: str, given: Mapping[str, object]) -> tuple[Stream, Unpacker]:
        assert self._connection is not None
        first = self._password() if command == bootstrap.SUDO_PASSWORD_COMMAND else b""
        stream = self._connection.open_stream(command)
        return stream, begin(stream, given, first)

    def _check_password(self) -> None:
        """Say it once: sudo asks again and again, and would take an agent for more of them."""
        assert self._connection is not None
        password = self._password()  # first: it may not be set
        stream = self._connection.open_stream(bootstrap.SUDO_PASSWORD_CHECK)
        try:
            stream.write(password)
            stream.close_input()
            if stream.exit_status(BEGIN_S):
                raise HostError(
                    "sudo gives no root's rights for the password in `ssh.sudo_password`: "
                    f"{stream.stderr_tail().strip()}"
                )
        finally:
            stream.close()

    def _password(self) -> bytes:
        assert self._ssh.sudo_password
        password = secret(self._ssh.sudo_password)
        if "\n" in password:
            raise InputError(f"{self._ssh.sudo_password} has more than one line, so no password")
        return password.encode() + b"\n"


def _package() -> bytes:
    """This package as a zip file, to run its modules from on another host."""
    root = Path(pytest_vswitch.__file__).parent
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(root.rglob("*.py")):
            archive.write(path, path.relative_to(root.parent))
    return packed.getvalue()
