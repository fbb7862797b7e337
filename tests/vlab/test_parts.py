"""The parts of a virtual DUT, each by itself; nothing is booted here."""

from __future__ import annotations

import lzma
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch import cli
from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.lab import loader
from pytest_vswitch.vlab import debian, disk, image, machine, ports, supervisor
from pytest_vswitch.vlab.state import Hardware, Place


@pytest.fixture
def host(tmp_path: Path) -> LocalHost:
    return LocalHost("test", Transcript(tmp_path))


@pytest.fixture
def small_disk(host: LocalHost, tmp_path: Path) -> Path:
    """An ext4 image with one file, /etc/old."""
    (tmp_path / "tree/etc").mkdir(parents=True)
    (tmp_path / "tree/etc/old").write_text("before\n")
    path = tmp_path / "small.ext4"
    host.run(["mke2fs", "-q", "-t", "ext4", "-d", str(tmp_path / "tree"), str(path), "8M"])
    return path


@pytest.fixture
def netns(host: LocalHost) -> Iterator[str]:
    name = f"vlab-test{os.getpid()}"
    ports.make(host, name)
    yield name
    ports.remove(host, name)


# --- the disk ---


def test_files_written_to_a_disk_are_read_back(
    host: LocalHost, small_disk: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_text("after\n")
    disk.write(host, small_disk, {"/etc/old": (source, 0o600), "/etc/new": (source, 0o644)})
    assert disk.read(host, small_disk, "/etc/old") == "after\n"
    assert disk.read(host, small_disk, "/etc/new") == "after\n"
    said = host.run(["debugfs", "-R", "stat /etc/old", str(small_disk)]).output
    assert "Mode:  0600" in said
    assert "User:     0   Group:     0" in said
    assert host.run(["e2fsck", "-f", "-n", str(small_disk)]).status == 0


def test_a_file_that_is_not_on_the_disk_is_named(host: LocalHost, small_disk: Path) -> None:
    with pytest.raises(HostError, match=r"there is no /etc/kernel/cmdline on the disk"):
        disk.read(host, small_disk, "/etc/kernel/cmdline")


def test_a_file_that_cannot_be_written_is_named(
    host: LocalHost, small_disk: Path, tmp_path: Path
) -> None:
    with pytest.raises(HostError, match="could not write /nowhere/file"):
        disk.write(host, small_disk, {"/nowhere/file": (tmp_path / "tree/etc/old", 0o644)})


def test_a_copied_disk_keeps_its_holes(host: LocalHost, small_disk: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.ext4"
    disk.copy(host, small_disk, copy)
    assert copy.read_bytes() == small_disk.read_bytes()
    assert copy.stat().st_blocks * 512 < 4 << 20


# --- what is built once ---


def test_what_is_cached_is_built_once_and_another_recipe_takes_its_place(
    host: LocalHost, tmp_path: Path
) -> None:
    built = []

    def build(directory: Path) -> None:
        built.append(directory)
        (directory / "made").write_text("whole")

    first = debian.cached(host, str(tmp_path / "base"), ["one"], build)
    assert debian.cached(host, str(tmp_path / "base"), ["one"], build) == first
    assert len(built) == 1
    second = debian.cached(host, str(tmp_path / "base"), ["two"], build)
    assert (second / "made").read_text() == "whole"
    assert [path.name for path in tmp_path.glob("*base*")] == [second.name]


def test_a_build_that_fails_leaves_nothing(host: LocalHost, tmp_path: Path) -> None:
    def build(directory: Path) -> None:
        (directory / "half").write_text("")
        raise HostError("the line is down")

    with pytest.raises(HostError, match="the line is down"):
        debian.cached(host, str(tmp_path / "base"), ["one"], build)
    assert not list(tmp_path.glob("*base*"))


def test_a_full_file_system_is_told_before_the_build(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=rf"{tmp_path} has \d+ MB free; building needs"):
        debian.require_space(tmp_path, 1 << 40)


def test_mmdebstraps_last_words_are_told(host: LocalHost, tmp_path: Path) -> None:
    tree = debian.Tree("no-such-suite", "extract", ["none"], ["--mode=nonsense"])
    with pytest.raises(HostError, match="nonsense"):
        debian.unpack(host, tree, tmp_path / "tree")


def test_a_kernel_is_unpacked_and_another_file_is_refused(tmp_path: Path) -> None:
    kernel = b"\x7fELF" + bytes(1000)
    vmlinuz = tmp_path / "vmlinuz"
    vmlinuz.write_bytes(b"a boot sector" + lzma.compress(kernel) + b"and what follows")
    assert image.uncompressed(vmlinuz) == kernel
    for wrong in (b"", b"no kernel", b"\xfd7zXZ\0" + bytes(100), lzma.compress(b"a text")):
        vmlinuz.write_bytes(wrong)
        with pytest.raises(HostError, match=f"cannot unpack the kernel {vmlinuz}"):
            image.uncompressed(vmlinuz)


# --- its ports ---


def test_a_frame_goes_through_a_tap_device_both_ways(host: LocalHost, netns: str) -> None:
    taps = ports.open_taps(netns)
    try:
        sender = (
            "import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x88b5); "
            "s.bind(('port1', 0x88b5)); s.send(bytes(12) + b'\\x88\\xb5there'.ljust(50)); "
            "print(s.recv(100))"
        )
        argv = ["ip", "netns", "exec", netns, sys.executable, "-c", sender]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
            frame = os.read(taps[1], 2000)
            os.write(taps[1], bytes(12) + b"\x88\xb5back".ljust(50))
            output = process.communicate(timeout=30)[0]
    finally:
        for tap in taps:
            os.close(tap)
    assert frame[14:19] == b"there"
    assert b"back" in output


def test_a_port_without_its_machine_has_no_carrier(host: LocalHost, netns: str) -> None:
    def carriers() -> list[str]:
        return [
            host.run(
                ["ip", "netns", "exec", netns, "cat", f"/sys/class/net/{name}/carrier"]
            ).output.strip()
            for name in ports.NAMES
        ]

    taps = ports.open_taps(netns)
    assert carriers() == ["1", "1"]
    for tap in taps:
        os.close(tap)
    assert carriers() == ["0", "0"]


def test_ports_in_use_are_not_removed(host: LocalHost, netns: str) -> None:
    argv = ["ip", "netns", "exec", netns, "cat"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        pids = ["ip", "netns", "pids", netns]
        while str(process.pid) not in host.run(pids).output and time.monotonic() < deadline:
            time.sleep(0.01)  # polls until it is in
        with pytest.raises(HostError, match=rf"in use .* {netns}: .* \({process.pid}\)"):
            ports.remove(host, netns)
        process.communicate(timeout=30)
    ports.make(host, netns)  # what is there stays


def test_a_namespace_that_is_gone_is_named(host: LocalHost) -> None:
    with pytest.raises(HostError, match="network namespace vlab-gone"):
        ports.open_taps("vlab-gone")


# --- whether it runs ---


def test_a_machine_is_on_as_long_as_its_supervisor_lives(tmp_path: Path) -> None:
    place = Place("one", tmp_path)
    place.directory.mkdir(parents=True)
    assert place.supervisor() is None
    code = (
        "import sys; from pathlib import Path; from pytest_vswitch.vlab.state import Place; "
        "Place('one', Path(sys.argv[1])).supervise(); print('on', flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"on\n"
        assert place.supervisor() == process.pid
        with pytest.raises(HostError, match="has a supervisor already"):
            place.supervise()
        process.kill()
        process.communicate(timeout=30)
    assert place.supervisor() is None


def test_a_disk_without_a_kernel_command_line_does_not_boot(
    small_disk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = Place("one", tmp_path)
    place.directory.mkdir(parents=True)
    small_disk.rename(place.disk)
    place.write_hardware(Hardware("/nowhere", 1, "none"))
    # In a process of its own: a supervisor holds its lock until its process ends.
    argv = [sys.executable, "-m", supervisor.__name__, str(tmp_path), "one"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4
    assert f"there is no {image.CMDLINE} on the disk {place.disk}" in done.stderr


def test_a_taken_port_is_not_forwarded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert machine.free_port(Hardware("", port, "")) != port
    assert machine.free_port(Hardware("", port, "")) == port


# --- the command ---


@pytest.mark.parametrize(
    ("words", "result"),
    [
        ("isolcpus=2,3", "root=/dev/vda quiet isolcpus=2,3"),
        ("quiet root=/dev/vdb", "quiet root=/dev/vdb"),
        (
            "hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=8",
            "root=/dev/vda quiet hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=8",
        ),
    ],
)
def test_words_take_the_place_of_those_of_the_same_name(words: str, result: str) -> None:
    assert machine.with_words("root=/dev/vda quiet", words) == result


def test_the_lab_file_points_to_where_the_machine_is() -> None:
    lab = loader.load("vlab", [loader.packaged()])
    place = Place("vlab")
    assert lab.dut.ssh is not None
    assert lab.dut.host == "root@vlab"
    assert lab.dut.ssh.config == str(place.ssh_config)
    assert lab.dut.ssh.identity == str(place.identity)
    assert lab.dut.ssh.known_hosts == str(place.known_hosts)
    assert lab.generator.netns == place.netns
    assert [getattr(port, "generator", None) for port in lab.ports] == list(ports.NAMES)


@pytest.mark.parametrize("action", ["up", "reboot", "down"])
def test_a_lab_that_is_not_virtual_is_refused(
    action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["lab", action, "local"]) == 4
    assert "the DUT of lab `local` is not a virtual one" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["up", "reboot", "down"])
def test_each_action_teaches_by_an_example(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["lab", action, "--help"])
    assert f"example:\n  vswitch lab {action} vlab" in capsys.readouterr().out


def test_missing_programs_are_named_by_package(
    host: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = {"mmdebstrap", "debugfs"}
    which = host.which
    monkeypatch.setattr(host, "which", lambda name: None if name in missing else which(name))
    with pytest.raises(InputError, match="needs e2fsprogs, mmdebstrap: `apt install"):
        machine.up(host, Place("one", tmp_path), print)
    assert not Place("one", tmp_path).directory.exists()


def test_one_that_is_off_cannot_be_rebooted(host: LocalHost, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one is not up: `vswitch lab up one` boots it"):
        machine.reboot(host, Place("one", tmp_path), print)
