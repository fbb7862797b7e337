from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.apps import guest_image
from pytest_vswitch.apps.guest_image import GuestImage
from pytest_vswitch.hosts.local import LocalHost
from tests.hosts.machine import machine

KERNEL = Path(LocalHost.cache) / "kernel"
"""Where `ci/setup` unpacks a kernel for the guest."""


def with_kernel(host: LocalHost) -> LocalHost:
    """`host`, whose empty cache has the machine's kernel for guests."""
    Path(host.cache).mkdir()
    (Path(host.cache) / "kernel").symlink_to(KERNEL)
    return host


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LocalHost]:
    """This machine; transcript and logs are in `tmp_path`."""
    with machine(tmp_path) as here:
        yield here


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuestImage]:
    """A guest's kernel and initramfs, made here."""
    with machine(tmp_path_factory.mktemp("image")) as here:
        yield guest_image.prepare(with_kernel(here), kernel="auto", testpmd="dpdk-testpmd")
