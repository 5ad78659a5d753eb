"""Asks: devices at vendors, asks that were sent, and who decided an admission."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the tables, and two columns whose defaults are what was so before."""
    op.add_column("admission", sa.Column("scan", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("admission", sa.Column("decided", sa.Text(), server_default="gate", nullable=False))
    op.create_table(
        "device",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("gate", sa.Text(), nullable=False),
        sa.Column("perimeter", sa.Text(), nullable=False),
        sa.Column("birth", sa.Text(), nullable=False),
        sa.Column("kept", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("lease_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", "gate", "perimeter"),
    )
    op.create_table(
        "asked",
        sa.Column("gate", sa.Text(), nullable=False),
        sa.Column("scan", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gate", "scan", "digest"),
    )
    op.create_index("ix_asked_at_ms", "asked", ["at_ms"])
