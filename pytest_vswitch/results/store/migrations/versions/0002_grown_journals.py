"""A journal that has grown since it was read is read again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    op.add_column("run", sa.Column("file_bytes", sa.BigInteger))
