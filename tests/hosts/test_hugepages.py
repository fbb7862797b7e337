"""Hugepages: used if free, allocated and given back if not, and never silently missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import hugepages
from pytest_vswitch.hosts.hugepages import Hugepages
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.undo import Change

SYSTEM = Path("/sys/kernel/mm/hugepages")
NEEDS_MB = (64, 33)
PAGES_2M = 32 + 17


class FakeHost(LocalHost):
    """This machine with a kernel whose pool of hugepages is a directory."""

    memory_kb = 200 * 1024

    def __init__(self, host: LocalHost, sizes: dict[int, tuple[int, int, int]]) -> None:
        """`sizes`: by page size [KiB], the pages there are, free and reserved."""
        self.__dict__.update(host.__dict__)
        self.root = Path(host.scratch) / "hugepages"
        for size_kb, counts in sizes.items():
            pool = self.root / f"hugepages-{size_kb}kB"
            pool.mkdir(parents=True)
            for name, count in zip(("nr", "free", "resv"), counts, strict=True):
                (pool / f"{name}_hugepages").write_text(f"{count}\n")

    def pool(self, path: str) -> str:
        return path.replace(str(SYSTEM), str(self.root))

    def exists(self, path: str) -> bool:
        return super().exists(self.pool(path))

    def read_text(self, path: str) -> str:
        return super().read_text(self.pool(path))

    def write_text(self, path: str, text: str) -> None:
        """Give what memory there is, as the kernel does."""
        size_kb = int(path.rpartition("hugepages-")[2].partition("kB")[0])
        most = max(self.total(size_kb), self.memory_kb // size_kb)
        given = min(int(text), most)
        super().write_text(self.pool(path), f"{given}\n")

    @contextlib.contextmanager
    def changing(self, change: Change) -> Iterator[None]:
        path = self.pool(change.path)
        with super().changing(Change(change.kind, path, change.before)):
            yield

    def total(self, size_kb: int) -> int:
        return int((self.root / f"hugepages-{size_kb}kB/nr_hugepages").read_text())


def test_free_pages_are_used_and_none_is_allocated(host: LocalHost) -> None:
    fake = FakeHost(host, {2048: (60, PAGES_2M, 0)})
    with hugepages.reserve(fake, "auto", NEEDS_MB) as pages:
        assert pages == Hugepages(2048, f"{PAGES_2M} were free")
        assert fake.total(2048) == 60


def test_missing_pages_are_allocated_and_given_back(host: LocalHost) -> None:
    fake = FakeHost(host, {2048: (10, 9, 0)})
    with hugepages.reserve(fake, "2M", NEEDS_MB) as pages:
        assert pages == Hugepages(2048, f"{PAGES_2M - 9} allocated for this run")
        assert fake.total(2048) == 10 + PAGES_2M - 9
    assert fake.total(2048) == 10


def test_pages_promised_to_others_are_not_free(host: LocalHost) -> None:
    fake = FakeHost(host, {2048: (60, 60, 20)})
    with hugepages.reserve(fake, "2M", NEEDS_MB) as pages:
        assert pages == Hugepages(2048, f"{PAGES_2M - 40} allocated for this run")
        assert fake.total(2048) == 60 + PAGES_2M - 40
    assert fake.total(2048) == 60


def test_each_program_gets_whole_pages(host: LocalHost) -> None:
    fake = FakeHost(host, {1048576: (2, 2, 0)})
    with hugepages.reserve(fake, "1G", (1, 1)) as pages:
        assert pages.size_kb == 1048576
    with (
        pytest.raises(HostError, match="of 1 more pages of 1048576 kB the kernel gave 0"),
        hugepages.reserve(fake, "1G", (1, 1025)),
    ):
        pass


def test_too_few_pages_of_one_size_fall_back_to_another(host: LocalHost) -> None:
    fake = FakeHost(host, {2048: (0, 0, 0), 1048576: (2, 2, 0)})
    fake.memory_kb = 1024
    with hugepages.reserve(fake, "auto", NEEDS_MB) as pages:
        assert pages == Hugepages(1048576, "2 were free")
    assert fake.total(2048) == 0


def test_without_enough_pages_auto_takes_none_and_says_why(host: LocalHost) -> None:
    fake = FakeHost(host, {2048: (3, 0, 0)})
    fake.memory_kb = 20 * 2048
    with hugepages.reserve(fake, "auto", NEEDS_MB) as pages:
        why = f"of {PAGES_2M} more pages of 2048 kB the kernel gave 17; "
        assert pages == Hugepages(None, why + "the kernel has no 1048576 kB pages")
        assert fake.total(2048) == 3  # given back at once: they are of no use


def test_pages_that_the_lab_names_must_be_had(host: LocalHost) -> None:
    fake = FakeHost(host, {})
    message = "local: dut.hugepages is 2M, but the kernel has no 2048 kB pages"
    with (
        pytest.raises(HostError, match=message),
        hugepages.reserve(fake, "2M", NEEDS_MB),
    ):
        pass


def test_none_asks_for_none(host: LocalHost) -> None:
    fake = FakeHost(host, {2048: (60, 60, 0)})
    with hugepages.reserve(fake, "none", NEEDS_MB) as pages:
        assert str(pages) == "no hugepages (the lab asks for none)"


def test_a_pool_that_cannot_be_written(host: LocalHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(self: FakeHost, path: str, text: str) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(FakeHost, "write_text", read_only)
    fake = FakeHost(host, {2048: (0, 0, 0)})
    with hugepages.reserve(fake, "auto", NEEDS_MB) as pages:
        assert pages.size_kb is None
        assert f"of {PAGES_2M} more pages of 2048 kB the kernel gave 0" in pages.reason


def test_the_real_kernel_gives_and_takes_back(host: LocalHost) -> None:
    total = SYSTEM / "hugepages-2048kB/nr_hugepages"
    free = SYSTEM / "hugepages-2048kB/free_hugepages"
    if not total.exists():
        pytest.skip("this kernel has no 2 MB pages")
    before = int(total.read_text())
    need_mb = 2 * (int(free.read_text()) + 5)
    with hugepages.reserve(host, "2M", [need_mb]) as pages:
        assert pages.reason == "5 allocated for this run"
        assert int(total.read_text()) == before + 5
    assert int(total.read_text()) == before
