"""Whether KVM works is tried, with stand-ins for QEMU that say how it went."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_vswitch.apps import kvm
from pytest_vswitch.apps.guest_image import GuestImage
from pytest_vswitch.apps.kvm import Accelerator
from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.local import LocalHost
from tests.hosts.machine import DEADLINE_S

IMAGE = GuestImage("/boot/vmlinuz-6.1.0", "/cache/guest.cpio.gz", "6.1.0", "/usr/bin/dpdk-testpmd")

WORKS = "echo booting; echo 'VFS: Unable to mount root fs on unknown-block(0,0)'"
HANGS = "echo booting; exec sleep 3600"
REFUSES = "echo 'qemu: Could not access KVM: Permission denied' >&2; exit 1"
TCG = """for word; do
    shift
    case $word in kvm) word=tcg ;; host) word=max ;; esac
    set -- "$@" "$word"
done
exec qemu-system-x86_64 "$@\""""
ABORTS = "echo 'Assertion failed.' >&2; kill -ABRT $$"

HUNG = Accelerator("tcg", "/dev/kvm opens, but a guest on it hung for 0.5 s in its kernel")


class KvmHost(LocalHost):
    """This machine, with or without /dev/kvm, of some boot, and with some QEMU."""

    has_kvm = True
    boot = "first"
    qemu = ""

    def exists(self, path: str) -> bool:
        return self.has_kvm if path == "/dev/kvm" else super().exists(path)

    def read_text(self, path: str) -> str:
        return f"{self.boot}\n" if path.endswith("/boot_id") else super().read_text(path)


class Qemu:
    """A program that the test writes, and that counts how often it booted."""

    def __init__(self, directory: Path) -> None:
        self.program = directory / "qemu-stand-in"
        self.boots = directory / "boots"

    def does(self, script: str, version: str = "7.2.22") -> None:
        self.program.write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && echo "QEMU {version}" && exit\n'
            f'echo "$@" >> {self.boots}\n{script}\n'
        )
        self.program.chmod(0o755)

    @property
    def booted(self) -> int:
        return len(self.boots.read_text().splitlines()) if self.boots.exists() else 0


@pytest.fixture
def kvm_host(host: LocalHost, monkeypatch: pytest.MonkeyPatch) -> KvmHost:
    monkeypatch.setattr(kvm, "DEADLINE_S", 0.5)
    here = object.__new__(KvmHost)
    here.__dict__.update(host.__dict__)
    return here


@pytest.fixture
def qemu(tmp_path: Path, kvm_host: KvmHost) -> Qemu:
    stand_in = Qemu(tmp_path)
    kvm_host.qemu = str(stand_in.program)
    return stand_in


def choose(host: KvmHost, wanted: str = "auto", image: GuestImage = IMAGE) -> Accelerator:
    return kvm.choose(host, wanted, image, host.qemu)


def test_a_guest_that_says_its_word(kvm_host: KvmHost, qemu: Qemu) -> None:
    qemu.does(WORKS)
    assert choose(kvm_host) == Accelerator("kvm", "")
    assert choose(kvm_host, "kvm") == Accelerator("kvm", "")
    assert qemu.booted == 1  # known until the next boot
    assert "-accel kvm " in qemu.boots.read_text()
    assert f"-kernel {IMAGE.kernel} -append " in qemu.boots.read_text()


def test_a_real_kernel_says_that_word(
    kvm_host: KvmHost, qemu: Qemu, image: GuestImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On TCG, which works everywhere."""
    monkeypatch.setattr(kvm, "DEADLINE_S", DEADLINE_S)
    qemu.does(TCG)
    assert choose(kvm_host, image=image) == Accelerator("kvm", "")


def test_a_guest_that_hangs(kvm_host: KvmHost, qemu: Qemu) -> None:
    qemu.does(HANGS)
    assert choose(kvm_host) == HUNG
    qemu.does(WORKS)
    assert choose(kvm_host) == HUNG  # not waited for twice
    assert qemu.booted == 1


@pytest.mark.parametrize(
    ("script", "said"),
    [(REFUSES, "qemu: Could not access KVM: Permission denied"), ("exit 0", "nothing")],
)
def test_a_qemu_that_refuses_is_asked_again(
    kvm_host: KvmHost, qemu: Qemu, script: str, said: str
) -> None:
    qemu.does(script)
    assert choose(kvm_host) == Accelerator("tcg", f"QEMU refuses a guest on /dev/kvm: {said}")
    qemu.does(WORKS)  # mended
    assert choose(kvm_host).name == "kvm"


def test_a_qemu_that_crashes_is_not_asked_again(kvm_host: KvmHost, qemu: Qemu) -> None:
    qemu.does(ABORTS)
    crashed = Accelerator("tcg", "QEMU crashes with a guest on /dev/kvm: Assertion failed.")
    assert choose(kvm_host) == crashed
    qemu.does(WORKS)
    assert choose(kvm_host) == crashed


def test_what_was_found_holds_for_one_boot_qemu_and_kernel(kvm_host: KvmHost, qemu: Qemu) -> None:
    qemu.does(HANGS)
    assert choose(kvm_host) == HUNG
    qemu.does(WORKS)
    assert choose(kvm_host) == HUNG
    assert (
        choose(kvm_host, image=GuestImage("/k", "/i", "6.12.0", "/usr/bin/dpdk-testpmd")).name
        == "kvm"
    )
    kvm_host.boot = "second"
    assert choose(kvm_host).name == "kvm"
    qemu.does(HANGS)
    assert choose(kvm_host).name == "kvm"
    qemu.does(HANGS, version="9.0.0")
    assert choose(kvm_host) == HUNG


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"asked": 1}', '{"found": 2}'])
def test_a_broken_cache_is_ignored(kvm_host: KvmHost, qemu: Qemu, content: str) -> None:
    qemu.does(WORKS)
    cache = Path(kvm_host.cache) / "kvm.json"
    cache.parent.mkdir()
    cache.write_text(content)
    assert choose(kvm_host).name == "kvm"
    assert qemu.booted == 1
    assert json.loads(cache.read_text())["found"] == {"name": "kvm", "reason": ""}
    assert [path.name for path in cache.parent.iterdir()] == ["kvm.json"]


def test_without_the_device_nothing_is_tried(kvm_host: KvmHost, qemu: Qemu) -> None:
    kvm_host.has_kvm = False
    qemu.does(WORKS)
    assert choose(kvm_host) == Accelerator("tcg", "there is no /dev/kvm")
    assert qemu.booted == 0


def test_kvm_that_the_lab_demands_must_work(kvm_host: KvmHost, qemu: Qemu) -> None:
    qemu.does(REFUSES)
    with pytest.raises(
        HostError, match=r"guest.accelerator is kvm, but .*Permission denied; `auto`"
    ):
        choose(kvm_host, "kvm")


def test_tcg_that_the_lab_demands_is_taken_unasked(kvm_host: KvmHost, qemu: Qemu) -> None:
    qemu.does(WORKS)
    assert choose(kvm_host, "tcg") == Accelerator("tcg", "the lab asks for it")
    assert qemu.booted == 0
