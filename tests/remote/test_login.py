"""A host that does not let us in, or not as root: one error, which says what to do."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch.errors import HostError, InputError
from tests.hosts.ssh.sshd import keygen
from tests.machines import faults
from tests.machines.fixtures import MakeMachine
from tests.machines.machine import Machine
from tests.remote.door import Facts, at_work, looked_at, opened, wait_until_as_found


@contextlib.contextmanager
def refused(dut: Machine, before: Facts, *words: str) -> Iterator[None]:
    """One error that holds these words, and a host that is as it was."""
    with pytest.raises((HostError, InputError)) as raised:
        yield
    said = str(raised.value)
    for word in words:
        assert word in said
    wait_until_as_found(dut, before)


def test_a_wrong_key(dut: Machine, before: Facts, tmp_path: Path) -> None:
    wrong = keygen(tmp_path / "wrong")
    with (
        refused(dut, before, "every key was refused", str(wrong)),
        opened(dut, identity=str(wrong)),
    ):
        pass


def test_no_key_file(dut: Machine, before: Facts, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    with refused(dut, before, missing, "No such file"), opened(dut, identity=missing):
        pass


def test_a_key_that_needs_a_passphrase(
    dut: Machine, before: Facts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = str(tmp_path / "locked")
    shutil.copy(dut.client_key, locked)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "open sesame", "-f", locked], check=True)
    with (
        refused(dut, before, locked, "needs a passphrase", "ssh-add"),
        opened(dut, identity=locked),
    ):
        pass
    monkeypatch.setenv("WORD", "open barley")
    how: dict[str, Any] = {"identity": locked, "passphrase": "${WORD}"}
    with refused(dut, before, locked, "the passphrase is wrong"), opened(dut, **how):
        pass
    monkeypatch.delenv("WORD")
    with refused(dut, before, "WORD", "not set"), opened(dut, **how):
        pass
    monkeypatch.setenv("WORD", "open sesame")
    with opened(dut, **how) as host:
        assert host.is_root()


def test_an_unknown_host(dut: Machine, before: Facts) -> None:
    dut.known_hosts.write_text("")
    with refused(dut, before, "vswitch lab trust", "SHA256:"), opened(dut):
        pass


def test_a_changed_host_key(dut: Machine, before: Facts) -> None:
    shown = dut.new_host_key()
    with refused(dut, before, shown, "vswitch lab trust", "--replace"), opened(dut):
        pass


def test_one_session_is_enough(dut: Machine) -> None:
    before = configured(dut, "MaxSessions 1")
    with opened(dut) as host, at_work(host):
        assert host.run(["echo", "here"]).output == "here\n"
    wait_until_as_found(dut, before)


def test_no_session_at_all(dut: Machine) -> None:
    before = configured(dut, "MaxSessions 0")
    with refused(dut, before, "MaxSessions"), opened(dut):
        pass


@pytest.mark.parametrize("login_shell", ["/bin/bash", "/bin/dash"])
def test_a_shell_that_prints_noise(machines: MakeMachine, login_shell: str) -> None:
    dut = machines("dut")
    user = faults.ordinary_user(dut, "alice", "nopasswd", login_shell)
    noise = "echo welcome; printf 'no newline'; echo warning >&2\n"
    for path in ("/home/alice/.bashrc", "/etc/bash.bashrc", "/home/alice/.profile"):
        (dut.root / path[1:]).write_text(noise)
    (dut.root / "etc/ssh/sshrc").write_text(noise)
    with looked_at(dut, user=user.name) as host:
        assert host.run(["echo", "here"]).output == "here\n"


def test_a_shell_that_never_stops_printing(dut: Machine) -> None:
    (dut.root / "etc/ssh/sshrc").write_text("yes\n")
    before = dut.snapshot()
    with refused(dut, before, "its shell prints without end", "y\ny"), opened(dut):
        pass


def test_a_user_with_nopasswd_works_as_root(dut: Machine, before: Facts) -> None:
    user = faults.ordinary_user(dut, "alice", "nopasswd")
    before = dut.snapshot()
    with opened(dut, user=user.name) as host, at_work(host):
        assert host.is_root()
        assert host.run(["id", "-u"]).output == "0\n"
    wait_until_as_found(dut, before)


def test_a_user_with_a_password_works_as_root(
    dut: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = faults.ordinary_user(dut, "alice", "password")
    before = dut.snapshot()
    monkeypatch.setenv("WORD", user.password)
    with opened(dut, user=user.name, sudo_password="${WORD}") as host, at_work(host):
        assert host.is_root()
    wait_until_as_found(dut, before)


@pytest.mark.parametrize(
    ("sudo", "given", "words"),
    [
        ("none", {}, ["root's rights", "sudo gives no root's rights: ", "password is required"]),
        ("none", {"sudo": "never"}, ["root's rights", "log in as root"]),
        ("password", {}, ["ssh.sudo_password", "password is required"]),
        ("password", {"sudo_password": "${WORD}"}, ["in `ssh.sudo_password`: Sorry, try again"]),
        ("none", {"sudo_password": "${WORD}"}, ["in `ssh.sudo_password`: Sorry, try again"]),
    ],
)
def test_a_user_who_cannot_become_root(
    dut: Machine,
    monkeypatch: pytest.MonkeyPatch,
    sudo: str,
    given: dict[str, Any],
    words: list[str],
) -> None:
    user = faults.ordinary_user(dut, "alice", sudo)  # type: ignore[arg-type]
    before = dut.snapshot()
    monkeypatch.setenv("WORD", "wrong")
    with refused(dut, before, *words), opened(dut, user=user.name, **given):
        pass


def test_no_sudo_at_all(dut: Machine) -> None:
    user = faults.ordinary_user(dut, "alice", "nopasswd")
    dut.run(["rm", "/usr/bin/sudo"])
    before = dut.snapshot()
    with refused(dut, before, "root's rights", "sudo: not found"), opened(dut, user=user.name):
        pass


def test_an_ordinary_user_may_look(dut: Machine) -> None:
    user = faults.ordinary_user(dut, "alice")
    before = dut.snapshot()
    with looked_at(dut, user=user.name) as host:
        assert not host.is_root()
        assert host.run(["id", "-un"]).output == "alice\n"
    wait_until_as_found(dut, before)


def test_no_python(dut: Machine, before: Facts) -> None:
    dut.run(["mv", "/usr/bin/python3", "/usr/bin/python3-elsewhere"])
    with pytest.raises(HostError, match=r"no python3 that answers .*: not found"), opened(dut):
        pass
    dut.run(["mv", "/usr/bin/python3-elsewhere", "/usr/bin/python3"])
    wait_until_as_found(dut, before)


def test_a_python_that_is_too_old(dut: Machine) -> None:
    text = "#!/bin/sh\nprintf '\\n\\0vswitch-python 3.6 \\n'; cat >/dev/null\n"
    (dut.root / "usr/local/bin/python3").write_text(text)
    (dut.root / "usr/local/bin/python3").chmod(0o755)
    before = dut.snapshot()
    with refused(dut, before, "its python3 is 3.6; 3.8 or later is needed"), opened(dut):
        pass


def test_a_python_that_is_none(dut: Machine) -> None:
    (dut.root / "usr/local/bin/python3").write_text("#!/bin/sh\necho broken >&2; exit 7\n")
    (dut.root / "usr/local/bin/python3").chmod(0o755)
    before = dut.snapshot()
    with (
        refused(dut, before, "there is no python3 that answers (exit status 7): broken"),
        opened(dut),
    ):
        pass


def configured(dut: Machine, line: str) -> Facts:
    """Add a line to its sshd's configuration; what the host is like then."""
    config = dut.root / "etc/ssh/sshd_config"
    config.write_text(f"{line}\n{config.read_text()}")
    dut.restart_sshd()
    return dut.snapshot()
