"""known_hosts files, checked against what OpenSSH's own tools make of them."""

from __future__ import annotations

import re
import stat
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.ssh import known_hosts
from pytest_vswitch.hosts.ssh.known_hosts import HostKey, read
from tests.hosts.ssh.sshd import Sshd


def key_of(sshd: Sshd, kind: str = "ed25519") -> HostKey:
    line = f"name {sshd.public(kind)}\n"
    path = sshd.directory / "one"
    path.write_text(line)
    return read(path)[0].key


def found_by_openssh(path: Path, name: str) -> bool:
    argv = ["ssh-keygen", "-F", name, "-f", str(path)]
    return subprocess.run(argv, stdout=subprocess.DEVNULL, check=False).returncode == 0


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_fingerprints_are_those_of_openssh(sshd: Sshd, kind: str) -> None:
    said = subprocess.check_output(["ssh-keygen", "-lf", f"{sshd.host_keys[kind]}.pub"], text=True)
    key = key_of(sshd, kind)
    assert key.fingerprint == said.split()[1]
    assert key.short_kind == said.split()[-1].strip("()")


@pytest.mark.parametrize("name", ["dut", "[dut]:2222", "[::1]:2222", "2001:db8::1", "192.0.2.1"])
@pytest.mark.parametrize("hashed", [False, True])
def test_what_is_added_is_found_by_openssh_and_here(
    sshd: Sshd, tmp_path: Path, name: str, hashed: bool
) -> None:
    path = tmp_path / "known_hosts"
    known_hosts.add(path, "other", key_of(sshd), hashed=False)
    known_hosts.add(path, name, key_of(sshd, "rsa"), hashed=hashed)
    assert found_by_openssh(path, name)
    assert [entry.line for entry in read(path) if entry.matches(name)] == [2]
    assert (name in path.read_text()) is not hashed
    assert not any(entry.matches("another") for entry in read(path))


def test_names_that_openssh_hashed_are_found(sshd: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"dut,[dut]:2222 {sshd.public('ed25519')}\n")
    argv = ["ssh-keygen", "-q", "-H", "-f", str(path)]
    subprocess.run(argv, check=True, stderr=subprocess.DEVNULL)
    assert "dut" not in path.read_text()
    assert [entry.line for entry in read(path) if entry.matches("dut")] == [1]
    assert [entry.line for entry in read(path) if entry.matches("[dut]:2222")] == [2]


@pytest.mark.parametrize(
    ("hosts", "name", "matches"),
    [
        ("dut*", "dut17", True),
        ("dut?", "dut17", False),
        ("*.lab,!bad.lab", "dut.lab", True),
        ("*.lab,!bad.lab", "bad.lab", False),
        ("DUT", "dut", True),
        ("[dut]:2222", "[dut]:2222", True),
        ("[dut]:2222", "d:2222", False),
        ("d.t", "dut", False),
        ("|1|nonsense", "dut", False),
        ("|1|bm9uc2Vuc2U=|bm9uc2Vuc2U=", "dut", False),
    ],
)
def test_patterns(sshd: Sshd, tmp_path: Path, hosts: str, name: str, matches: bool) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"{hosts} {sshd.public('ed25519')}\n")
    (entry,) = read(path)
    assert entry.matches(name) is matches


def test_markers_comments_and_nonsense(sshd: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    key = sshd.public("ed25519")
    path.write_text(f"# dut {key}\n\nnonsense\ndut ssh-rsa not+base64!\n@revoked dut {key} a b\n")
    (entry,) = read(path)
    assert (entry.marker, entry.place) == ("@revoked", f"{path}:5")


@given(st.binary(max_size=300))
@example(b"dut ssh-rsa \x80\n")
@example(b"|1|\x80|\x80 ssh-rsa AAAA\n")
def test_any_file_can_be_read(content: bytes) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        for entry in read(Path(file.name)):
            entry.matches("dut")
            assert str(entry.key)


def test_a_new_file_is_its_owners_alone(sshd: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "new" / "known_hosts"
    known_hosts.add(path, "dut", key_of(sshd), hashed=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["known_hosts"]


def test_a_file_keeps_its_lines_and_a_link_its_target(sshd: Sshd, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"# caf\xe9, and no newline at the end")
    path = tmp_path / "known_hosts"
    path.symlink_to(target)
    known_hosts.add(path, "dut", key_of(sshd), hashed=False)
    assert path.is_symlink()
    assert target.read_bytes().startswith(b"# caf\xe9, and no newline at the end\ndut ssh-ed25519 ")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_what_is_no_file_is_not_replaced(sshd: Sshd) -> None:
    with pytest.raises(InputError, match="/dev/null: it is no regular file"):
        known_hosts.add(Path("/dev/null"), "dut", key_of(sshd), hashed=False)
    assert Path("/dev/null").is_char_device()


def test_keys_that_are_added_at_once_are_all_there(sshd: Sshd, tmp_path: Path) -> None:
    path, key = tmp_path / "known_hosts", key_of(sshd)
    threads = [
        threading.Thread(
            target=known_hosts.add, args=(path, f"dut{number}", key), kwargs={"hashed": False}
        )
        for number in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read(path)) == 20


def test_removing_a_host_leaves_the_others(sshd: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    key, salted = sshd.public("ed25519"), known_hosts._hash("dut")
    path.write_text(
        f"# a comment\ndut {key}\nother,DUT,dut2 {key} why\n{salted} {key}\n"
        f"@revoked dut {key}\ndut3 {key}\n"
    )
    known_hosts.remove(path, "dut")
    left = f"# a comment\nother,dut2 {key} why\n@revoked dut {key}\ndut3 {key}\n"
    assert path.read_text() == left


def test_a_pattern_for_several_hosts_is_left_to_the_user(sshd: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"dut* {sshd.public('ed25519')}\n")
    with pytest.raises(InputError, match=re.escape(f"{path}:1 is a pattern that stands for other")):
        known_hosts.remove(path, "dut1")
    assert path.read_text() == f"dut* {sshd.public('ed25519')}\n"
    assert [entry.name for entry in tmp_path.iterdir() if "known" in entry.name] == ["known_hosts"]


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "known_hosts").mkdir()
    with pytest.raises(InputError, match="cannot read the known hosts"):
        read(tmp_path / "known_hosts")
