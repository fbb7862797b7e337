"""The connection to a store's database: made safe for two writers, at today's schema, or refused.

Errors are told without passwords: neither SQLAlchemy's nor the driver's text reaches a
reader unseen.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.results.store.address import without_password

REVISIONS = ("1", "2")
"""Of the schema, oldest first."""

VERSION_TABLE = "vswitch_schema"
"""Not Alembic's own name: a team's database may hold other things."""

BUSY_S = 60
"""How long a writer waits for another one."""

CONNECT_S = 10
"""How long a server may take to answer."""

_PLACES = "a path, sqlite:///FILE, postgresql://USER@HOST/DATABASE or parquet:DIR"

_POSTGRESQL = {
    "connect_timeout": CONNECT_S,
    # A server that vanished is noticed, also by a query that waits for it.
    "keepalives_idle": 30,
    "tcp_user_timeout": 1000 * BUSY_S,
    "options": f"-c lock_timeout={BUSY_S}s",
}

_HELD = f"another process has held it for {BUSY_S} s; see which, and try again"
_ADVICE = {
    "is locked": _HELD,
    "lock timeout": _HELD,
    "unable to open": "name a file that can be written with --store",
    "readonly": "name a file that can be written with --store",
    "is full": "free some space, then run `vswitch store sync`: the journals have it all",
    "malformed": "it is damaged: move it away, then run `vswitch store rebuild`",
    "not a database": "move it away, then run `vswitch store rebuild`, or name another file",
}


class Database:
    """An engine whose errors are told in our words."""

    def __init__(self, place: str) -> None:
        """Raises InputError, HostError: see `open_store`."""
        self.engine = engine_of(place)
        self.shown = _shown(self.engine.url)
        self._password = self.engine.url.password or ""
        with self.told():
            migrate(self.engine)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Raises HostError for whatever the database or its driver complains of."""
        try:
            yield
        except SQLAlchemyError as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            said = " ".join(str(cause).split()) or type(cause).__name__
            if self._password:
                said = said.replace(self._password, "***")
            advice = next((f": {a}" for part, a in _ADVICE.items() if part in said), "")
            raise HostError(f"store {self.shown}: {without_password(said)}{advice}") from None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One state of the store, whatever others write meanwhile."""
        with self.told(), self.engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """All of it or nothing."""
        with self.told(), _writing(self.engine) as connection:
            yield connection

    def close(self) -> None:
        self.engine.dispose()


def check(place: str) -> None:
    """Raises InputError for a place that is none, or whose driver is missing."""
    engine_of(place).dispose()


def migrate(engine: Engine, to: str = REVISIONS[-1]) -> None:
    """Bring the schema to revision `to`, in one transaction.

    Raises InputError for a schema that is newer than this package.
    """
    with engine.connect() as connection:
        if _revision(connection, engine.url) == to:
            return
    with _writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            # SQLite's writers wait for each other; here, those who migrate must be made to.
            connection.execute(text("SELECT pg_advisory_xact_lock(727274)"))
        if _revision(connection, engine.url) != to:
            _upgrade(connection, to)


def _upgrade(connection: Connection, to: str) -> None:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    script = ScriptDirectory.from_config(config)

    def steps(revision: Any, _context: object) -> Any:
        return script._upgrade_revs(to, revision)

    with EnvironmentContext(config, script, fn=steps, destination_rev=to) as environment:
        environment.configure(
            connection=connection, version_table=VERSION_TABLE, transactional_ddl=True
        )
        environment.run_migrations()


def _revision(connection: Connection, url: URL) -> str | None:
    """None for an empty database. Raises InputError for one of a newer version."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    if found is not None and found not in REVISIONS:
        raise InputError(
            f"store {_shown(url)}: written by a newer pytest-vswitch "
            f"(schema {found}; this one knows up to {REVISIONS[-1]}): upgrade"
        )
    return found


@contextmanager
def _writing(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        connection = connection.execution_options(vswitch_writes=True)
        with connection.begin():
            yield connection


def _url(place: str) -> URL:
    """Raises InputError; the place is not repeated where it might hold a password."""
    if "://" not in place:
        if not place or place.startswith(("postgresql:", "sqlite:")):
            raise InputError(f"store: give {_PLACES}")
        return URL.create("sqlite", database=str(Path(place).absolute()))
    try:
        url = make_url(place)
    except (ArgumentError, ValueError):
        raise InputError(f"store: not a URL; give {_PLACES}") from None
    if url.drivername in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername == "sqlite" and url.database not in (None, "", ":memory:"):
        return url
    if url.drivername == "postgresql+psycopg":
        return url
    raise InputError(f"store {_shown(url)}: give {_PLACES}")


def _shown(url: URL) -> str:
    """Without what may hold a secret."""
    query = {name: value for name, value in url.query.items() if name in ("host", "port")}
    return url.set(drivername=url.get_backend_name(), query=query).render_as_string(
        hide_password=True
    )


def engine_of(place: str) -> Engine:
    """Not connected yet. Raises InputError, HostError."""
    url = _url(place)
    if url.get_backend_name() == "sqlite":
        return _sqlite(url)
    try:
        return create_engine(
            url,
            connect_args={k: v for k, v in _POSTGRESQL.items() if k not in url.query},
            pool_pre_ping=True,
        )
    except ImportError as error:
        raise InputError(
            f"store {_shown(url)}: PostgreSQL needs `pip install pytest-vswitch[postgres]` "
            f"({error})"
        ) from None


def _sqlite(url: URL) -> Engine:
    file = Path(url.database or "")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(f"store {_shown(url)}: {error.strerror}") from None
    # A connection for each use: one that is held would hold its file, too, when that is
    # moved away.
    engine = create_engine(url, connect_args={"timeout": BUSY_S}, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _record: object) -> None:
        # The driver's own idea of a transaction leaves out what makes tables.
        connection.isolation_level = None
        # Readers and a writer do not wait for each other. Whoever does not get it, because
        # another process is just changing to it, is as safe without.
        with suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        # A reader that turns writer could not wait for another writer.
        writes = connection.get_execution_options().get("vswitch_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
