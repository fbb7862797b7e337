"""`vswitch lab trust`: the only way in which a host key becomes known."""

from __future__ import annotations

import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_vswitch.cli import main
from tests.hosts.machine import DEADLINE_S
from tests.hosts.ssh.sshd import Sshd, keygen


@pytest.fixture
def known(home: Path) -> Path:
    return home / ".ssh" / "known_hosts"


def fingerprint(sshd: Sshd, kind: str = "ed25519") -> str:
    said = subprocess.check_output(["ssh-keygen", "-lf", f"{sshd.host_keys[kind]}.pub"], text=True)
    return said.split()[1]


def change_key(sshd: Sshd) -> None:
    sshd.host_keys["ed25519"] = keygen(sshd.directory / f"changed{sshd.port}")
    sshd.restart()


def trust(*words: str) -> int:
    return main(["lab", "trust", *words])


def test_a_key_with_the_right_fingerprint_is_added(
    own_sshd: Sshd, known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trust(own_sshd.target, "--fingerprint", fingerprint(own_sshd)) == 0
    assert known.read_text() == f"{own_sshd.known_lines()[0]}\n"
    assert stat.S_IMODE(known.stat().st_mode) == 0o600
    said = capsys.readouterr().out
    shown = f"ED25519 {fingerprint(own_sshd)}"
    assert said == (
        f"{own_sshd.target} shows {shown}\n"
        f"{own_sshd.target}: {shown} was added to {known}\n"
        f"{own_sshd.target}: {shown} is trusted\n"
    )


def test_a_key_that_is_known_is_not_added_again(
    own_sshd: Sshd, known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trust(own_sshd.target, "--yes") == 0
    before = known.read_text()
    capsys.readouterr()
    assert trust(own_sshd.target) == 0
    assert known.read_text() == before
    assert "is trusted" in capsys.readouterr().out


def test_another_fingerprint_is_refused(
    own_sshd: Sshd, known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trust(own_sshd.target, "--fingerprint", "SHA256:other", "--yes") == 4
    said = capsys.readouterr().err
    assert "shows another key than you expect; nothing was written" in said
    assert "expected: SHA256:other" in said
    assert f"shown: ED25519 {fingerprint(own_sshd)}" in said
    assert not known.exists()


def test_what_is_no_fingerprint_is_said(
    own_sshd: Sshd, known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trust(own_sshd.target, "--fingerprint", "MD5:00") == 4
    assert "MD5:00 is no fingerprint: it starts with SHA256:" in capsys.readouterr().err
    assert not known.exists()


def test_without_a_terminal_nothing_is_added(
    own_sshd: Sshd,
    known: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert trust(own_sshd.target) == 4
    said = capsys.readouterr().err
    assert "there is no terminal to ask on" in said
    assert f"`--fingerprint {fingerprint(own_sshd)}`" in said
    assert not known.exists()


@pytest.mark.parametrize(("answer", "status"), [("yes", 0), ("no", 4), ("y", 4), ("", 4)])
def test_a_terminal_is_asked(own_sshd: Sshd, known: Path, answer: str, status: int) -> None:
    ours, theirs = pty.openpty()
    program = "import sys; from pytest_vswitch.cli import main; sys.exit(main(sys.argv[1:]))"
    argv = [sys.executable, "-c", program, "lab", "trust", own_sshd.target]
    process = subprocess.Popen(argv, stdin=theirs, stdout=subprocess.PIPE, text=True)
    os.close(theirs)
    os.write(ours, answer.encode() + b"\n")
    said = process.communicate(timeout=DEADLINE_S)[0]
    os.close(ours)
    assert process.returncode == status
    assert f"shows ED25519 {fingerprint(own_sshd)}\nIs that the host's own key? [yes/no] " in said
    assert known.exists() == (status == 0)


def test_a_changed_key_is_not_replaced_by_itself(
    own_sshd: Sshd, known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trust(own_sshd.target, "--yes")
    before, old = known.read_text(), fingerprint(own_sshd)
    change_key(own_sshd)
    capsys.readouterr()
    assert trust(own_sshd.target, "--yes") == 4
    assert known.read_text() == before
    said = capsys.readouterr().err
    assert f"known: ED25519 {old}  {known}:1" in said
    assert f"shown: ED25519 {fingerprint(own_sshd)}" in said


def test_a_changed_key_is_replaced_when_asked(
    own_sshd: Sshd, known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known.write_text(f"other {own_sshd.public('ed25519')}\n")
    trust(own_sshd.target, "--yes")
    old = fingerprint(own_sshd)
    change_key(own_sshd)
    capsys.readouterr()
    assert trust(own_sshd.target, "--replace", "--fingerprint", fingerprint(own_sshd)) == 0
    said = capsys.readouterr().out
    assert f"{own_sshd.target} was known by ED25519 {old} ({known}:2)" in said
    assert f"{own_sshd.target} shows ED25519 {fingerprint(own_sshd)}" in said
    lines = known.read_text().splitlines()
    assert lines[0].startswith("other ")
    assert lines[1:] == own_sshd.known_lines()


def test_replacing_needs_an_answer_too(
    own_sshd: Sshd, known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust(own_sshd.target, "--yes")
    before = known.read_text()
    change_key(own_sshd)
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert trust(own_sshd.target, "--replace") == 4
    assert known.read_text() == before


def test_a_revoked_key_is_never_added(
    own_sshd: Sshd, known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known.write_text(f"@revoked * {own_sshd.public('ed25519')}\n")
    assert trust(own_sshd.target, "--yes", "--replace") == 4
    assert "host key that is revoked" in capsys.readouterr().err
    assert len(known.read_text().splitlines()) == 1


def test_the_system_wide_file_is_left_alone(
    own_sshd: Sshd, known: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / ".ssh" / "config").write_text(f"GlobalKnownHostsFile {home}/all\n")
    (home / "all").write_text(f"{own_sshd.known_lines()[0]}\n")
    change_key(own_sshd)
    assert trust(own_sshd.target, "--yes", "--replace") == 4
    assert f"{home}/all:1 is for every user of this machine" in capsys.readouterr().err
    assert not known.exists()


def test_names_are_hashed_where_the_configuration_says_so(
    own_sshd: Sshd, known: Path, home: Path
) -> None:
    (home / ".ssh" / "config").write_text("HashKnownHosts yes\n")
    assert trust(own_sshd.target, "--yes") == 0
    assert known.read_text().startswith("|1|")
    assert trust(own_sshd.target) == 0


def test_openssh_accepts_what_was_added(own_sshd: Sshd, known: Path) -> None:
    assert trust(own_sshd.target, "--yes") == 0
    argv = ["ssh", "-F", "none", "-i", str(own_sshd.client_key), "-o", "BatchMode=yes"]
    argv += ["-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes"]
    argv += ["-p", str(own_sshd.port), f"{own_sshd.user}@127.0.0.1", "echo in"]
    assert subprocess.check_output(argv, timeout=DEADLINE_S) == b"in\n"


def test_jump_hosts_come_first(
    own_sshd: Sshd,
    known: Path,
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Sshd(tmp_path / "jump", kinds=("ed25519",)) as jump:
        (home / ".ssh" / "config").write_text(
            f"Host dut\n  HostName 127.0.0.1\n  Port {own_sshd.port}\n  ProxyJump jump\n"
            f"Host jump\n  HostName 127.0.0.1\n  Port {jump.port}\n"
            f"  IdentityFile {jump.client_key}\n"
        )
        both = ("--fingerprint", fingerprint(own_sshd), "--fingerprint", fingerprint(jump))
        assert trust("dut", *both) == 0
        assert known.read_text().splitlines() == [*jump.known_lines(), *own_sshd.known_lines()]
        assert capsys.readouterr().out.splitlines()[-1].startswith("dut: ED25519 SHA256:")


def test_the_hosts_of_a_lab(own_sshd: Sshd, known: Path, home: Path, tmp_path: Path) -> None:
    with Sshd(tmp_path / "tg", kinds=("ed25519",)) as generator:
        lab = tmp_path / "lab1.yaml"
        lab.write_text(
            f"dut:\n  host: {own_sshd.target}\n"
            f"  ssh: {{known_hosts: known, config: config}}\n"
            f"generator:\n  host: {generator.target}\n"
            "ports:\n"
            "  - {kind: nic, bdf: '0000:01:00.0', generator: '0000:02:00.0', line_rate_gbps: 10}\n"
            "  - {kind: nic, bdf: '0000:01:00.1', generator: '0000:02:00.1', line_rate_gbps: 10}\n"
        )
        (tmp_path / "config").write_text("")
        assert trust(str(lab), "--yes") == 0
        assert (tmp_path / "known").read_text().splitlines() == own_sshd.known_lines()
        assert known.read_text().splitlines() == generator.known_lines()


def test_a_lab_without_ssh(capsys: pytest.CaptureFixture[str]) -> None:
    assert trust("local") == 4
    assert "lab `local` has no host that is reached over SSH" in capsys.readouterr().err


def test_what_is_no_host(capsys: pytest.CaptureFixture[str]) -> None:
    assert trust("user:secret@host") == 4
    said = capsys.readouterr().err
    assert "a password does not belong in an address" in said
    assert "secret" not in said
