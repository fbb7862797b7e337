"""Logging in with the agent's keys and with key files; nothing is ever asked."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.ssh.configuration import SshOptions
from pytest_vswitch.hosts.ssh.connection import connect
from tests.hosts.ssh.sshd import Sshd, keygen

CANARY = "canary-Zq7"


def add_to_agent(key: Path) -> None:
    argv = ["ssh-add", "-q", str(key)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def log_in(sshd: Sshd, config: Path | str = "none", **others: str) -> None:
    known = str(sshd.known_hosts)
    connect(sshd.target, SshOptions(str(config), known_hosts=known, **others)).close()  # type: ignore[arg-type]


def refused(sshd: Sshd, config: Path | str = "none", **others: str) -> str:
    with pytest.raises(HostError) as caught:
        log_in(sshd, config, **others)
    assert CANARY not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_every_kind_of_key(own_sshd: Sshd, tmp_path: Path, kind: str) -> None:
    key = keygen(tmp_path / "key", kind)
    own_sshd.authorize(key)
    log_in(own_sshd, identity=str(key))


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_keys_in_the_old_format(own_sshd: Sshd, tmp_path: Path, kind: str) -> None:
    key = keygen(tmp_path / "key", kind)
    argv = ["ssh-keygen", "-q", "-p", "-m", "PEM", "-N", "", "-f", str(key)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    assert "OPENSSH" not in key.read_text()
    own_sshd.authorize(key)
    log_in(own_sshd, identity=str(key))


def test_a_default_key_is_found(sshd: Sshd, home: Path) -> None:
    key = home / ".ssh" / "id_ed25519"
    key.write_bytes(sshd.client_key.read_bytes())
    key.chmod(0o600)
    log_in(sshd)


def test_keys_of_the_configuration_are_tried_in_order(sshd: Sshd, tmp_path: Path) -> None:
    wrong = keygen(tmp_path / "wrong")
    config = tmp_path / "config"
    config.write_text(f"IdentityFile {wrong}\nIdentityFile {sshd.client_key}\n")
    log_in(sshd, config)


def test_a_wrong_key_is_named(sshd: Sshd, tmp_path: Path) -> None:
    key = keygen(tmp_path / "wrong")
    text = refused(sshd, identity=str(key))
    assert f"cannot log in to {sshd.target} as `{sshd.user}`: every key was refused" in text
    assert f"refused: {key}" in text


def test_without_any_key_there_is_advice(sshd: Sshd) -> None:
    text = refused(sshd)
    assert "there is no key; make one (`ssh-keygen -t ed25519`)" in text


def test_a_missing_key_is_named(sshd: Sshd, tmp_path: Path) -> None:
    text = refused(sshd, identity=str(tmp_path / "none"))
    assert "there is no key that can be used" in text
    assert f"{tmp_path}/none cannot be read: No such file or directory" in text


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
@pytest.mark.parametrize("form", ["RFC4716", "PEM"])
def test_a_passphrase(own_sshd: Sshd, tmp_path: Path, kind: str, form: str) -> None:
    key = keygen(tmp_path / "key", kind)
    own_sshd.authorize(key)
    argv = ["ssh-keygen", "-q", "-p", "-m", form, "-N", CANARY, "-f", str(key)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    log_in(own_sshd, identity=str(key), passphrase=CANARY)
    text = refused(own_sshd, identity=str(key))
    assert f"{key} needs a passphrase: put the key into the agent" in text
    assert "`ssh.passphrase: ${NAME}`" in text
    text = refused(own_sshd, identity=str(key), passphrase=CANARY + "no")
    assert f"{key} cannot be decrypted: the passphrase is wrong" in text


def test_a_passphrase_is_not_needed_for_other_keys(sshd: Sshd) -> None:
    log_in(sshd, identity=str(sshd.client_key), passphrase=CANARY)


def test_a_key_that_others_can_read_is_not_used(sshd: Sshd, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(sshd.client_key.read_bytes())
    key.chmod(0o644)
    text = refused(sshd, identity=str(key))
    assert f"{key} can be read by others (mode 0644): `chmod 600 {key}`" in text


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "is no private key file"),
        ("ssh-ed25519 AAAA comment\n", "is no private key file (its public half, perhaps?)"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n", "is in PKCS#8 format: `ssh-keygen -p -f`"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END", "is damaged"),
        ("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n", "is damaged"),
        ("-----BEGIN DSA PRIVATE KEY-----\nAAAA\n", "is no private key file"),
    ],
)
def test_files_that_are_no_keys(sshd: Sshd, tmp_path: Path, content: str, what: str) -> None:
    key = tmp_path / "key"
    key.write_text(content)
    key.chmod(0o600)
    assert f"{key} {what}" in refused(sshd, identity=str(key))


def test_a_key_that_is_cut_short(sshd: Sshd, tmp_path: Path) -> None:
    key = tmp_path / "key"
    lines = sshd.client_key.read_text().splitlines()
    key.write_text("\n".join([*lines[:-2], lines[-1]]) + "\n")
    key.chmod(0o600)
    assert f"{key} is damaged" in refused(sshd, identity=str(key))


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_key_of_the_agent(own_sshd: Sshd, tmp_path: Path, agent: Path, kind: str) -> None:
    key = keygen(tmp_path / "key", kind)
    own_sshd.authorize(key)
    add_to_agent(key)
    key.unlink()
    log_in(own_sshd)


def test_the_agent_has_the_key_of_an_encrypted_file(
    sshd: Sshd, tmp_path: Path, agent: Path
) -> None:
    add_to_agent(sshd.client_key)
    key = tmp_path / "key"
    key.write_bytes(sshd.client_key.read_bytes())
    key.chmod(0o600)
    argv = ["ssh-keygen", "-q", "-p", "-N", CANARY, "-f", str(key)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    log_in(sshd, identity=str(key))


def test_only_the_keys_that_are_named(sshd: Sshd, tmp_path: Path, agent: Path) -> None:
    add_to_agent(sshd.client_key)
    wrong = keygen(tmp_path / "wrong")
    config = tmp_path / "config"
    config.write_text(f"IdentityFile {wrong}\n")
    log_in(sshd, config)
    config.write_text(f"IdentityFile {wrong}\nIdentitiesOnly yes\n")
    assert refused(sshd, config).endswith(f"refused: {wrong}")
    assert refused(sshd, identity=str(wrong)).endswith(f"refused: {wrong}")


def test_another_agent(
    sshd: Sshd, tmp_path: Path, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_to_agent(sshd.client_key)
    monkeypatch.delenv("SSH_AUTH_SOCK")
    config = tmp_path / "config"
    config.write_text(f"IdentityAgent {agent}\n")
    log_in(sshd, config)


def test_an_agent_that_is_gone_is_said(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "gone"))
    assert f"the agent at {tmp_path}/gone does not answer" in refused(sshd)
    log_in(sshd, identity=str(sshd.client_key))


def test_too_many_keys(own_sshd: Sshd, tmp_path: Path, agent: Path) -> None:
    own_sshd.options.append("MaxAuthTries 2")
    own_sshd.restart()
    for number in range(4):
        add_to_agent(keygen(tmp_path / f"key{number}"))
    text = refused(own_sshd)
    assert "ended the connection after 2 keys; name the right one with `ssh.identity`" in text


def test_a_host_that_takes_no_keys(own_sshd: Sshd) -> None:
    own_sshd.options += ["PubkeyAuthentication no", "PasswordAuthentication yes"]
    own_sshd.restart()
    text = refused(own_sshd, identity=str(own_sshd.client_key))
    assert "takes no keys for the user" in text
    assert "it would take password, which is not supported" in text


def test_a_host_that_wants_more_than_a_key(own_sshd: Sshd) -> None:
    own_sshd.options += [
        "PasswordAuthentication yes",
        "AuthenticationMethods publickey,password",
    ]
    own_sshd.restart()
    text = refused(own_sshd, identity=str(own_sshd.client_key))
    assert "wants more than a key" in text
    assert "password" in text


def test_a_certificate_beside_the_key(own_sshd: Sshd, tmp_path: Path) -> None:
    authority, key = keygen(tmp_path / "ca"), keygen(tmp_path / "key")
    argv = ["ssh-keygen", "-q", "-s", str(authority), "-I", "it", "-n", own_sshd.user]
    subprocess.run([*argv, f"{key}.pub"], check=True)
    assert "refused" in refused(own_sshd, identity=str(key))
    own_sshd.options.append(f"TrustedUserCAKeys {authority}.pub")
    own_sshd.restart()
    log_in(own_sshd, identity=str(key))
