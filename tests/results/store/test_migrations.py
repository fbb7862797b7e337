"""Stores of other versions of this package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.results.store import database, open_store
from pytest_vswitch.results.store.history import Selection
from pytest_vswitch.results.store.sql import SqlStore
from pytest_vswitch.results.store.tables import METADATA
from tests.results.store.made import SAMPLE

AT_REVISION_1 = """
INSERT INTO run (id, lab, run, at_s, digest, samples, simulated)
    VALUES (1, 'lab1', '20231114-221320-1', 1700000000.0, '{digest}', 1, {false});
INSERT INTO environment (id, digest, machine, software, setup)
    VALUES (1, '{environment}', '{machine}', '{software}', '{setup}');
INSERT INTO test_case (id, suite, name) VALUES (1, 'pvp', 'pvp:frame_bytes=64');
INSERT INTO metric (id, name, unit, better) VALUES (1, 'NDR', 'frames/s', 'more');
INSERT INTO hop (id, name) VALUES (1, 'vhost0 -> virtio0');
INSERT INTO versions (id, versions) VALUES (1, '{versions}');
INSERT INTO sample VALUES (1, 0, 1, 1, 1, 1, 1, 1e6, 1e6, 1.005e6, {false}, {false});
INSERT INTO run_environment VALUES (1, 1)
"""
"""`SAMPLE` as the first version kept it."""


def engine_at_revision_1(place: str) -> Engine:
    from pytest_vswitch.results.store.content import digest
    from pytest_vswitch.results.store.formats.flat import as_json

    engine = database.engine_of(place)
    database.migrate(engine, "1")
    used = SAMPLE.environment
    values = {
        "false": "0" if engine.dialect.name == "sqlite" else "false",
        "digest": digest([SAMPLE]),
        "environment": used.digest,
        "machine": as_json(used.machine),
        "software": as_json(used.software),
        "setup": as_json(used.setup),
        "versions": as_json(SAMPLE.versions),
    }
    with engine.begin() as connection:
        for statement in AT_REVISION_1.format(**values).split(";\n"):
            connection.exec_driver_sql(statement)
    return engine


def version(engine: Engine) -> Any:
    with engine.connect() as connection:
        return connection.scalar(text("SELECT version_num FROM vswitch_schema"))


def test_a_store_of_an_older_version_is_migrated(place: str) -> None:
    engine = engine_at_revision_1(place)
    assert version(engine) == "1"
    with SqlStore(place) as store:
        assert version(engine) == "2"
        assert list(store.samples(Selection())) == [SAMPLE]
        assert store.add([SAMPLE]) == 0
        assert store.read_from() == {}
    engine.dispose()


def test_a_migration_that_fails_leaves_the_older_version(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_at_revision_1(place)
    whole = database._upgrade

    def cut(connection: Any, to: str) -> None:
        whole(connection, to)
        connection.execute(text("SELECT * FROM nowhere"))

    with monkeypatch.context() as patch:
        patch.setattr(database, "_upgrade", cut)
        with pytest.raises(HostError, match="nowhere"):
            open_store(place)
    assert version(engine) == "1"
    engine.dispose()
    with SqlStore(place) as store:
        assert list(store.samples(Selection())) == [SAMPLE]


def test_a_store_of_a_newer_version_is_refused_and_left_alone(place: str) -> None:
    SqlStore(place).close()
    engine = database.engine_of(place)
    with engine.begin() as connection:
        connection.execute(text("UPDATE vswitch_schema SET version_num = '3'"))
    with pytest.raises(InputError, match=r"newer pytest-vswitch \(schema 3; .* up to 2\): upgrade"):
        open_store(place)
    assert version(engine) == "3"
    engine.dispose()


def test_the_migrations_lead_to_the_tables_of_today(place: str) -> None:
    SqlStore(place).close()
    engine = database.engine_of(place)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"version_table": database.VERSION_TABLE, "compare_type": True},
        )
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


def test_every_revision_is_known() -> None:
    script = ScriptDirectory(str(Path(database.__file__).with_name("migrations")))
    there = [one.revision for one in script.walk_revisions()]
    assert tuple(reversed(there)) == database.REVISIONS


OPEN = "import sys; from pytest_vswitch.results.store import open_store; open_store(sys.argv[1])"


def test_two_who_open_an_empty_store_at_once(place: str) -> None:
    root = str(Path(database.__file__).parents[3])
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, place],
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": root},
        )
        for _ in range(2)
    ]
    told = [opener.communicate(timeout=120)[1].decode() for opener in openers]
    assert told == [""] * 2
    with SqlStore(place) as store:
        assert store.add([SAMPLE]) == 1
