"""Nothing lost: writers at once, kill -9, a full disk, a server that is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.results.store import export, keeping, open_store
from pytest_vswitch.results.store.address import VARIABLE, chosen, without_password
from pytest_vswitch.results.store.history import Selection
from pytest_vswitch.results.store.rebuild import sync
from pytest_vswitch.results.store.sql import SqlStore
from tests.results.store.conftest import Server, stopped
from tests.results.store.made import SAMPLE, in_order, night, nights
from tests.results.store.test_sync import expected, kept, made, write

ROOT = Path(keeping.__file__).parents[3]
LONG_S = 300


def python(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


WRITER = """
import sys
from pytest_vswitch.results.store.sql import SqlStore
from tests.results.store.made import night
place, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with SqlStore(place) as store:
    for number in range(first, last):
        store.add(night(number))
"""


def test_two_processes_write_at_once(place: str) -> None:
    # The nights in the middle are of both: each is kept once.
    writers = [python(WRITER, place, "0", "25"), python(WRITER, place, "15", "40")]
    told = [writer.communicate(timeout=LONG_S) for writer in writers]
    assert told == [(b"", b"")] * 2
    with SqlStore(place) as store:
        assert list(store.samples(Selection())) == in_order(list(nights(40)))
        assert [run.samples for run in store.runs()] == [6] * 40


VICTIM = """
import sys
from pytest_vswitch.results.store.sql import SqlStore
from tests.results.store.made import night, nights
with SqlStore(sys.argv[1]) as store:
    store.add(nights(5))
    from pytest_vswitch.results.store.batch import Batch
    write = Batch.write
    def half(batch):
        count = write(batch)
        print("written, not committed", flush=True)
        sys.stdin.read()
        return count
    Batch.write = half
    store.add(night(5, cases=200))
"""


def test_killed_while_writing(place: str) -> None:
    victim = subprocess.Popen(
        [sys.executable, "-c", VICTIM, place],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert victim.stdin
    assert victim.stdout
    with victim.stdin, victim.stdout:
        assert victim.stdout.readline() == b"written, not committed\n"
        victim.send_signal(signal.SIGKILL)
        assert victim.wait(LONG_S) == -signal.SIGKILL
    with SqlStore(place) as store:
        assert list(store.samples(Selection())) == in_order(list(nights(5)))
        assert store.add(night(5, cases=200)) == 400
        assert store.add(nights(5)) == 0


def test_a_server_that_is_gone_when_a_run_ends(server: Server, tmp_path: Path) -> None:
    place = server.new_database()
    before, missed = made(0), made(1)
    directory = write(tmp_path, before)
    assert keeping.keep(place, before, directory) == ""
    directory = write(tmp_path, missed)
    with stopped(server):
        warning = keeping.keep(place, missed, directory)
        assert "nothing is lost: `vswitch store sync --reports" in warning
        assert "\n" not in warning
        assert "geheim" not in warning
    with SqlStore(place) as store:
        assert kept(store) == expected([before])
        assert sync(store, tmp_path) == 6
        assert kept(store) == expected([before, missed])


def test_a_store_that_is_open_survives_a_server_that_comes_back(server: Server) -> None:
    with SqlStore(server.new_database()) as store:
        store.add(night(0))
        with stopped(server), pytest.raises(HostError):
            store.add(night(1))
        assert store.add(night(1)) == 6
        assert list(store.samples(Selection())) == in_order([*night(0), *night(1)])


@contextmanager
def small_disk(directory: Path) -> Iterator[Path]:
    directory.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "none", directory], check=True, timeout=LONG_S
    )
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True, timeout=LONG_S)


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk, SqlStore(str(disk / "store.sqlite")) as store:
        store.add(nights(2))
        with pytest.raises(HostError, match="disk is full: free some space"):
            store.add(night(2, cases=5_000))
        assert list(store.samples(Selection())) == in_order(list(nights(2)))
        # Less goes in, once there is room again.
        assert store.add(night(3)) == 6


def test_a_store_on_a_full_disk_fails_no_run(tmp_path: Path) -> None:
    whole = made(0)
    directory = write(tmp_path / "reports", whole)
    with small_disk(tmp_path / "disk") as disk:
        (disk / "filler").write_bytes(bytes(390_000))
        warning = keeping.keep(str(disk / "store.sqlite"), whole, directory)
        assert "full" in warning
        (disk / "filler").unlink()
        assert keeping.keep(str(disk / "store.sqlite"), whole, directory) == ""


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite"
    file.write_text("my notes\n" * 200)
    with pytest.raises(HostError, match="not a database: move it away"):
        open_store(file)
    assert file.read_text() == "my notes\n" * 200


def test_a_damaged_store_is_told(tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite"
    with SqlStore(str(file)) as store:
        store.add(nights(50))
    whole = file.read_bytes()
    file.write_bytes(whole[:8192] + b"\xff" * 20_000 + whole[28_192:])
    with pytest.raises(HostError, match="vswitch store rebuild"), SqlStore(str(file)) as store:
        list(store.samples(Selection()))


def test_who_holds_the_store_too_long_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_vswitch.results.store.database.BUSY_S", 0.05)
    place = str(tmp_path / "store.sqlite")
    with SqlStore(place) as one, SqlStore(place) as other:
        with one._database.writing(), pytest.raises(HostError, match="another process has held it"):
            other.add([SAMPLE])
        assert other.add([SAMPLE]) == 1


def test_reading_goes_on_while_another_writes(store: SqlStore, place: str) -> None:
    store.add(nights(3))
    found = store.samples(Selection())
    first = next(found)
    with SqlStore(place) as other:
        other.add(night(3))
    # What is read is the state at its beginning.
    assert [first, *found] == in_order(list(nights(3)))
    assert len(list(store.samples(Selection()))) == 24


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("", "give a path, sqlite:///FILE"),
        ("mysql://joe:geheim@host/db", r"mysql://joe:\*\*\*@host/db: give"),
        ("postgresql:geheim", "give"),
        ("postgresql+psycopg2://joe:geheim@host/db", "give"),
        ("sqlite://", "give"),
        ("sqlite:///:memory:", "give"),
        ("postgresql://joe:geheim@host:port/db", "not a URL"),
        ("://joe:geheim@host", "not a URL"),
        ("parquet:/nowhere", "has no lab="),
    ],
)
def test_a_place_that_is_none_is_told_without_its_password(place: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        open_store(place)
    assert "geheim" not in str(caught.value)


def test_no_password_is_shown_of_a_server_that_refuses(server: Server) -> None:
    place = f"postgresql://joe:geheim@/postgres?host={server.directory}&sslpassword=geheim"
    with pytest.raises(HostError, match='role "joe" does not exist') as caught:
        open_store(place)
    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(HostError, match="refused") as caught:
        open_store("postgresql://joe:geheim@127.0.0.1:1/db?password=geheim")
    assert "geheim" not in str(caught.value)


def test_without_the_driver_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InputError, match=r"pip install pytest-vswitch\[postgres\]"):
        open_store("postgresql://joe@host/db")
    with pytest.raises(InputError, match=r"pip install pytest-vswitch\[postgres\]"):
        keeping.named("postgresql://joe@host/db")


def test_without_what_reads_parquet_one_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for module in ("duckdb", "pyarrow"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"pip install pytest-vswitch\[parquet\]"):
        open_store(f"parquet:{tmp_path}")
    with (
        SqlStore(str(tmp_path / "store.sqlite")) as store,
        pytest.raises(InputError, match=r"pip install pytest-vswitch\[parquet\]"),
    ):
        export.write(tmp_path / "a.parquet", store)


def test_where_the_store_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert chosen(None, Path("reports")) == "sqlite:///reports/store.sqlite"
    assert keeping.named(None) == ""
    monkeypatch.setenv(VARIABLE, "parquet:/lake")
    assert chosen(None, Path("reports")) == "parquet:/lake"
    assert keeping.named(None) == ""
    assert chosen("x.sqlite", Path("reports")) == "x.sqlite"
    assert keeping.named("x.sqlite") == "x.sqlite"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://joe:geheim@host/db", "postgresql://joe:***@host/db"),
        ("--store=postgresql://joe:ge@he:im@host/db", "--store=postgresql://joe:***@host/db"),
        (
            "postgresql://joe@host/db?password=geheim&x=1",
            "postgresql://joe@host/db?password=***&x=1",
        ),
        ("postgresql://joe:ge/he@im@host/db", "postgresql://joe:***@host/db"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("suites/pvp", "suites/pvp"),
        ("sqlite:////tmp/a.sqlite", "sqlite:////tmp/a.sqlite"),
    ],
)
def test_passwords_are_not_shown(text: str, shown: str) -> None:
    assert without_password(text) == shown
