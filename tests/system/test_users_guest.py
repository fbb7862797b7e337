"""A PVP with a guest of the user's: by cloud-init, over SSH, or as a kernel and an initramfs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch.apps import guest_image
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.measure.functional import check_functional
from pytest_vswitch.topologies.chain import Chain
from tests.hosts.machine import machine
from tests.system import running, users_image
from tests.system.users_image import UsersImage

BOOT_S = 600.0
"""Emulated, on a busy machine [s]."""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHost]:
    with machine(tmp_path_factory.mktemp("users")) as here:
        yield here


@pytest.fixture(scope="module")
def image(here: LocalHost) -> UsersImage:
    return users_image.prepare(here)


def forwards(reports: Path, guest: dict[str, Any]) -> None:
    """Frames return through that guest, and nothing is left of it."""
    lab = Lab.model_validate(
        {
            "name": "users",
            "dut": {"host": "local"},
            "guest": {"vcpus": 2, "boot_timeout_s": BOOT_S, **guest},
            "ports": [{"kind": "memif"}, {"kind": "memif"}],
        }
    )
    with running.opened(reports, lab) as run:
        wired = run.wired("pvp")
        assert isinstance(wired.topology, Chain)
        check_functional(wired.topology, wired.generator, 64)
        assert wired.topology.facts.versions["guest kernel"]
    assert list(Path(LocalHost.cache).glob(f"disk-{run.facts.id}*")) == []


def test_a_kernel_and_an_initramfs(here: LocalHost, tmp_path: Path) -> None:
    """The built-in ones, in the user's hands."""
    built_in = guest_image.prepare(_with_cache(here), kernel="auto", testpmd="dpdk-testpmd")
    guest = {
        "kernel": built_in.kernel,
        "initramfs": built_in.initramfs,
        "arguments": "loglevel=5",
        "testpmd": built_in.testpmd,
        "driver_directory": guest_image.DRIVER_DIRECTORY,
    }
    forwards(tmp_path, guest)


def _with_cache(here: LocalHost) -> LocalHost:
    """With the machine's kernel for guests."""
    here.cache = LocalHost.cache
    return here


def booted_directly(image: UsersImage, arguments: str = "") -> dict[str, str]:
    """It has no boot loader, which takes its time under emulation."""
    return {
        "image": str(image.disk),
        "kernel": str(image.kernel),
        "initramfs": str(image.initramfs),
        "arguments": f"root=/dev/vda rw {arguments}",
    }


@pytest.mark.vlab
def test_an_image_with_cloud_init_at_libvirt(image: UsersImage, tmp_path: Path) -> None:
    before = image.disk.stat()
    forwards(tmp_path, {**booted_directly(image), "hypervisor": "libvirt"})
    assert image.disk.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.vlab
def test_an_image_over_ssh(image: UsersImage, tmp_path: Path) -> None:
    guest = booted_directly(image, "cloud-init=disabled")
    forwards(tmp_path, {**guest, "login": {"key": str(image.key)}})
