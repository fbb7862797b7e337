"""The tables of the store. What repeats stands once: a sample is a row of small numbers."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData()

RUN = Table(
    "run",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("lab", Text, nullable=False),
    Column("run", Text, nullable=False),
    # Unix time, s.
    Column("at_s", Float(53), nullable=False),
    # Over all its samples, whatever their order: see `content.digest`.
    Column("digest", Text, nullable=False),
    # How many it has.
    Column("samples", Integer, nullable=False),
    Column("simulated", Boolean, nullable=False),
    # How long the file was that it was read from, to see whether that has grown since;
    # null for a run that was imported.
    Column("file_bytes", BigInteger),
    # Two labs may well start at the same second, with the same process id in a container.
    UniqueConstraint("lab", "run", name="run_of_lab"),
    Index("run_by_time", "at_s"),
)

ENVIRONMENT = Table(
    "environment",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("machine", JSON, nullable=False),
    Column("software", JSON, nullable=False),
    Column("setup", JSON, nullable=False),
)

CASE = Table(
    "test_case",  # `case` is a word of SQL
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("suite", Text, nullable=False),
    Column("name", Text, nullable=False),
    UniqueConstraint("suite", "name", name="case_of_suite"),
    Index("case_by_name", "name"),
)

METRIC = Table(
    "metric",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("better", Text, nullable=False),
    UniqueConstraint("name", "unit", "better", name="metric_once"),
)

HOP = Table(
    "hop",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
)

VERSIONS = Table(
    "versions",
    METADATA,
    Column("id", Integer, primary_key=True),
    # A JSON object with sorted keys.
    Column("versions", Text, nullable=False, unique=True),
)

SAMPLE = Table(
    "sample",
    METADATA,
    Column("run_id", ForeignKey("run.id", ondelete="CASCADE"), nullable=False),
    Column("place", Integer, nullable=False),  # `Sample.order`, another word of SQL
    Column("metric_id", ForeignKey("metric.id"), nullable=False),
    Column("case_id", ForeignKey("test_case.id"), nullable=False),
    Column("environment_id", ForeignKey("environment.id"), nullable=False),
    Column("versions_id", ForeignKey("versions.id"), nullable=False),
    Column("hop_id", ForeignKey("hop.id"), nullable=False),
    Column("value", Float(53), nullable=False),
    Column("low", Float(53)),
    Column("high", Float(53)),
    Column("censored", Boolean, nullable=False),
    Column("simulated", Boolean, nullable=False),
    PrimaryKeyConstraint("run_id", "place", "metric_id"),
    Index("sample_of_case", "case_id", "metric_id"),
    # Rows of a run lie together, and the key is not kept twice.
    sqlite_with_rowid=False,
)

RUN_ENVIRONMENT = Table(
    "run_environment",
    METADATA,
    Column("run_id", ForeignKey("run.id", ondelete="CASCADE"), nullable=False),
    Column("environment_id", ForeignKey("environment.id"), nullable=False),
    PrimaryKeyConstraint("run_id", "environment_id"),
    sqlite_with_rowid=False,
)
