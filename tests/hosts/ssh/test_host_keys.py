"""Which host keys are accepted: only those that are known, whatever the configuration says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from pytest_vswitch.hosts.ssh.configuration import SshOptions
from pytest_vswitch.hosts.ssh.connection import connect
from pytest_vswitch.hosts.ssh.host_keys import ChangedHostKey, RevokedHostKey, UntrustedHost
from tests.hosts.ssh.sshd import Sshd, keygen


@pytest.fixture
def known(tmp_path: Path) -> Path:
    return tmp_path / "known_hosts"


def fingerprint(sshd: Sshd, kind: str) -> str:
    said = subprocess.check_output(["ssh-keygen", "-lf", f"{sshd.host_keys[kind]}.pub"], text=True)
    return said.split()[1]


def log_in(sshd: Sshd, known: Path, *, config: str = "none") -> None:
    connect(sshd.target, SshOptions(config, str(sshd.client_key), str(known))).close()


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_the_kind_that_is_known_is_asked_for(sshd: Sshd, known: Path, kind: str) -> None:
    known.write_text(f"{sshd.known_lines([kind])[0]}\n")
    log_in(sshd, known)


def test_an_unknown_host_is_refused_with_advice(sshd: Sshd, known: Path) -> None:
    known.write_text(f"other {sshd.public('ed25519')}\n")
    with pytest.raises(UntrustedHost) as caught:
        log_in(sshd, known)
    text = str(caught.value)
    assert f"host key of {sshd.target} is not known: ED25519 {fingerprint(sshd, 'ed25519')}" in text
    assert f"`vswitch lab trust {sshd.target} --config none --known-hosts {known}`" in text
    assert "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" in text
    assert not isinstance(caught.value, ChangedHostKey)


def test_a_changed_key_is_refused_with_both_fingerprints(sshd: Sshd, known: Path) -> None:
    old = keygen(known.parent / "old")
    public = " ".join(Path(f"{old}.pub").read_text().split()[:2])
    name = f"[127.0.0.1]:{sshd.port}"
    known.write_text(f"# first\n{name} {public}\n")
    with pytest.raises(ChangedHostKey) as caught:
        log_in(sshd, known)
    text = str(caught.value)
    said = subprocess.check_output(["ssh-keygen", "-lf", f"{old}.pub"], text=True).split()[1]
    assert f"the host key of {sshd.target} has changed" in text
    assert f"known: ED25519 {said}  {known}:2" in text
    assert f"shown: ED25519 {fingerprint(sshd, 'ed25519')}" in text
    assert " --replace`" in text


def test_the_host_is_told_nothing_before_its_key_is_trusted(own_sshd: Sshd, known: Path) -> None:
    with pytest.raises(UntrustedHost):
        log_in(own_sshd, known)
    own_sshd.stop()
    assert "publickey" not in own_sshd.log
    assert "Connection from" in own_sshd.log


def test_another_kind_than_the_known_one_is_a_change(own_sshd: Sshd, known: Path) -> None:
    rsa = keygen(known.parent / "rsa", "rsa")
    public = " ".join(Path(f"{rsa}.pub").read_text().split()[:2])
    known.write_text(f"[127.0.0.1]:{own_sshd.port} {public}\n")
    with pytest.raises(ChangedHostKey, match=r"known: RSA SHA256:.*\nshown: ED25519 SHA256:"):
        log_in(own_sshd, known)


def test_a_hashed_name_is_known(sshd: Sshd, known: Path) -> None:
    known.write_text(f"{sshd.known_lines(['rsa'])[0]}\n")
    argv = ["ssh-keygen", "-q", "-H", "-f", str(known)]
    subprocess.run(argv, check=True, stderr=subprocess.DEVNULL)
    log_in(sshd, known)


def test_a_host_that_is_known_without_a_port(sshd: Sshd, known: Path) -> None:
    known.write_text(f"127.0.0.1 {sshd.public('ecdsa')}\n")
    log_in(sshd, known)


def test_another_key_without_a_port_is_an_unknown_host(sshd: Sshd, known: Path) -> None:
    known.write_text(f"127.0.0.1 {sshd.public('ecdsa')[:-8]}AAAAAAA=\n")
    with pytest.raises(UntrustedHost, match="is not known"):
        log_in(sshd, known)


def test_an_alias_for_the_key(sshd: Sshd, known: Path, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("HostKeyAlias lab1\n")
    known.write_text(f"lab1 {sshd.public('ed25519')}\n")
    log_in(sshd, known, config=str(config))


def test_a_revoked_key_is_refused_though_it_is_known(sshd: Sshd, known: Path) -> None:
    lines = [f"@revoked * {sshd.public('ed25519')}", *sshd.known_lines(["ed25519"])]
    known.write_text("\n".join(lines) + "\n")
    with pytest.raises(RevokedHostKey, match=re.escape(f"({known}:1)")):
        log_in(sshd, known)


def test_a_certificate_authority_is_named_as_not_supported(sshd: Sshd, known: Path) -> None:
    known.write_text(f"@cert-authority * {sshd.public('ed25519')}\n")
    with pytest.raises(UntrustedHost, match=r"known_hosts:1 trusts it by certificate .*not supp"):
        log_in(sshd, known)


def test_the_configuration_cannot_switch_the_check_off(
    sshd: Sshd, known: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text("StrictHostKeyChecking no\n")
    with pytest.raises(UntrustedHost):
        log_in(sshd, known, config=str(config))
    assert not known.exists()


def test_the_global_file_counts(sshd: Sshd, known: Path, tmp_path: Path, home: Path) -> None:
    config = home / ".ssh" / "config"
    config.write_text(f"GlobalKnownHostsFile {known}\n")
    known.write_text("\n".join(sshd.known_lines()) + "\n")
    connect(sshd.target, SshOptions(identity=str(sshd.client_key))).close()
