"""A real PostgreSQL server, made for this session and gone with it."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_vswitch.results.store.sql import SqlStore

START_S = 120


@dataclass(frozen=True)
class Server:
    """It listens on a socket in `directory`, nowhere else, and lets everyone in there."""

    directory: Path
    numbers: Iterator[int]

    def program(self, name: str, *arguments: str) -> None:
        """As the user that PostgreSQL wants to be: anyone but root."""
        newest = max(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        who = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        done = subprocess.run(
            [newest, *arguments],
            cwd=self.directory,
            user=who and who.pw_uid,
            group=who and who.pw_gid,
            stdin=subprocess.DEVNULL,
            stdout=(self.directory / "log").open("a"),
            stderr=subprocess.STDOUT,
            timeout=START_S,
            check=False,
        )
        assert done.returncode == 0, (self.directory / "log").read_text()

    def control(self, *words: str) -> None:
        self.program("pg_ctl", "-D", f"{self.directory}/data", "-w", "-t", str(START_S), *words)

    def start(self) -> None:
        options = f"-k {self.directory} -c listen_addresses='' -c fsync=off"
        self.control("-o", options, "start")

    def stop(self) -> None:
        self.control("-m", "immediate", "stop")

    def new_database(self) -> str:
        """Its URL."""
        import psycopg

        name = f"store{next(self.numbers)}"
        with psycopg.connect(
            host=str(self.directory), user="postgres", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://postgres:geheim@/{name}?host={self.directory}"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    directory = Path(tempfile.mkdtemp(prefix="vswitch-postgresql-"))
    server = Server(directory, itertools.count())
    try:
        (directory / "log").touch()
        if os.geteuid() == 0:
            shutil.chown(directory, "postgres", "postgres")
        server.program(
            "initdb", "-D", f"{directory}/data", "-U", "postgres", "-A", "trust",
            "-E", "UTF8", "--locale=C.UTF-8", "--no-sync",
        )  # fmt: skip
        server.start()
        yield server
    finally:
        if (directory / "data/postmaster.pid").exists():
            server.stop()
        shutil.rmtree(directory)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def new_place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], str]:
    """Gives places for empty stores."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path_factory.mktemp('store')}/store.sqlite"
    made: Server = request.getfixturevalue("server")
    return made.new_database


@pytest.fixture
def place(new_place: Callable[[], str]) -> str:
    """Where an empty store may be."""
    return new_place()


@pytest.fixture
def store(place: str) -> Iterator[SqlStore]:
    with SqlStore(place) as opened:
        yield opened


@contextmanager
def stopped(server: Server) -> Iterator[None]:
    server.stop()
    try:
        yield
    finally:
        server.start()
