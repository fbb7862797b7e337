"""A guest of the user's: what its lab may say, what it boots, what it is told and asked."""

from __future__ import annotations

import dataclasses
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from pytest_vswitch.apps import users_guest
from pytest_vswitch.apps.guest import Guest
from pytest_vswitch.apps.guest_image import GuestImage, Login
from pytest_vswitch.errors import DutError, InputError
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.lab import loader
from pytest_vswitch.lab.schema import Lab
from tests.hosts.ssh.sshd import Sshd, keygen

WISHES = "vswitch.ports=0000:00:10.0,0000:00:11.0 vswitch.hugepages=160"


def lab_with(directory: Path, guest: str) -> Lab:
    """A lab whose `guest` section, from line 3 on, is that."""
    path = directory / "own.yaml"
    lines = "".join(f"  {line}\n" for line in guest.splitlines())
    path.write_text(
        f"dut: {{host: local}}\nguest:\n{lines}ports: [{{kind: memif}}, {{kind: memif}}]\n"
    )
    return loader.load(str(path))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An empty disk image."""
    path = tmp_path / "debian.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "64M"], check=True)
    return path


# --- the lab ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guest", "line", "message"),
    [
        ("image: debian.qcow2", 3, "must be `builtin` or the absolute path of a disk image"),
        ("initramfs: /boot/initrd", 3, "an initramfs belongs to a kernel: set `guest.kernel`, too"),
        ("image: /a\narguments: quiet", 4, "the image boots its own kernel"),
        ("login: {key: /root/.ssh/id}", 3, "only a `guest.image` is logged in to"),
        ("image: /a\nlogin: {user: root}", 4, "key"),
        ("image: /a\nlogin: {key: id}", 4, "give an absolute path on the DUT"),
        ("image: /a\nlogin: {key: /id, user: Root}", 4, "name a user of the guest"),
        ("image: /a\nlogin: {key: /id, host_key: none}", 4, "write type and key"),
        ("testpmd: testpmd", 3, "`testpmd` is for a guest of your own"),
        ("driver_directory: /usr/lib/dpdk", 3, "`driver_directory` is for a guest of your own"),
        ("boot_timeout_s: 0", 3, "must be more than 0"),
    ],
)
def test_what_a_lab_cannot_say(tmp_path: Path, guest: str, line: int, message: str) -> None:
    with pytest.raises(InputError) as caught:
        lab_with(tmp_path, guest)
    assert f"own.yaml:{line}:" in str(caught.value)
    assert message in str(caught.value)


def test_a_lab_without_one_has_the_built_in_guest(tmp_path: Path) -> None:
    assert not users_guest.is_wanted(loader.load("local"))
    assert not users_guest.is_wanted(lab_with(tmp_path, "kernel: /boot/vmlinuz"))
    assert users_guest.is_wanted(lab_with(tmp_path, "image: /a"))
    assert users_guest.is_wanted(lab_with(tmp_path, "kernel: /boot/vmlinuz\ninitramfs: /boot/i"))


@pytest.mark.parametrize(
    ("guest", "line", "path"),
    [
        ("image: /none/a", 3, "/none/a"),
        ("kernel: /none/k\ninitramfs: /dev/null", 3, "/none/k"),
        ("kernel: /dev/null\ninitramfs: /none/i", 4, "/none/i"),
        ("image: /dev/null\nlogin: {key: /none/id}", 4, "/none/id"),
    ],
)
def test_a_file_that_is_not_there_is_named(
    host: LocalHost, tmp_path: Path, guest: str, line: int, path: str
) -> None:
    with pytest.raises(InputError, match=rf"own.yaml:{line}: local has no file {path}"):
        users_guest.preflight(lab_with(tmp_path, guest), host)


@pytest.mark.parametrize(
    ("program", "package", "login"),
    [
        ("qemu-img", "qemu-utils", ""),
        ("genisoimage", "genisoimage", ""),
        ("ssh", "openssh-client", "login: {key: /dev/null}"),
    ],
)
def test_a_program_that_is_not_there_is_named(
    host: LocalHost,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    package: str,
    login: str,
) -> None:
    lab = lab_with(tmp_path, f"image: /dev/null\n{login}")
    users_guest.preflight(lab, host)
    found = LocalHost.which
    monkeypatch.setattr(
        LocalHost, "which", lambda self, name: None if name == program else found(self, name)
    )
    with pytest.raises(InputError, match=f"has no program `{program}`: apt-get install {package}"):
        users_guest.preflight(lab, host)


# --- what it boots ------------------------------------------------------------------------


def test_an_image_with_cloud_init(host: LocalHost, tmp_path: Path, image: Path) -> None:
    before = image.read_bytes()
    lab = lab_with(tmp_path, f"image: {image}")
    with users_guest.prepared(lab, host, "guest", WISHES) as boots:
        assert (boots.kernel, boots.initramfs, boots.login) == ("", "", None)
        assert (boots.testpmd, boots.driver_directory) == ("dpdk-testpmd", "")
        disk, seed = boots.disks
        told = json.loads(host.run(["qemu-img", "info", "--output=json", disk.path]).output)
        assert (told["format"], told["backing-filename"]) == (disk.format, str(image))
        host.run(["qemu-io", "-f", "qcow2", "-c", "write 0 64k", disk.path])
        assert seed.read_only
        volume = host.run(["isoinfo", "-d", "-i", seed.path]).output
        assert "Volume id: cidata" in volume
        read = ["isoinfo", "-i", seed.path, "-R", "-x"]
        assert host.run([*read, "/user-data"]).output == users_guest.script(WISHES)
        assert "instance-id: vswitch-" in host.run([*read, "/meta-data"]).output
        assert "ethernets: {}" in host.run([*read, "/network-config"]).output
    assert image.read_bytes() == before
    assert not Path(disk.path).exists()
    assert not Path(seed.path).exists()


def test_an_image_with_ssh(host: LocalHost, tmp_path: Path, image: Path) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA=="
    lab = lab_with(
        tmp_path, f"image: {image}\nlogin: {{user: debian, key: /dev/null, host_key: {key}}}"
    )
    with users_guest.prepared(lab, host, "guest", WISHES) as boots:
        (disk,) = boots.disks
        assert boots.login is not None
        assert boots.login.port in users_guest._PORTS
        assert boots.login == Login("debian", boots.login.port, "/dev/null", key, WISHES)
    assert not Path(disk.path).exists()


def test_a_kernel_and_an_initramfs(host: LocalHost, tmp_path: Path) -> None:
    kernel = tmp_path / "vmlinuz-6.1"
    kernel.touch()
    lab = lab_with(
        tmp_path,
        f"kernel: {kernel}\ninitramfs: /dev/null\narguments: debug\ntestpmd: /opt/testpmd\n"
        "driver_directory: /opt/drivers",
    )
    with users_guest.prepared(lab, host, "guest", WISHES) as boots:
        assert boots == GuestImage(
            kernel=str(kernel),
            initramfs="/dev/null",
            release="6.1",
            testpmd="/opt/testpmd",
            driver_directory="/opt/drivers",
            arguments="debug",
        )


def test_a_damaged_image_is_told_by_qemu_img(host: LocalHost, tmp_path: Path, image: Path) -> None:
    image.write_bytes(image.read_bytes()[:20])
    lab = lab_with(tmp_path, f"image: {image}")
    with (
        pytest.raises(InputError, match=r"own.yaml:3: qemu-img: .*debian.qcow2"),
        users_guest.prepared(lab, host, "guest", WISHES),
    ):
        pass


def test_a_port_that_is_taken_is_not_used(host: LocalHost, monkeypatch: pytest.MonkeyPatch) -> None:
    free = users_guest._free_port(host, "guest")
    listening = f"   0: 0100007F:{free:04X} 00000000:0000 0A 00000000:00000000\n"
    monkeypatch.setattr(LocalHost, "read_text", lambda self, path: listening)
    assert users_guest._free_port(host, "guest") != free


# --- what it is told ----------------------------------------------------------------------


def test_the_script_is_one_for_a_shell(tmp_path: Path) -> None:
    text = users_guest.script(WISHES)
    path = tmp_path / "serve"
    path.write_text(text)
    subprocess.run(["sh", "-n", str(path)], check=True)
    wished = text.partition("modprobe")[0] + "option ports\noption hugepages\n"
    said = subprocess.run(["sh", "-c", wished], check=True, capture_output=True, text=True).stdout
    assert said.split() == ["0000:00:10.0,0000:00:11.0", "160"]


class Standing:
    """A guest whose shell is this machine's, where paths and programs stand for the guest's."""

    name = "QEMU"

    def __init__(self, root: str = "") -> None:
        self.machine = self
        self._root = root

    def run(self, command: str, *, why: str = "") -> str:
        for path in ("/sys/bus", "/proc/sys"):
            command = command.replace(path, f"{self._root}{path}")
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
        if done.returncode:
            raise DutError(f"guest: failed with status {done.returncode}: {done.stdout.strip()}")
        return done.stdout

    def end(self, *, within_s: float = 0.0) -> str | None:
        return None

    def kernel_log(self) -> str:
        return "    login:"


IMAGE = GuestImage("", "", "", "dpdk-testpmd", driver_directory="")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What of a guest is looked at, and right."""
    devices = tmp_path / "sys/bus/pci/devices"
    for address in ("0000:00:10.0", "0000:00:11.0"):
        (devices / address).mkdir(parents=True)
        (devices / address / "driver").symlink_to("../../drivers/uio_pci_generic")
    (tmp_path / "proc/sys/vm").mkdir(parents=True)
    (tmp_path / "proc/sys/vm/nr_hugepages").write_text("160\n")
    return tmp_path


def ready(root: Path, image: GuestImage = IMAGE, wishes: str = WISHES) -> None:
    users_guest.check(cast(Guest, Standing(str(root))), image, wishes)


@pytest.mark.parametrize("driver", ["virtio-pci", None])
def test_a_port_without_a_driver_for_dpdk_is_told(root: Path, driver: str | None) -> None:
    ready(root)
    link = root / "sys/bus/pci/devices/0000:00:11.0/driver"
    link.unlink()
    if driver:
        link.symlink_to(f"../../drivers/{driver}")
    says = f"the guest's port 0000:00:11.0 has no driver for DPDK.*status 1: {driver or 'none'}"
    with pytest.raises(DutError, match=f"(?s){says}"):
        ready(root)


def test_too_few_hugepages_are_told(root: Path) -> None:
    (root / "proc/sys/vm/nr_hugepages").write_text("64\n")
    says = "(?s)the guest has not the 160 hugepages of 2 MB.*raise guest.memory_mb.*: 64"
    with pytest.raises(DutError, match=says):
        ready(root)


def test_a_testpmd_that_is_not_there_is_told(root: Path) -> None:
    image = dataclasses.replace(IMAGE, testpmd="/opt/testpmd")
    with pytest.raises(DutError, match="the guest has no program `/opt/testpmd`: install DPDK"):
        ready(root, image)
    ready(root, image, WISHES.replace("160", "0"))  # no DPDK is wanted


# --- over SSH -----------------------------------------------------------------------------


@pytest.fixture
def harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the script makes, on this machine; the real one would change it."""
    made = tmp_path / "made"
    monkeypatch.setattr(users_guest, "script", lambda wishes: f"echo '{wishes}' > {made}\n")
    return made


def log_in(host: LocalHost, login: Login, timeout_s: float = 60.0) -> None:
    image = GuestImage("", "", "", "dpdk-testpmd", login=login)
    users_guest.log_in(host, cast(Any, Standing()), image, host.scratch, timeout_s)


def way_in(sshd: Sshd, *, key: Path | None = None, host_key: str = "") -> Login:
    return Login(sshd.user, sshd.port, str(key or sshd.client_key), host_key, WISHES)


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    """It stands for the guest's."""
    with Sshd(tmp_path / "sshd", kinds=("ed25519",)) as server:
        yield server


@pytest.mark.parametrize("pinned", [True, False])
def test_the_script_is_carried_out(
    host: LocalHost, sshd: Sshd, harmless: Path, pinned: bool
) -> None:
    log_in(host, way_in(sshd, host_key=sshd.public("ed25519") if pinned else ""))
    assert harmless.read_text() == f"{WISHES}\n"


def test_a_guest_that_is_still_booting_is_waited_for(
    host: LocalHost, sshd: Sshd, harmless: Path
) -> None:
    """QEMU takes the connection long before the guest does, and drops it."""
    login = way_in(sshd)
    sshd.stop()
    with socket.create_server(("127.0.0.1", login.port)) as early:
        dropped = threading.Event()

        def drop() -> None:
            early.accept()[0].close()
            early.close()
            sshd.start()
            dropped.set()

        thread = threading.Thread(target=drop)
        thread.start()
        log_in(host, login)
        thread.join()
    assert dropped.is_set()
    assert harmless.exists()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("another host key", "erification failed"),
        ("another key", "Permission denied"),
        ("no sshd", "Connection refused"),
    ],
)
def test_a_refusal_is_told_at_once(
    host: LocalHost, sshd: Sshd, harmless: Path, tmp_path: Path, fault: str, message: str
) -> None:
    other = keygen(tmp_path / "other")
    login = way_in(sshd)
    if fault == "another host key":
        key = " ".join(Path(f"{other}.pub").read_text().split()[:2])
        login = way_in(sshd, host_key=key)
    elif fault == "another key":
        login = way_in(sshd, key=other)
    else:
        sshd.stop()
    with pytest.raises(
        DutError, match=rf"(?s)cannot be logged in to over SSH: .*{message}.*login:"
    ):
        log_in(host, login, timeout_s=600)
    assert not harmless.exists()


def test_a_guest_that_lets_nobody_in_is_told(host: LocalHost, sshd: Sshd, harmless: Path) -> None:
    login = way_in(sshd)
    sshd.stop()
    with (
        socket.create_server(("127.0.0.1", login.port)),
        pytest.raises(DutError, match="lets nobody in within 1 s"),
    ):
        log_in(host, login, timeout_s=1)
