"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None


def of_run() -> sa.Column[int]:
    return sa.Column(
        "run_id", sa.Integer, sa.ForeignKey("run.id", ondelete="CASCADE"), nullable=False
    )


def upgrade() -> None:
    op.create_table(
        "run",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("lab", sa.Text, nullable=False),
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("at_s", sa.Float(53), nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("samples", sa.Integer, nullable=False),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.UniqueConstraint("lab", "run", name="run_of_lab"),
    )
    op.create_index("run_by_time", "run", ["at_s"])
    op.create_table(
        "environment",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False, unique=True),
        sa.Column("machine", sa.JSON, nullable=False),
        sa.Column("software", sa.JSON, nullable=False),
        sa.Column("setup", sa.JSON, nullable=False),
    )
    op.create_table(
        "test_case",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("suite", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.UniqueConstraint("suite", "name", name="case_of_suite"),
    )
    op.create_index("case_by_name", "test_case", ["name"])
    op.create_table(
        "metric",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("better", sa.Text, nullable=False),
        sa.UniqueConstraint("name", "unit", "better", name="metric_once"),
    )
    op.create_table(
        "hop",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
    )
    op.create_table(
        "versions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("versions", sa.Text, nullable=False, unique=True),
    )
    op.create_table(
        "sample",
        of_run(),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("metric_id", sa.Integer, sa.ForeignKey("metric.id"), nullable=False),
        sa.Column("case_id", sa.Integer, sa.ForeignKey("test_case.id"), nullable=False),
        sa.Column("environment_id", sa.Integer, sa.ForeignKey("environment.id"), nullable=False),
        sa.Column("versions_id", sa.Integer, sa.ForeignKey("versions.id"), nullable=False),
        sa.Column("hop_id", sa.Integer, sa.ForeignKey("hop.id"), nullable=False),
        sa.Column("value", sa.Float(53), nullable=False),
        sa.Column("low", sa.Float(53)),
        sa.Column("high", sa.Float(53)),
        sa.Column("censored", sa.Boolean, nullable=False),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "place", "metric_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("sample_of_case", "sample", ["case_id", "metric_id"])
    op.create_table(
        "run_environment",
        of_run(),
        sa.Column("environment_id", sa.Integer, sa.ForeignKey("environment.id"), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "environment_id"),
        sqlite_with_rowid=False,
    )
