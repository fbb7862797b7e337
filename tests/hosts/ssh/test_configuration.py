"""What ~/.ssh/config and a lab's section come to."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.ssh import configuration
from pytest_vswitch.hosts.ssh.configuration import Settings, SshOptions, resolve


@pytest.fixture
def config(home: Path) -> Path:
    return home / ".ssh" / "config"


def settings(config: Path, text: str, address: str = "dut") -> Settings:
    config.write_text(text)
    return resolve(address, SshOptions())


def test_nothing_configured_is_the_defaults(home: Path) -> None:
    found = resolve("dut", SshOptions())
    assert (found.host, found.port, found.username) == ("dut", 22, getpass.getuser())
    assert found.known_name == "dut"
    assert found.known_hosts[0] == home / ".ssh" / "known_hosts"
    assert [path.name for path in found.identities] == ["id_ed25519", "id_ecdsa", "id_rsa"]
    assert (found.jumps, found.proxy_command, found.agent) == ((), (), None)
    assert (found.connect_timeout_s, found.keepalive_s) == (10, 5)


def test_an_alias_stands_for_name_user_port_and_keys(config: Path, home: Path) -> None:
    found = settings(
        config,
        "Host dut\n  HostName 192.0.2.7\n  User admin\n  Port 2222\n"
        "  IdentityFile ~/.ssh/lab\n  IdentityFile /keys/%u\n  IdentitiesOnly yes\n"
        "Host *\n  Port 99\n",
    )
    assert (found.host, found.port, found.username) == ("192.0.2.7", 2222, "admin")
    assert found.known_name == "[192.0.2.7]:2222"
    assert found.identities == (home / ".ssh" / "lab", Path("/keys") / getpass.getuser())
    assert found.identities_only
    assert found.identities_named


def test_the_address_wins_over_the_configuration(config: Path) -> None:
    found = settings(config, "User admin\nPort 2222\n", "root@dut:23")
    assert (found.username, found.port) == ("root", 23)


def test_match_sees_the_user_of_the_address(config: Path) -> None:
    text = "Match user root\n  Port 1\nMatch user other\n  Port 2\n"
    assert settings(config, text, "root@dut").port == 1


def test_the_labs_key_is_the_only_one(home: Path) -> None:
    found = resolve("dut", SshOptions(identity="~/.ssh/lab"))
    assert found.identities == (home / ".ssh" / "lab",)
    assert found.identities_only


def test_another_file_takes_the_place_of_the_default(config: Path, tmp_path: Path) -> None:
    config.write_text("User wrong\n")
    other = tmp_path / "other"
    other.write_text("User right\n")
    assert resolve("dut", SshOptions(config=str(other))).username == "right"
    assert resolve("dut", SshOptions(config="none")).username == getpass.getuser()


def test_the_system_file_comes_after_the_users(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tmp_path / "ssh_config"
    system.write_text("User second\nPort 2222\n")
    monkeypatch.setattr(configuration, "SYSTEM_CONFIG", system)
    found = settings(config, "User first\nHost other\n  Port 1\n")
    assert (found.username, found.port) == ("first", 2222)


def test_included_files_count_where_they_are_included(config: Path) -> None:
    (config.parent / "conf.d").mkdir()
    (config.parent / "conf.d" / "a").write_text("Host dut\n  User a\n")
    (config.parent / "conf.d" / "b").write_text("Host dut\n  User b\n  Port 2\n")
    found = settings(config, "Include conf.d/*\nConnectTimeout 3\nHost dut\n  Port 9\n")
    assert (found.username, found.port, found.connect_timeout_s) == ("a", 2, 3)


def test_what_follows_an_include_belongs_to_its_block(config: Path) -> None:
    (config.parent / "more").write_text("User a\n")
    found = settings(config, "Host other\n  Include more\n  Port 9\nHost dut\n  Include more\n")
    assert (found.username, found.port) == ("a", 22)


def test_blocks_within_an_included_block_are_refused(config: Path) -> None:
    (config.parent / "more").write_text("Host dut\n  User a\n")
    with pytest.raises(InputError, match=r"config:2: this `Include` stands within"):
        settings(config, "Host other\n  Include more\n")


def test_a_file_that_includes_itself_is_refused(config: Path) -> None:
    with pytest.raises(InputError, match="goes deeper than 16 files"):
        settings(config, "Include config\n")


@pytest.mark.parametrize(
    ("value", "jumps"),
    [
        ("bastion", ("bastion",)),
        ("a@one:2222,two", ("a@one:2222", "two")),
        ("none", ()),
    ],
)
def test_jump_hosts(config: Path, value: str, jumps: tuple[str, ...]) -> None:
    text = f"Host dut\n  ProxyJump {value}\nHost *\n  ProxyJump last\n"
    assert settings(config, text).jumps == jumps


def test_a_proxy_command_is_words(config: Path) -> None:
    found = settings(
        config, "HostName h\nUser u\nProxyCommand exec nc -x 'a b' %h %p %r %%\n", "dut:44"
    )
    assert found.proxy_command == ("nc", "-x", "a b", "h", "44", "u", "%")
    assert settings(config, "ProxyCommand none\n").proxy_command == ()


@pytest.mark.parametrize("command", ["nc %h %p 2>/dev/null", "a; b", "echo $HOME", "a | b", "`a`"])
def test_a_proxy_command_that_needs_a_shell_is_refused(config: Path, command: str) -> None:
    with pytest.raises(InputError, match="needs a shell, and none is used"):
        settings(config, f"ProxyCommand {command}\n")


def test_a_match_that_would_run_a_program_is_refused(config: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`Match exec`, which is not supported"):
        settings(config, f'Match host dut exec "touch {tmp_path}/ran"\n  Port 9\n')
    assert not (tmp_path / "ran").exists()
    assert settings(config, 'Match host other exec "true"\n  Port 9\n').port == 22


def test_an_alias_of_the_host_key(config: Path) -> None:
    assert settings(config, "HostKeyAlias Lab1\nPort 2222\n").known_name == "lab1"


def test_files_of_host_keys(config: Path, home: Path) -> None:
    found = settings(config, "UserKnownHostsFile ~/a /b/%u\nGlobalKnownHostsFile /c\n")
    assert found.known_hosts == (home / "a", Path("/b") / getpass.getuser())
    assert found.global_known_hosts == (Path("/c"),)
    assert settings(config, "UserKnownHostsFile none\n").known_hosts == ()
    own = resolve("dut", SshOptions(known_hosts="/d"))
    assert (own.known_hosts, own.global_known_hosts) == ((Path("/d"),), ())


def test_hashing_of_known_hosts(config: Path) -> None:
    assert settings(config, "HashKnownHosts yes\n").hash_known_hosts
    assert not settings(config, "").hash_known_hosts


@pytest.mark.parametrize(
    ("line", "socket"),
    [
        ("", "/run/env"),
        ("IdentityAgent none", None),
        ("IdentityAgent SSH_AUTH_SOCK", "/run/env"),
        ("IdentityAgent $OTHER", "/run/other"),
        ("IdentityAgent ${OTHER}", "/run/other"),
        ("IdentityAgent /run/named", "/run/named"),
    ],
)
def test_the_agent(
    config: Path, monkeypatch: pytest.MonkeyPatch, line: str, socket: str | None
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/env")
    monkeypatch.setenv("OTHER", "/run/other")
    assert settings(config, f"{line}\n").agent == socket


def test_timeouts_of_lab_and_configuration(config: Path) -> None:
    config.write_text("ConnectTimeout 3\nServerAliveInterval 2\n")
    assert resolve("dut", SshOptions()).connect_timeout_s == 3
    assert resolve("dut", SshOptions(connect_timeout_s=7)).connect_timeout_s == 7
    assert resolve("dut", SshOptions()).keepalive_s == 2
    assert resolve("dut", SshOptions(keepalive_s=1)).keepalive_s == 1
    config.write_text("ServerAliveInterval 60\n")
    assert resolve("dut", SshOptions()).keepalive_s == 5


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("Port ssh\n", "`port ssh`: it must be a number"),
        ("HostName -oProxyCommand=x\n", "'-oProxyCommand=x' in the SSH configuration is no host"),
        ("User 'a b'\n", "in the SSH configuration is no host or user"),
        ("Match nonsense\n", "the SSH configuration is wrong"),
        ("ProxyJump a:b:c\n", "IPv6 address is written in brackets"),
        ("ProxyCommand 'nc\n", "cannot be split"),
        ("UserKnownHostsFile 'a\n", "the SSH configuration is wrong"),
    ],
)
def test_what_is_wrong_in_a_configuration_is_said(config: Path, text: str, what: str) -> None:
    with pytest.raises(InputError) as caught:
        settings(config, text)
    assert what in str(caught.value)


def test_a_configuration_that_is_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"cannot read the SSH configuration .*/none.conf: No such"
    ):
        resolve("dut", SshOptions(config=str(tmp_path / "none.conf")))


def test_a_passphrase_is_not_shown() -> None:
    options = SshOptions(passphrase="canary-7")
    assert "canary-7" not in f"{options!r} {resolve('dut', options)!r}"


def test_the_command_that_trusts_names_the_same_files() -> None:
    assert resolve("root@dut", SshOptions()).trust_command == "vswitch lab trust root@dut"
    options = SshOptions(config="none", known_hosts="/a b")
    command = "vswitch lab trust dut --config none --known-hosts '/a b'"
    assert resolve("dut", options).trust_command == command
